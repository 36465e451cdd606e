"""Content and final dot: what leaves, in how many writes, and what the relay's answer makes of the mail."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.smtp.client import MailObject
from postroom.smtp.connection import on_the_wire
from postroom.wire.reply import Outcome
from tests.smtp.conftest import Run
from tests.smtp.scripted import BRIEF, Act, Pigeonhole, ScriptedRelay, deliver, mail, mails


def test_a_mail_arrives_as_it_was_written(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay()
    hole = run(deliver(script, [mail(content=b"Subject: x\r\n\r\nHello\r\n")]))
    assert hole.kinds() == [Outcome.ACCEPTED]
    assert script.contents == [b"Subject: x\r\n\r\nHello\r\n"]
    assert hole.outcomes[1].began
    assert hole.outcomes[1].reply is not None
    assert hole.outcomes[1].reply.text == "Ok: queued as A1"


def test_lines_that_begin_with_a_dot_are_stuffed(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay()
    run(deliver(script, [mail(content=b".\r\n..\r\n.end")]))
    assert script.contents == [b"..\r\n...\r\n..end\r\n"]


def test_content_and_the_next_envelope_leave_in_one_write(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay()
    hole = run(deliver(script, mails(4)))
    assert hole.kinds() == [Outcome.ACCEPTED] * 4
    together = [read for read in script.reads if b"Hello\r\n.\r\nMAIL FROM:" in read and b"DATA\r\n" in read]
    assert len(together) == 3


def test_without_pipelining_one_command_waits_for_the_last(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay(offers=("8BITMIME",))
    hole = run(deliver(script, mails(2)))
    assert hole.kinds() == [Outcome.ACCEPTED] * 2
    assert all(read.count(b"\r\n") == 1 for read in script.reads if not read.startswith(b"Subject"))
    assert not any(b".\r\nMAIL" in read for read in script.reads)


def test_the_journal_hears_of_content_before_and_of_the_reply_after(run: Run[Pigeonhole]) -> None:
    hole = run(deliver(ScriptedRelay(), mails(2)))
    assert hole.notes == [("begun", 1), ("replied", 1), ("begun", 2), ("replied", 2)]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"451 4.7.1 Later\r\n", Outcome.DEFERRED),
        (b"452 4.2.2 Full\r\n", Outcome.DEFERRED),
        (b"554 5.6.0 Spam\r\n", Outcome.REFUSED),
        (b"421 4.3.2 Closing\r\n", Outcome.DEFERRED),
    ],
)
def test_a_refusal_of_the_content_settles_only_this_mail(
    run: Run[Pigeonhole], answer: bytes, outcome: Outcome
) -> None:
    contents: list[bytes] = []

    def dot(_: bytes) -> bytes:
        contents.append(b"")
        return answer if len(contents) == 1 else b"250 2.0.0 Ok\r\n"

    hole = run(deliver(ScriptedRelay({"DOT": dot}), mails(3)))
    assert hole.kinds() == [outcome, Outcome.ACCEPTED, Outcome.ACCEPTED]
    assert hole.outcomes[1].began
    assert hole.outcomes[1].reply is not None
    assert hole.outcomes[1].reply.octets() == answer


@pytest.mark.parametrize("deed", [Act.CLOSE, Act.RESET, Act.HALF_CLOSE])
def test_a_connection_lost_after_the_final_dot_leaves_the_mail_uncertain(
    run: Run[Pigeonhole], deed: Act
) -> None:
    script = ScriptedRelay({"DOT": deed}, later={1: {"DOT": b"250 2.0.0 Ok\r\n"}})
    hole = run(deliver(script, mails(3)))
    assert hole.kinds() == [Outcome.UNCERTAIN, Outcome.ACCEPTED, Outcome.ACCEPTED]
    assert (hole.outcomes[1].reply, hole.outcomes[1].began) == (None, True)


def test_silence_after_the_final_dot_leaves_the_mail_uncertain(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay({"DOT": Act.SILENCE}, later={1: {"DOT": b"250 2.0.0 Ok\r\n"}})
    hole = run(deliver(script, mails(2), timeouts=BRIEF))
    assert hole.kinds() == [Outcome.UNCERTAIN, Outcome.ACCEPTED]


@pytest.mark.parametrize(
    "garbage", [b"what now\r\n", b"25\r\n", b"999 no\r\n", b"2500 Ok\r\n", b"\xff\x00\r\n", b"354 go\r\n"]
)
def test_garbage_after_the_final_dot_leaves_the_mail_uncertain(run: Run[Pigeonhole], garbage: bytes) -> None:
    script = ScriptedRelay({"DOT": garbage}, later={1: {"DOT": b"250 2.0.0 Ok\r\n"}})
    hole = run(deliver(script, mails(2)))
    assert hole.kinds() == [Outcome.UNCERTAIN, Outcome.ACCEPTED]
    assert len(script.visits) == 2


def test_an_acceptance_before_the_content_is_not_believed(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay(
        {"DATA": b"354 go\r\n250 2.0.0 Ok already\r\n"}, later={1: {"DATA": b"354 go\r\n"}}
    )
    hole = run(deliver(script, mails(2)))
    assert hole.kinds() == [Outcome.UNCERTAIN, Outcome.ACCEPTED]


def test_an_acceptance_while_most_of_the_content_is_unsent_is_not_believed(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay({"DATA": b"354 go\r\n"})

    async def scenario() -> Pigeonhole:
        def stop_reading_then_accept(line: bytes) -> bytes:
            visit = script.visits[0]
            visit.transport.pause_reading()
            asyncio.get_running_loop().call_later(0.02, visit.transport.write, b"250 2.0.0 Ok\r\n")
            return b"354 go\r\n"

        script.answers = {"DATA": stop_reading_then_accept}
        return await deliver(script, [mail(content=b"y\r\n" * 10_000_000)])

    assert run(scenario()).kinds() == [Outcome.UNCERTAIN]


def test_a_reply_of_fifty_lines_is_kept_whole(run: Run[Pigeonhole]) -> None:
    long = b"".join(b"250-2.0.0 line %d\r\n" % n for n in range(49)) + b"250 2.0.0 end\r\n"
    hole = run(deliver(ScriptedRelay({"DOT": long}), mails(2)))
    reply = hole.outcomes[1].reply
    assert hole.kinds() == [Outcome.ACCEPTED] * 2
    assert reply is not None
    assert reply.text.split("\n") == [f"line {n}" for n in range(49)] + ["end"]


def test_a_reply_without_end_is_cut_off(run: Run[Pigeonhole]) -> None:
    endless = b"250-more\r\n" * 1500
    hole = run(deliver(ScriptedRelay({"DOT": endless}, later={1: {"DOT": b"250 Ok\r\n"}}), mails(2)))
    assert hole.kinds() == [Outcome.UNCERTAIN, Outcome.ACCEPTED]


def test_replies_may_come_octet_by_octet(run: Run[Pigeonhole]) -> None:
    hole = run(deliver(ScriptedRelay(octets_a_write=1), mails(5)))
    assert hole.kinds() == [Outcome.ACCEPTED] * 5


def test_replies_may_end_in_a_bare_line_feed(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay({"MAIL": b"250 Ok\n", "DOT": b"250-2.0.0 a\n250 2.0.0 b\n"})
    hole = run(deliver(script, mails(2)))
    assert hole.kinds() == [Outcome.ACCEPTED] * 2
    assert hole.outcomes[2].reply is not None
    assert hole.outcomes[2].reply.text == "a\nb"


SMUGGLES = [
    before + b"." + after
    for before in (b"\n", b"\r", b"\r\n", b"\r\r\n")
    for after in (b"\n", b"\r", b"\r\n", b"\r\r\n", b"\0\r\n")
]


@pytest.mark.parametrize("smuggle", SMUGGLES)
def test_no_end_of_data_can_be_smuggled_out(smuggle: bytes) -> None:
    wire = on_the_wire(b"Subject: x\r\n\r\nHello" + smuggle + b"MAIL FROM:<a@b.example>\r\n")
    for line in wire.replace(b"\r", b"\n").split(b"\n"):
        assert line.strip(b"\0") != b"."


@given(st.lists(st.sampled_from([b".", b"\r\n", b"a", b"\r\n.", b"..", b"\xff"])).map(b"".join))
def test_what_is_stuffed_unstuffs_to_the_same(content: bytes) -> None:
    wire = b"\r\n" + on_the_wire(content) + b".\r\n"
    assert wire.find(b"\r\n.\r\n") == len(wire) - 5
    unstuffed = wire[:-3].replace(b"\r\n.", b"\r\n")[2:]
    assert unstuffed == (content if content.endswith(b"\r\n") or not content else content + b"\r\n")


def test_an_empty_content_is_one_dot(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay()
    hole = run(deliver(script, [MailObject(1, b"", b"ben@example.org", b"")]))
    assert hole.kinds() == [Outcome.ACCEPTED]
    assert script.contents == [b""]
