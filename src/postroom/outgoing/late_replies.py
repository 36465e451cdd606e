"""An answer that comes after its lease was over: it resolves what had to be called uncertain meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction

from postroom.outgoing import tallies
from postroom.outgoing.models import Attempt, Email, FailureKind, State
from postroom.outgoing.settling import Ended, remote_id_of
from postroom.outgoing.tallies import Move, count_of
from postroom.wire.reply import Outcome


def resolve(ended: Iterable[Ended], now: datetime) -> int:
    """Write down acceptances of attempts that are recorded as uncertain; return how many Emails became Sent.

    An Email that somebody else has in hand again stays as it is: only its attempt learns the answer.
    """
    count = 0
    for each in ended:
        if each.outcome is Outcome.ACCEPTED and each.reply is not None:
            with transaction.atomic():
                count += _resolve(each, now)
    return count


def _resolve(ended: Ended, now: datetime) -> int:
    email, reply = ended.email, ended.reply
    assert reply is not None
    uncertain = Attempt.objects.filter(
        email_id=email.email_id, number=email.number, outcome=Attempt.Outcome.UNCERTAIN
    )
    is_known = uncertain.update(
        outcome=Attempt.Outcome.ACCEPTED,
        code=reply.code,
        enhanced=str(reply.enhanced or ""),
        text=reply.text.replace("\0", ""),
        remote_id=remote_id_of(reply.text),
        seconds=ended.seconds,
        is_tls=ended.was_tls,
        is_unverified=ended.is_unverified,
    )
    return _become_sent(email.email_id, email.number, now) if is_known else 0


def _become_sent(email_id: int, number: int, now: datetime) -> int:
    """Unless another attempt was made or began since, or a person has done something about it."""
    rows = Email.objects.select_for_update().filter(pk=email_id, attempt_count=number, lease="")
    email = rows.first()
    if email is None or not _is_uncertain(email):
        return 0
    before = count_of(email.state, is_ignored=email.ignored_at is not None)
    tallies.move([Move(email.message_id, before, State.SENT)])
    return rows.update(
        state=State.SENT, sent_at=now, failure_kind="", failure_text="", ignored_at=None, bounced_at=None
    )


def _is_uncertain(email: Email) -> bool:
    if email.state == State.OUTGOING:
        return email.uncertain_count > 0
    return email.state == State.FAILED and email.failure_kind == FailureKind.UNCERTAIN
