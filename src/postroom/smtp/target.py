"""The built-in SMTP target: takes every mail, and misbehaves when the address asks for it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from postroom.smtp.answering import report_for, vacation_reply_to
from postroom.smtp.behaviour import Behaviour, behaviour_for
from postroom.smtp.commands import reply
from postroom.smtp.door import Answer, HangUp, ListenerLimits, Session, Transaction
from postroom.smtp.listener import Listener
from postroom.smtp.target_store import TargetMail, TargetStore
from postroom.wire.reply import Reply

__all__ = ["DeliverBack", "Target", "TargetMail", "TargetStore"]

log = logging.getLogger("postroom.smtp")

DeliverBack = Callable[[str, bytes], Awaitable[None]]
LIMITS = ListenerLimits(errors=1_000_000, junk=1_000_000, connections_per_peer=400, recipients=1000)
OK_RECIPIENT = reply(250, "2.1.5", "Ok")
OK_DATA = reply(250, "2.0.0", "Ok")


class Target:
    """A server that stands for all recipients of a demonstration or a test.

    The local part of each recipient says what happens: see `behaviour`. Everything else is kept in `store`
    and answered "250 2.0.0 Ok: queued as ...". `deliver_back(forward_path, octets)` carries late bounces and
    vacation replies to the postroom's own listener, with the null reverse-path; None sends none. `clock`
    gives the aware time written into mails.
    """

    def __init__(
        self,
        store: TargetStore,
        *,
        hostname: str = "target.localhost",
        deliver_back: DeliverBack | None = None,
        late_bounce_seconds: float = 3.0,
        auto_reply_seconds: float = 1.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.store = store
        self.hostname = hostname
        self.deliver_back = deliver_back
        self.late_bounce_seconds = late_bounce_seconds
        self.auto_reply_seconds = auto_reply_seconds
        self.clock = clock
        self.tries: Counter[tuple[str, str]] = Counter()
        self.errands: set[asyncio.Task[None]] = set()
        self.listener = Listener(self, hostname, LIMITS)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen and return the bound host and port."""
        return await self.listener.start(host, port)

    def recipient(self, session: Session, forward_path: str) -> Answer:
        """Answer RCPT as the address asks."""
        behaviour = behaviour_for(forward_path)
        if behaviour.refusal is None:
            return OK_RECIPIENT
        if behaviour.refusals:
            tried = (session.reverse_path.rpartition("@")[2].lower(), forward_path.lower())
            self.tries[tried] += 1
            return behaviour.refusal if self.tries[tried] <= behaviour.refusals else OK_RECIPIENT
        return behaviour.refusal

    def data(self, session: Session, transaction: Transaction) -> Answer:
        """Hang up if a recipient asks for that before the content."""
        if any(behaviour_for(path).drops_before_data for path in transaction.forward_paths):
            raise HangUp
        return OK_DATA

    def content(self, session: Session, transaction: Transaction) -> Answer:
        """Keep the mail once for each recipient and answer, at once or after the slowest one's seconds."""
        behaviours = [behaviour_for(path) for path in transaction.forward_paths]
        seconds = max(behaviour.slow_seconds for behaviour in behaviours)
        if seconds:
            return self.slowly(seconds, session, transaction, behaviours)
        return self.keep(session, transaction, behaviours)

    async def slowly(
        self, seconds: float, session: Session, transaction: Transaction, behaviours: list[Behaviour]
    ) -> Reply:
        await asyncio.sleep(seconds)
        return self.keep(session, transaction, behaviours)

    def keep(self, session: Session, transaction: Transaction, behaviours: list[Behaviour]) -> Reply:
        queue_id = ""
        for forward_path, behaviour in zip(transaction.forward_paths, behaviours, strict=True):
            mail = self.store.add(
                received_at=self.clock(),
                reverse_path=transaction.reverse_path,
                forward_path=forward_path,
                octets=transaction.content,
                helo=session.helo,
                peer=session.peer,
            )
            queue_id = f"{int(mail.id):08X}"
            self.answer_later(mail, behaviour)
        if any(behaviour.drops_after_data for behaviour in behaviours):
            raise HangUp
        return reply(250, "2.0.0", f"Ok: queued as {queue_id}")

    def answer_later(self, mail: TargetMail, behaviour: Behaviour) -> None:
        if behaviour.late_status is not None and mail.reverse_path:
            self.send_out(self.bounce_late(mail, behaviour))
        if behaviour.replies_by_itself:
            self.send_out(self.reply_by_itself(mail))

    def send_out(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(errand)
        self.errands.add(task)
        task.add_done_callback(self.errands.discard)

    async def bounce_late(self, mail: TargetMail, behaviour: Behaviour) -> None:
        assert behaviour.late_status is not None
        await asyncio.sleep(self.late_bounce_seconds)
        report = report_for(
            mail,
            hostname=self.hostname,
            status=behaviour.late_status,
            unique=uuid.uuid4().hex,
            date=self.clock(),
        )
        await self.carry_back(mail.reverse_path, report)

    async def reply_by_itself(self, mail: TargetMail) -> None:
        await asyncio.sleep(self.auto_reply_seconds)
        answer = vacation_reply_to(mail, hostname=self.hostname, unique=uuid.uuid4().hex, date=self.clock())
        if answer is not None:
            await self.carry_back(*answer)

    async def carry_back(self, forward_path: str, octets: bytes) -> None:
        if self.deliver_back is None:
            return
        try:
            await self.deliver_back(forward_path, octets)
        except Exception as error:  # the way back is the caller's code; nobody waits for this errand
            log.warning("The target could not write back to %s: %s", forward_path, error)

    async def stop(self, grace_seconds: float = 2.0) -> None:
        """Stop listening and drop what was still to be written back."""
        await self.listener.stop(grace_seconds)
        errands = list(self.errands)
        for errand in errands:
            errand.cancel()
        await asyncio.gather(*errands, return_exceptions=True)
        self.store.close()
