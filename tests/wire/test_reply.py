import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.reply import EnhancedStatus, Outcome, Reply


def test_a_plain_reply_is_read() -> None:
    reply = Reply.parse([b"250 2.0.0 Ok: queued as 4F3A\r\n"])
    assert reply == Reply(250, EnhancedStatus(2, 0, 0), "Ok: queued as 4F3A")


def test_a_reply_without_enhanced_status_is_read() -> None:
    assert Reply.parse([b"250 ok"]) == Reply(250, None, "ok")
    assert Reply.parse([b"354"]) == Reply(354, None, "")


def test_all_lines_of_a_reply_are_kept_without_their_codes() -> None:
    reply = Reply.parse(
        [b"550-5.1.1 The address", b"550-5.1.1 does not exist.", b"550 5.1.1 See example.org"]
    )
    assert reply.text == "The address\ndoes not exist.\nSee example.org"
    assert str(reply.enhanced) == "5.1.1"


def test_a_status_behind_two_spaces_is_found() -> None:
    assert Reply.parse([b"550  5.1.1  gone"]) == Reply(550, EnhancedStatus(5, 1, 1), "gone")


def test_a_line_that_starts_with_an_ip_address_keeps_it() -> None:
    assert Reply.parse([b"550 5.1.1.1 is blocked"]).text == "5.1.1.1 is blocked"


def test_a_status_that_contradicts_the_code_is_kept_and_the_code_decides() -> None:
    reply = Reply.parse([b"550 4.1.1 later, or never"])
    assert str(reply.enhanced) == "4.1.1"
    assert reply.outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        (b"250 ok", Outcome.ACCEPTED),
        (b"451 later", Outcome.DEFERRED),
        (b"554 no", Outcome.REFUSED),
        (b"354 go on", Outcome.DEFERRED),
        (b"999 what", Outcome.DEFERRED),
        (b"HTTP/1.1 400 Bad Request", Outcome.DEFERRED),
        (b"", Outcome.DEFERRED),
    ],
)
def test_the_class_of_the_code_decides_the_outcome(line: bytes, outcome: Outcome) -> None:
    assert Reply.parse([line]).outcome is outcome


def test_garbage_keeps_its_text_under_code_0() -> None:
    assert Reply.parse([b"HTTP/1.1 400 \x1b[31mBad"]) == Reply(0, None, "HTTP/1.1 400 \ufffd[31mBad")
    assert Reply.parse([]).code == 0


def test_a_long_text_is_written_in_lines_of_at_most_512_octets() -> None:
    octets = Reply(550, EnhancedStatus(5, 7, 1), "No. " * 400 + "\nEnd").octets()
    lines = octets.split(b"\r\n")
    assert lines.pop() == b""
    assert all(len(line) <= 510 for line in lines)
    assert all(line.startswith(b"550-5.7.1 ") for line in lines[:-1])
    assert lines[-1] == b"550 5.7.1 End"


def test_a_reply_cannot_smuggle_a_second_reply() -> None:
    assert Reply(550, None, "no\r\n250 yes").octets() == b"550-no?\r\n550 250 yes\r\n"


def test_no_reply_code_is_sent_as_451() -> None:
    assert Reply(0, None, "odd").octets() == b"451 odd\r\n"


@pytest.mark.parametrize("text", ["", "5", "5.1", "3.1.1", "5.1.1234", "x 5.1.1", "5.1.1x"])
def test_what_is_no_enhanced_status_is_none(text: str) -> None:
    assert EnhancedStatus.parse(text) is None


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_octets_give_a_reply(lines: list[bytes]) -> None:
    reply = Reply.parse(lines)
    assert reply.code == 0 or 200 <= reply.code <= 599
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", reply.text)


@given(
    st.integers(200, 599),
    st.none() | st.builds(EnhancedStatus, st.just(5), *[st.integers(0, 999)] * 2),
    st.text(),
)
def test_any_reply_is_written_as_ascii_lines_that_read_back(
    code: int, enhanced: EnhancedStatus | None, text: str
) -> None:
    octets = Reply(code, enhanced, text).octets()
    assert octets.isascii()
    lines = octets.removesuffix(b"\r\n").split(b"\r\n")
    assert all(len(line) <= 510 and b"\r" not in line and b"\n" not in line for line in lines)
    assert Reply.parse(lines).code == code
    if enhanced:
        assert Reply.parse(lines).enhanced == enhanced


def test_of_a_huge_reply_the_beginning_is_kept() -> None:
    reply = Reply.parse([*[b"550-5.7.1 " + b"A" * 8000 + b"\r\n"] * 998, b"550 5.7.1 no\r\n"])
    assert (reply.code, str(reply.enhanced)) == (550, "5.7.1")
    assert len(reply.text.encode()) <= 4096
    assert reply.text.endswith("…")
    assert len(Reply.parse([b"\xff" * 9000]).text.encode()) <= 4096


def test_a_reply_of_fifty_ordinary_lines_stays_whole() -> None:
    lines = [b"550-" + b"A" * 79 + b"\r\n"] * 49 + [b"550 the end\r\n"]
    assert Reply.parse(lines).text.count("\n") == 49
    assert Reply.parse(lines).text.endswith("the end")
