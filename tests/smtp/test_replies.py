"""Replies of a relay, however they are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postroom.smtp.replies import ReplyProtocol, parsed
from postroom.wire.reply import Reply

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126)).map(str.encode)
STATUS = st.sampled_from([b"2.0.0 ", b"5.1.1 ", b"9.0.0 ", b"2.1.10 ", b"2.0.0", b"", b" "])


class Listening(ReplyProtocol):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[int, list[bytes]]] = []
        self.expects = lambda code, lines: self.heard.append((code, lines))

    def garbled(self, lines: list[bytes]) -> None:
        self.heard.append((0, lines))
        self.is_over = True


@given(st.sampled_from([b"250 ", b"221 ", b"550 ", b"250", b"250-"]), STATUS, STATUS, TEXT)
def test_the_short_way_reads_a_reply_as_the_long_way_does(
    code: bytes, status: bytes, again: bytes, text: bytes
) -> None:
    line = code + status + again + text
    assert parsed([line + b"\r"]) == Reply.parse([line.rstrip()])


@given(st.lists(st.binary(max_size=12), max_size=12))
def test_any_octets_give_replies_or_one_complaint(chunks: list[bytes]) -> None:
    listening = Listening()
    for chunk in chunks:
        listening.data_received(chunk)
    assert [code for code, _ in listening.heard].count(0) <= 1


@given(st.lists(st.integers(1, 9)))
def test_the_cuts_between_chunks_make_no_difference(sizes: list[int]) -> None:
    octets = b"220-relay.example\r\n220 ready\r\n250 2.1.0 Ok\r\n354\r\n421 4.3.2 bye\r\n"
    whole, pieces = Listening(), Listening()
    whole.data_received(octets)
    rest = octets
    for size in sizes:
        pieces.data_received(rest[:size])
        rest = rest[size:]
    pieces.data_received(rest)
    assert pieces.heard == whole.heard
    assert [code for code, _ in whole.heard] == [220, 250, 354, 421]


def test_an_endless_line_is_no_reply() -> None:
    listening = Listening()
    for _ in range(100):
        listening.data_received(b"2" * 1000)
    assert listening.heard == [(0, [b"2" * 80])]
    assert len(listening.rest) < 10_000
