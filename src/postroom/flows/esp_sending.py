"""Calls to a provider's API, in the place of connections to a relay: the same feed, the same journal."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from postroom.flows.esp_calls import ApiSession
from postroom.outgoing import esp_answers
from postroom.outgoing.esp import Account
from postroom.outgoing.esp_answers import Answer
from postroom.smtp.errors import RelayUnreachable
from postroom.smtp.mail import Feed, Journal, MailObject, Settled
from postroom.smtp.offers import Offers
from postroom.smtp.pool import ACCEPTED_FOR_ONE_MORE
from postroom.wire.reply import Outcome, Reply

CLOSE_SECONDS: Final = 10.0
CALL_SECONDS = 120.0  # for a whole answer, however slowly it comes


class EspConnections:
    """Up to `limit` calls at the same time to one account, each in a thread of its own.

    It is used as `smtp.pool.Connections` is: every mail taken from the feed ends in exactly one
    `feed.settled()`, `failure` is set when no further mail would be taken, and `pace` is how many calls the
    provider bears. A call is noted in the journal before its thread begins, and its answer before it is
    settled. All but the calls themselves happens in the loop thread.
    """

    def __init__(self, account: Account, feed: Feed, journal: Journal, *, limit: int = 8) -> None:
        self.account = account
        self.feed = feed
        self.journal = journal
        self.limit = self.pace = max(1, limit)
        self.accepted_count = 0
        self.offers: Offers | None = None  # an API announces nothing
        self.failure: RelayUnreachable | None = None
        self.fault: Exception | None = None
        self.is_closing = False
        self.loop = asyncio.get_running_loop()
        self.threads = ThreadPoolExecutor(self.limit, thread_name_prefix="esp")
        self.idle: list[ApiSession] = []
        self.calls: dict[int, float] = {}
        self.timers: dict[int, asyncio.TimerHandle] = {}
        self.rest = asyncio.Event()

    async def start(self) -> None:
        """Load what speaks the API, see whether its host answers, and begin. Raises RelayUnreachable."""
        session = await self.loop.run_in_executor(self.threads, _reached, self.account)
        self.failure = None
        self.idle.append(session)
        self.kick()

    def kick(self) -> None:
        """Look into the feed again and begin as many calls as the pace allows."""
        while self._may_call() and (mail := self._pull()) is not None:
            self._call(mail)

    def slow_down(self) -> None:
        """Halve the calls; those on their way are not disturbed."""
        self.pace = max(1, min(self.pace, len(self.calls) or 1) // 2)
        self.accepted_count = 0

    async def close(self) -> None:
        """Take no more mails, let the calls on their way end, and settle those that do not as uncertain."""
        self.is_closing = True
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while self.calls:
                    self.rest.clear()
                    await self.rest.wait()
        except TimeoutError:
            for key, since in list(self.calls.items()):
                del self.calls[key]
                self.timers.pop(key).cancel()
                self._settle(key, since, Answer(Outcome.UNCERTAIN, None))
        for session in self.idle:
            session.close()
        self.idle.clear()
        self.threads.shutdown(wait=False)

    def _may_call(self) -> bool:
        return not (self.is_closing or self.failure or self.fault) and len(self.calls) < self.pace

    def _pull(self) -> MailObject | None:
        try:
            return self.feed.next()
        except Exception as fault:  # whatever the feed throws belongs to who drains
            self._break_off(fault)
            return None

    def _call(self, mail: MailObject) -> None:
        """Note that a mail is about to leave, and let a thread hand it over."""
        since = self.loop.time()
        try:
            self.journal.begun(mail.key)
        except Exception as fault:  # without its note no content may leave
            self._break_off(fault)
            self._settle(mail.key, since, Answer(Outcome.UNREACHABLE, None, has_begun=False))
            return
        self.calls[mail.key] = since
        session = self.idle.pop() if self.idle else None
        call = self.loop.run_in_executor(self.threads, _sent, self.account, session, mail)
        call.add_done_callback(lambda future: self._answered(mail.key, future))
        self.timers[mail.key] = self.loop.call_later(CALL_SECONDS, self._overdue, mail.key)

    def _overdue(self, key: int) -> None:
        """An answer drips in without end: nobody knows what it would say, and its thread is lost to us."""
        since = self.calls.pop(key)
        del self.timers[key]
        words = f"{self.account.provider.label} did not end its answer within {CALL_SECONDS:g} s."
        self.failure = self.failure or RelayUnreachable(words, step="mail")
        self._settle(key, since, Answer(Outcome.UNCERTAIN, None))
        if not self.calls:
            self.rest.set()

    def _answered(self, key: int, call: asyncio.Future[tuple[ApiSession | None, Answer]]) -> None:
        if call.cancelled() or key not in self.calls:  # it was cut off, and settled as that
            return
        try:
            session, answer = call.result()
        except Exception as error:  # whatever a thread ends with, its mail is settled: it may have left
            session, answer = None, esp_answers.broken(self.account.provider, error, has_left=True)
        since = self.calls.pop(key)
        self.timers.pop(key).cancel()
        self.failure = self.failure or answer.trouble
        if answer.reply is not None and answer.outcome is not Outcome.UNCERTAIN:
            self._replied(key, answer.reply)
        self._settle(key, since, answer)
        if session is not None:
            self.idle.append(session)
        self._speed_up(answer)
        self.kick()
        if not self.calls:
            self.rest.set()

    def _replied(self, key: int, reply: Reply) -> None:
        try:
            self.journal.replied(key, reply)
        except Exception as fault:  # the outcome still goes to the feed; the drain ends
            self._break_off(fault)

    def _settle(self, key: int, since: float, answer: Answer) -> None:
        seconds = self.loop.time() - since
        settled = Settled(
            key, answer.outcome, answer.reply, seconds, self.account.is_tls, began=answer.has_begun
        )
        try:
            self.feed.settled(settled)
        except Exception as fault:  # the other calls must still be settled
            self._break_off(fault)

    def _speed_up(self, answer: Answer) -> None:
        """Count what was taken at a reduced pace; every 50 of them allow one call more."""
        if self.pace >= self.limit or answer.outcome is not Outcome.ACCEPTED:
            return
        self.accepted_count += 1
        if self.accepted_count >= ACCEPTED_FOR_ONE_MORE:
            self.accepted_count = 0
            self.pace += 1

    def _break_off(self, fault: Exception) -> None:
        self.fault = self.fault or fault


def _reached(account: Account) -> ApiSession:
    """Runs in a thread. Raises RelayUnreachable."""
    session = ApiSession(account)
    session.reach()
    return session


def _sent(account: Account, session: ApiSession | None, mail: MailObject) -> tuple[ApiSession | None, Answer]:
    """Runs in a thread."""
    try:
        session = session or ApiSession(account)
    except RelayUnreachable as failure:
        return None, Answer(Outcome.UNREACHABLE, failure.reply, failure, has_begun=False)
    return session, session.send(mail)
