"""The pool: how many connections there are, what they share, and what is left when the relay goes away."""

from __future__ import annotations

import asyncio

import pytest

from postroom.smtp.client import Connections, MailObject, OutcomeUnknown, RelayUnreachable, transmit
from postroom.wire.reply import Outcome, Reply
from tests.smtp.conftest import Run
from tests.smtp.scripted import BRIEF, PATIENT, Act, Pigeonhole, ScriptedRelay, deliver, mail, mails


def test_the_pool_grows_to_its_limit_while_mail_waits(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay()
    hole = run(deliver(script, mails(200), limit=4))
    assert hole.kinds() == [Outcome.ACCEPTED] * 200
    assert 2 <= len(script.visits) <= 4


def test_one_mail_needs_one_connection(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay()
    run(deliver(script, mails(1), limit=8))
    assert len(script.visits) == 1
    assert script.verbs() == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


def test_a_connection_is_kept_for_mails_that_come_later(run: Run[None]) -> None:
    async def scenario() -> None:
        script, hole = ScriptedRelay(), Pigeonhole()
        async with script.serve():
            connections = Connections(script.relay(), hole, hole, limit=2, timeouts=PATIENT)
            await connections.start()
            await connections.drained()
            hole.mails.append(mail(1))
            connections.kick()
            await connections.drained()
            assert hole.kinds() == [Outcome.ACCEPTED]
            assert len(script.visits) == 1
            await connections.close()

    run(scenario())


@pytest.mark.parametrize(
    ("goodbye", "seconds"),
    [
        (b"421 4.4.2 Idle\r\n", 0),
        (b"421 4.4.2 Idle\r\n", 0.02),
        (b"250 What?\r\n", 0.02),
        (b"", 0),
        (b"", 0.02),
    ],
)
def test_an_idle_connection_the_relay_closed_costs_no_mail(
    run: Run[None], goodbye: bytes, seconds: float
) -> None:
    async def scenario() -> None:
        script, hole = ScriptedRelay(), Pigeonhole(mails(1))
        async with script.serve():
            connections = Connections(script.relay(), hole, hole, limit=2, timeouts=PATIENT)
            await connections.start()
            await connections.drained()
            script.visits[0].transport.write(goodbye)
            script.visits[0].transport.close()
            await asyncio.sleep(seconds)
            hole.mails.append(mail(2))
            await connections.drained()
            assert hole.kinds() == [Outcome.ACCEPTED] * 2
            await connections.close()

    run(scenario())


def test_421_to_the_next_mail_of_an_old_connection_sends_it_over_a_new_one(run: Run[Pigeonhole]) -> None:
    """Relays end a connection after so many mails; that says nothing of the mail that hears it."""
    script = ScriptedRelay()

    def mail_answer(line: bytes) -> tuple[bytes, Act] | bytes:
        is_second = sum(each.startswith(b"MAIL") for each in script.lines) == 2
        return (b"421 4.7.0 Enough for this connection\r\n", Act.CLOSE) if is_second else b"250 Ok\r\n"

    script.answers = {"MAIL": mail_answer}
    hole = run(deliver(script, mails(3)))
    assert hole.kinds() == [Outcome.ACCEPTED] * 3
    assert len(script.visits) == 2


def test_each_mail_goes_back_once_at_most(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay()
    script.answers = {"MAIL": lambda line: Act.CLOSE if b"<eve@" in line else b"250 Ok\r\n"}
    hole = run(
        deliver(script, [mail(1), MailObject(2, b"eve@demo.example", b"p@example.org", b"x\r\n"), mail(3)])
    )
    assert hole.kinds() == [Outcome.ACCEPTED, Outcome.UNREACHABLE, Outcome.ACCEPTED]
    assert sum(b"<eve@" in line for line in script.lines) == 2


def test_when_the_relay_goes_away_the_rest_stays_in_the_feed(run: Run[None]) -> None:
    async def scenario() -> None:
        away = {"GREETING": (b"421 4.3.2 Closing down\r\n", Act.CLOSE)}
        script = ScriptedRelay({"DOT": Act.CLOSE}, later={1: away})
        hole = Pigeonhole(mails(10))
        async with script.serve():
            connections = Connections(script.relay(), hole, hole, limit=1, timeouts=PATIENT)
            await connections.start()
            await connections.drained()
            assert connections.failure is not None
            assert connections.failure.step == "greeting"
            assert hole.kinds() == [Outcome.UNCERTAIN, Outcome.UNREACHABLE]
            assert str(hole.outcomes[2].reply) == "421 4.3.2 Closing down"
            assert len(hole.mails) == 8
            script.answers, script.later = {}, {}
            await connections.start()
            await connections.drained()
            assert connections.failure is None
            assert len(hole.outcomes) == 10
            await connections.close()

    run(scenario())


def test_a_relay_that_always_hangs_up_is_given_up(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay({"MAIL": Act.CLOSE})

    async def scenario() -> Pigeonhole:
        hole = Pigeonhole(mails(50))
        async with script.serve():
            connections = Connections(script.relay(), hole, hole, limit=2, timeouts=PATIENT)
            await connections.start()
            await connections.drained()
            assert connections.failure is not None
            await connections.close()
        return hole

    hole = run(scenario())
    assert len(hole.mails) > 40
    assert set(hole.kinds()) == {Outcome.UNREACHABLE}


def test_a_relay_that_takes_only_two_connections_gets_everything_over_two(run: Run[Pigeonhole]) -> None:
    full = {"GREETING": (b"421 4.7.0 Too many connections\r\n", Act.CLOSE)}
    script = ScriptedRelay(later={2: full})
    hole = run(deliver(script, mails(300), limit=8))
    assert hole.kinds() == [Outcome.ACCEPTED] * 300


def test_closing_in_the_middle_settles_what_is_on_the_way(run: Run[None]) -> None:
    async def scenario() -> None:
        script, hole = ScriptedRelay({"DOT": Act.SILENCE}), Pigeonhole(mails(5))
        async with script.serve():
            connections = Connections(script.relay(), hole, hole, limit=1, timeouts=PATIENT)
            connections.timeouts = BRIEF
            await connections.start()
            while not hole.notes:
                await asyncio.sleep(0.002)
            await connections.close()
            assert hole.kinds() == [Outcome.UNCERTAIN, Outcome.UNREACHABLE]

    run(scenario())


class BrokenFeed(Pigeonhole):
    def next(self) -> MailObject | None:
        if len(self.mails) == 2:
            raise LookupError("no database")
        return super().next()


class FullJournal(Pigeonhole):
    def begun(self, key: int) -> None:
        raise OSError("no space left")


class BrokenLedger(Pigeonhole):
    def settled(self, settled: object) -> None:
        raise LookupError("no database")


@pytest.mark.parametrize(
    ("hole", "error"),
    [
        (BrokenFeed(mails(4)), LookupError),
        (FullJournal(mails(4)), OSError),
        (BrokenLedger(mails(4)), LookupError),
    ],
)
def test_what_feed_or_journal_raise_reaches_who_drains(
    run: Run[None], hole: Pigeonhole, error: type[Exception]
) -> None:
    async def scenario() -> None:
        script, own = ScriptedRelay(), type(hole)(mails(4))
        async with script.serve():
            connections = Connections(script.relay(), own, own, limit=2, timeouts=PATIENT)
            with pytest.raises(error):
                await _drain(connections)
            await connections.close()
            taken = 4 - len(own.mails)
            assert isinstance(own, BrokenLedger) or len(own.outcomes) == taken
            assert not isinstance(own, FullJournal) or script.contents == []

    run(scenario())


async def _drain(connections: Connections) -> None:
    await connections.start()
    await connections.drained()


def test_transmit_returns_the_deciding_reply(run: Run[Reply]) -> None:
    async def scenario(script: ScriptedRelay) -> Reply:
        async with script.serve():
            return await transmit(mail(), script.relay(), PATIENT)

    assert run(scenario(ScriptedRelay())).code == 250
    assert str(run(scenario(ScriptedRelay({"RCPT": b"550 5.1.1 Nobody\r\n"})))) == "550 5.1.1 Nobody"


def test_transmit_raises_when_the_outcome_is_unknown(run: Run[None]) -> None:
    async def scenario() -> None:
        script = ScriptedRelay({"DOT": Act.CLOSE})
        async with script.serve():
            with pytest.raises(OutcomeUnknown, match="twice"):
                await transmit(mail(), script.relay(), PATIENT)

    run(scenario())


def test_transmit_raises_when_nothing_was_handed_over(run: Run[None]) -> None:
    async def scenario() -> None:
        script = ScriptedRelay({"RCPT": Act.CLOSE})
        async with script.serve():
            with pytest.raises(RelayUnreachable) as caught:
                await transmit(mail(), script.relay(), PATIENT)
        assert caught.value.step == "mail"
        with pytest.raises(RelayUnreachable) as caught:
            await transmit(mail(), script.relay(), PATIENT)
        assert caught.value.step == "connect"

    run(scenario())
