"""The sink of the benchmarks."""

from __future__ import annotations

import time

from bench.sink import serve

from postroom.smtp.client import Connections, MailObject, Relay
from postroom.wire.reply import Outcome
from tests.smtp.conftest import Run
from tests.smtp.scripted import PATIENT, Pigeonhole, mail


def test_the_sink_takes_everything_and_answers_after_its_latency(run: Run[None]) -> None:
    async def scenario() -> None:
        server = await serve(0, 0.02)
        port = server.sockets[0].getsockname()[1]
        letters = [mail(1), MailObject(2, b"", b"ben@example.org", b""), mail(3, content=b".\r\n" * 50_000)]
        hole = Pigeonhole(letters)
        began = time.monotonic()
        connections = Connections(Relay(host="127.0.0.1", port=port), hole, hole, limit=1, timeouts=PATIENT)
        await connections.start()
        await connections.drained()
        assert time.monotonic() - began > 0.02 * 6  # greeting, EHLO, envelope and three contents
        await connections.close()
        server.close()
        assert hole.kinds() == [Outcome.ACCEPTED] * 3

    run(scenario())
