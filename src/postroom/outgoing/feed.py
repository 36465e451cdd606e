"""What waits in memory between claim and connection, and what comes back: urgent first, with room for it."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from postroom.outgoing.claiming import Claimed
from postroom.outgoing.copies import Copies, Signature, Unsendable
from postroom.outgoing.journal import Journal
from postroom.outgoing.pace import Pace
from postroom.outgoing.retry import words_of
from postroom.outgoing.settling import Ended
from postroom.outgoing.signing import Signed, Signing
from postroom.smtp.mail import MailObject, Settled
from postroom.smtp.offers import TOO_LARGE
from postroom.wire.reply import Outcome, Reply

GROUP = 200


class OutgoingFeed:
    """Feed and journal of one drain.

    `notify` is called when a group is to be written back, when all is done, and when what waits is down to
    `low_water`; `kick` when copies that had to be signed first are ready; `slow_down` when the server asks
    for less. `is_unverified` says of what follows that nobody checks the server's certificate. At `stops_at`
    (of the monotonic clock) no more is handed out: another machine may hold the Emails from then on.
    """

    def __init__(
        self,
        copies: Copies,
        journal: Journal,
        signing: Signing,
        *,
        notify: Callable[[], None],
        kick: Callable[[], None],
        slow_down: Callable[[], None],
        is_unverified: bool = False,
    ) -> None:
        self.copies = copies
        self.journal = journal
        self.signing = signing
        signing.take, signing.ready_count = self._take_signed, self._signature_count
        self.notify = notify
        self.kick = kick
        self.slow_down = slow_down
        self.is_unverified = is_unverified
        self.pace = Pace()
        self.is_open = True
        self.stops_at = math.inf
        self.low_water = 1
        self.urgent: deque[Claimed] = deque()
        self.bulk: deque[Claimed] = deque()
        self.signatures: dict[int, Signature] = {}
        self.flying: dict[int, tuple[Claimed, str]] = {}
        self.ended: list[Ended] = []
        self.unsendable: list[tuple[Claimed, str]] = []

    @property
    def waiting_count(self) -> int:
        """How many Emails are claimed and not on their way."""
        return len(self.urgent) + len(self.bulk) + self.signing.count

    @property
    def is_low(self) -> bool:
        """Is it time to claim more?"""
        return self.waiting_count < self.low_water

    @property
    def is_group(self) -> bool:
        """Is there enough to be written back in one transaction?"""
        return len(self.ended) >= GROUP

    @property
    def is_ebbing(self) -> bool:
        """Is nothing on its way, nor will be in a moment? Then a group that is not full is written back."""
        return not (self.flying or self.signing.count)

    @property
    def is_empty(self) -> bool:
        """Is nothing claimed, on its way or to be written back?"""
        return not (self.waiting_count or self.flying or self.ended or self.unsendable)

    def add(self, emails: Iterable[Claimed]) -> None:
        """Take claimed Emails in, once `copies` has their texts."""
        for email in emails:
            if self.copies.is_signed(email):
                self.signing.add(email)
            else:
                (self.urgent if email.is_urgent else self.bulk).append(email)
        self.signing.go_on()

    def renditions(self) -> set[int | None]:
        """The renditions that waiting Emails need."""
        queues = (self.urgent, self.bulk, self.signing.emails())
        return {email.rendition_id for queue in queues for email in queue}

    def close(self) -> list[Claimed]:
        """Hand out nothing more; return what was claimed and never left."""
        self.is_open = False
        left = [*self.urgent, *self.bulk, *self.signing.close()]
        self.signatures.clear()
        self.urgent.clear()
        self.bulk.clear()
        return left

    def take_ended(self) -> tuple[list[Ended], list[tuple[Claimed, str]]]:
        """What is to be written back: attempts that ended, and Emails that cannot be sent."""
        ended, self.ended = self.ended, []
        unsendable, self.unsendable = self.unsendable, []
        return ended, unsendable

    # What the connections call.

    def next(self) -> MailObject | None:
        """The next copy, urgent first; None if nothing may leave now."""
        while (email := self._pick()) is not None:
            if (mail := self._copy(email)) is not None:
                return mail
        return None

    def next_urgent(self) -> MailObject | None:
        """The next copy of urgent mail; None if there is none."""
        while self.urgent and self._may_hand_out():
            if (mail := self._copy(self.urgent.popleft())) is not None:
                return mail
        return None

    def urgent_only(self) -> UrgentFeed:
        """The same feed for connections that carry urgent mail only."""
        return UrgentFeed(self)

    def begun(self, key: int) -> None:
        """Note that the content leaves."""
        self.journal.begun(key, self.flying[key][0].number)

    def replied(self, key: int, reply: Reply) -> None:
        """Note the answer."""
        self.journal.replied(key, self.flying[key][0].number, reply)

    def settled(self, settled: Settled) -> None:
        """Take an outcome back."""
        email, reverse_path = self.flying.pop(settled.key)
        ended = Ended(
            email,
            _outcome_of(email, settled),
            settled.reply,
            reverse_path,
            settled.seconds,
            settled.was_tls,
            settled.was_tls and self.is_unverified,
        )
        self.ended.append(ended)
        self._note_pace(ended)
        if len(self.ended) == GROUP or self.is_ebbing:
            self.notify()

    def _note_pace(self, ended: Ended) -> None:
        """Heed a server that asks for less; once slowing down does not help, hand out nothing more."""
        if ended.outcome is Outcome.ACCEPTED:
            self.pace.accepted()
        elif ended.slows_the_lane and self.pace.throttled(ended.seconds, words_of(ended.reply)):
            self.slow_down()

    # What comes back from the threads.

    def _take_signed(self, signed: Sequence[Signed]) -> None:
        for email, signature in signed:
            if isinstance(signature, Exception):
                self._refuse(email, signature)
                continue
            self.signatures[email.email_id] = signature
            (self.urgent if email.is_urgent else self.bulk).append(email)
        self.kick()

    def _signature_count(self) -> int:
        return len(self.signatures)

    def _may_hand_out(self) -> bool:
        return self.is_open and not self.pace.is_spent and time.monotonic() < self.stops_at

    def _pick(self) -> Claimed | None:
        if not self._may_hand_out():
            return None
        queue = self.urgent or self.bulk
        if self.waiting_count == self.low_water:
            self.notify()
        return queue.popleft() if queue else None

    def _copy(self, email: Claimed) -> MailObject | None:
        """Put one recipient's copy together and note that it is on its way; None if that cannot be done."""
        signature = self.signatures.pop(email.email_id, None)
        try:
            mail = self.copies.mail_object(email, signature)
        except Exception as error:  # one copy that cannot be made must not stop the others
            self._refuse(email, error)
            return None
        self.flying[email.email_id] = (email, mail.reverse_path.decode())
        if signature is not None:
            self.signing.go_on()
        return mail

    def _refuse(self, email: Claimed, error: Exception) -> None:
        if isinstance(error, Unsendable):
            self._cannot(email, str(error))
        else:
            self._cannot(email, f"This email could not be put together ({type(error).__name__}: {error}).")

    def _cannot(self, email: Claimed, reason: str) -> None:
        self.unsendable.append((email, reason))
        self.notify()


def _outcome_of(email: Claimed, settled: Settled) -> Outcome:
    """What is too large for a stand-in alone waits for its own server."""
    reply = settled.reply
    is_too_large = reply is not None and reply.enhanced == TOO_LARGE
    return Outcome.DEFERRED if email.is_away and is_too_large else settled.outcome


class UrgentFeed:
    """The urgent part of a feed; outcomes go the same way."""

    def __init__(self, feed: OutgoingFeed) -> None:
        self.next = feed.next_urgent
        self.settled = feed.settled
