"""Going slower when a relay asks for it, and faster again as it takes mail; and how large a mail may be."""

from __future__ import annotations

import asyncio

import pytest

from postroom.smtp.client import Connections, Settled
from postroom.smtp.mail import MailObject
from postroom.smtp.offers import Offers
from postroom.smtp.pool import ACCEPTED_FOR_ONE_MORE
from postroom.wire.reply import Outcome
from tests.smtp.conftest import Run
from tests.smtp.scripted import PATIENT, Pigeonhole, ScriptedRelay, deliver, mail, mails


class Slowing(Pigeonhole):
    """Asks for a slower pace once so many mails are settled."""

    pool: Connections

    def __init__(self, letters: list[MailObject], after: int) -> None:
        super().__init__(letters)
        self.after = after

    def settled(self, settled: Settled) -> None:
        super().settled(settled)
        if len(self.outcomes) == self.after:
            self.pool.slow_down()


async def slowed(count: int, *, after: int, limit: int) -> tuple[Slowing, ScriptedRelay]:
    script, hole = ScriptedRelay(), Slowing(mails(count), after)
    async with script.serve():
        hole.pool = Connections(script.relay(), hole, hole, limit=limit, timeouts=PATIENT)
        await hole.pool.start()
        await hole.pool.drained()
        await asyncio.sleep(0.01)
        open_count = len(hole.pool.open)
        await hole.pool.close()
    assert open_count <= hole.pool.pace
    return hole, script


def test_slowing_down_halves_the_connections_and_loses_no_mail(
    run: Run[tuple[Slowing, ScriptedRelay]],
) -> None:
    hole, script = run(slowed(400, after=390, limit=8))
    assert hole.kinds() == [Outcome.ACCEPTED] * 400
    assert hole.pool.pace == 4
    assert script.verbs().count("QUIT") == len(script.visits)


def test_the_pace_grows_back_slowly_while_mail_is_taken(run: Run[tuple[Slowing, ScriptedRelay]]) -> None:
    hole, _ = run(slowed(200 + 2 * ACCEPTED_FOR_ONE_MORE, after=200, limit=8))
    assert hole.kinds() == [Outcome.ACCEPTED] * (200 + 2 * ACCEPTED_FOR_ONE_MORE)
    assert 4 < hole.pool.pace <= 6


def test_one_connection_always_stays(run: Run[tuple[Slowing, ScriptedRelay]]) -> None:
    hole, _ = run(slowed(20, after=5, limit=1))
    assert hole.kinds() == [Outcome.ACCEPTED] * 20
    assert hole.pool.pace == 1


@pytest.mark.parametrize(
    ("line", "octets"),
    [
        (b"250 SIZE 35882577", 35882577),
        (b"250 size 100", 100),
        (b"250 SIZE", None),
        (b"250 SIZE 0", None),
        (b"250 SIZE many", None),
        (b"250 SIZE -5", None),
        (b"250 SIZE 99999999999999999999", None),
        (b"250 8BITMIME", None),
    ],
)
def test_the_announced_size_is_read(line: bytes, octets: int | None) -> None:
    assert Offers.parse([b"250-relay.example", line]).max_octets == octets


def test_a_mail_larger_than_announced_is_refused_here_and_the_others_go(run: Run[Pigeonhole]) -> None:
    large = mail(1, content=b"Subject: x\r\n\r\n" + b"a" * 200 + b"\r\n")
    script = ScriptedRelay(offers=("PIPELINING", "SIZE 100"))
    hole = run(deliver(script, [large, mail(2)]))
    assert hole.kinds() == [Outcome.REFUSED, Outcome.ACCEPTED]
    reply = hole.outcomes[1].reply
    assert reply is not None
    assert (reply.code, str(reply.enhanced)) == (552, "5.3.4")
    assert "100 at most" in reply.text
    assert script.verbs().count("MAIL") == 1
