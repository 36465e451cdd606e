"""Takes a bounce back into the queue: a Sent Email becomes Delivery Failed, once."""

from __future__ import annotations

from enum import StrEnum

from django.db.models import F
from django.db.models.functions import Now

from postroom.conversations.models import Address
from postroom.outgoing import tallies
from postroom.outgoing.models import Attempt, Email, FailureKind, State
from postroom.outgoing.tallies import IGNORED, Move

HARD, SOFT = 1.0, 0.2


class BounceVerdict(StrEnum):
    """What a bounce did: it failed the Email, came too late to matter, or before the attempt was written."""

    FAILED = "failed"
    OUTDATED = "outdated"
    TOO_EARLY = "too_early"


def bounce(email: Email, *, attempt: int | None, recipient: str, text: str, is_hard: bool) -> BounceVerdict:
    """Fail an Email because of a report on its `attempt` (None: not known) to `recipient` (empty: not known).

    Call it inside a transaction, with the Email locked. Outdated, and nothing is changed, if a later attempt
    was made, if the Email's address was corrected meanwhile, or if it was cancelled or bounced already.
    What capture mode sent to another address says nothing about the recipient's: its score stays.
    """
    if email.lease and attempt is not None and attempt > email.attempt_count:
        return BounceVerdict.TOO_EARLY
    if _is_outdated(email, attempt, recipient):
        return BounceVerdict.OUTDATED
    before = tallies.count_of(email.state, is_ignored=email.ignored_at is not None)
    Email.objects.filter(pk=email.pk).update(
        state=State.FAILED,
        failure_kind=FailureKind.BOUNCED,
        failure_text=text,
        bounced_at=Now(),
        is_listed=True,
        lease="",
        leased_until=None,
    )
    if before != State.FAILED:
        tallies.move([Move(email.message_id, before, State.FAILED)])
    if not email.redirected_to:
        Address.objects.filter(pk=email.address_id).update(
            bounce_score=F("bounce_score") + (HARD if is_hard else SOFT), bounced_at=Now()
        )
    return BounceVerdict.FAILED


def _is_outdated(email: Email, attempt: int | None, recipient: str) -> bool:
    state = tallies.count_of(email.state, is_ignored=email.ignored_at is not None)
    is_over = state in (State.CANCELLED, IGNORED) or email.failure_kind == FailureKind.BOUNCED
    is_retried = email.state == State.OUTGOING and email.bounced_at is not None
    is_earlier = attempt is not None and attempt < email.attempt_count
    return is_over or is_retried or is_earlier or _was_corrected(email, attempt, recipient)


def _was_corrected(email: Email, attempt: int | None, recipient: str) -> bool:
    """Was the attempt that bounced made to another address than the Email has now?"""
    now_at = email.redirected_to or email.address.addr_spec
    attempts = Attempt.objects.filter(email=email)
    if attempt is not None:
        used = attempts.filter(number=attempt).values_list("addr_spec", flat=True).first()
        return used is not None and used != now_at
    return recipient not in ("", now_at) and attempts.filter(addr_spec=recipient).exists()
