"""How soon an urgent mail leaves: from the end of posting to the connection that reaches the relay.

usage: python -m bench.leaving [--count 100] [--database sqlite|postgres]

The posting process has no engine of its own, as a web station or a command has none: it wakes the engine of
another process (SQLite: `postroom up`; PostgreSQL: `postroom worker`). Ten relays take turns, so that every
mail needs a connection of its own. Times are of one clock, in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import threading
import time
from functools import partial
from typing import Any

from bench import fleet, stage
from bench.sink import Sink, new_event_loop

RELAYS = 10
LINGER_SECONDS = 6.0  # longer than a drain keeps its connections


def main() -> None:
    """Post one mail after the other and look when each relay is reached."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    options = parser.parse_args()
    relays = Relays()
    relays.start()
    with stage.installation(options.database, stage.free_port()):
        os.environ.update(POSTROOM_SECRET_KEY="0" * 64, POSTROOM_INSTANCE_ID="bench")
        os.environ["POSTROOM_PRIVATE_NETWORKS"] = "127.0.0.0/8"
        servers, record = _servers(relays.ports), _record()
        is_fleet = options.database == "postgres"
        folder = {} if is_fleet else {"POSTROOM_DATA": os.environ["POSTROOM_DATA"]}
        with fleet.workers(1, "worker" if is_fleet else "up", **folder):
            waits = [_one(relays, number, servers, record) for number in range(options.count)]
    waits.sort()
    p99 = waits[min(len(waits) - 1, round(len(waits) * 0.99))]
    print(f"{stage.where(options.database)}: {options.count} mails, one after the other")
    print(f"  posted → connected  median {statistics.median(waits):.1f} ms, p99 {p99:.1f} ms")


def _one(relays: Relays, number: int, servers: list[Any], record: Any) -> float:
    """Milliseconds between the end of `post` and the connection."""
    from postroom.conversations.models import Contact
    from postroom.flows.posting import Draft, post
    from postroom.workspaces.models import Member

    place = number % RELAYS
    relays.reached[place].clear()
    draft = Draft(
        workspace=record.workspace,
        member=Member.objects.get(),
        record=record,
        subtype_key="discussions",
        text=f"Letter {number}",
        named=list(Contact.objects.filter(name="Marta")),
        are_outsiders_confirmed=True,
        server=servers[place],
    )
    post(draft)
    posted_at = time.perf_counter()
    assert relays.reached[place].wait(30), "the relay was not reached"
    if place == RELAYS - 1:
        time.sleep(LINGER_SECONDS)
    return (relays.at[place] - posted_at) * 1000


def _servers(ports: list[int]) -> list[Any]:
    from postroom.outgoing.models import MailServer
    from postroom.workspaces.models import Workspace

    workspace = Workspace.objects.get()
    return [
        MailServer.objects.create(
            workspace=workspace, name=f"relay {port}", host="127.0.0.1", port=port, encryption="none"
        )
        for port in ports
    ]


def _record() -> Any:
    from postroom.conversations.models import Address, Contact, Record
    from postroom.workspaces.models import Workspace

    workspace = Workspace.objects.get()
    address = Address.objects.create(workspace=workspace, addr_spec="marta@rcpt.example")
    Contact.objects.create(workspace=workspace, name="Marta", address=address)
    return Record.objects.create(workspace=workspace, model="order", external_id="1", title="SO-1")


class Relays:
    """Sinks on a thread of their own that note when somebody connects."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.at = [0.0] * RELAYS
        self.reached = [threading.Event() for _ in range(RELAYS)]
        self.are_ready = threading.Event()

    def start(self) -> None:
        """Listen."""
        threading.Thread(target=self._run, daemon=True).start()
        self.are_ready.wait(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        for place in range(RELAYS):
            server = await loop.create_server(partial(_Noting, self, place), "127.0.0.1", 0)
            self.ports.append(server.sockets[0].getsockname()[1])
        self.are_ready.set()
        await asyncio.Event().wait()


class _Noting(Sink):
    def __init__(self, relays: Relays, place: int) -> None:
        super().__init__(0.0)
        self.relays, self.place = relays, place

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.relays.at[self.place] = time.perf_counter()
        self.relays.reached[self.place].set()
        super().connection_made(transport)


if __name__ == "__main__":
    main()
