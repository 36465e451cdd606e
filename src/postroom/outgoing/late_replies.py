"""An answer that comes after its lease was over: it resolves what had to be called uncertain meanwhile.

It comes from a worker that was slow, or from the journal of one whose machine was away for longer than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from postroom.outgoing import tallies
from postroom.outgoing.journal import Try
from postroom.outgoing.models import Attempt, Email, FailureKind, State
from postroom.outgoing.settling import Ended, remote_id_of
from postroom.outgoing.tallies import Move, count_of
from postroom.wire.reply import Outcome, Reply

GROUP = 500


def resolve(ended: Iterable[Ended], now: datetime) -> int:
    """Write down acceptances of attempts that are recorded as uncertain; return how many Emails became Sent.

    An Email that somebody else has in hand again stays as it is: only its attempt learns the answer.
    """
    return sum(
        _resolve(Try(each.email.email_id, each.email.number), each.reply, now, _how(each))
        for each in ended
        if each.outcome is Outcome.ACCEPTED and each.reply is not None
    )


def resolve_noted(replies: Mapping[Try, Reply], now: datetime) -> int:
    """The same for the replies that a journal holds; most of them were written back long ago."""
    accepted = [one for one, reply in replies.items() if reply.outcome is Outcome.ACCEPTED]
    count = 0
    for start in range(0, len(accepted), GROUP):
        some = accepted[start : start + GROUP]
        uncertain = _uncertain().filter(email_id__in=[one.email_id for one in some])
        open_ones = {Try(*each) for each in uncertain.values_list("email_id", "number")}
        count += sum(_resolve(one, replies[one], now, {}) for one in some if one in open_ones)
    return count


def _how(ended: Ended) -> dict[str, Any]:
    """What only the worker itself knows of the transaction."""
    return {"seconds": ended.seconds, "is_tls": ended.was_tls, "is_unverified": ended.is_unverified}


@transaction.atomic
def _resolve(one: Try, reply: Reply, now: datetime, how: Mapping[str, Any]) -> int:
    is_known = (
        _uncertain()
        .filter(email_id=one.email_id, number=one.number)
        .update(
            outcome=Attempt.Outcome.ACCEPTED,
            code=reply.code,
            enhanced=str(reply.enhanced or ""),
            text=reply.text.replace("\0", ""),
            remote_id=remote_id_of(reply.text),
            **how,
        )
    )
    return _become_sent(one.email_id, one.number, now) if is_known else 0


def _uncertain() -> QuerySet[Attempt]:
    return Attempt.objects.filter(outcome=Attempt.Outcome.UNCERTAIN)


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
