"""What becomes of Emails whose worker is gone: by its journal as far as that tells, else uncertain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError

from postroom.outgoing import claiming, journal, late_replies
from postroom.outgoing.claiming import Claimed
from postroom.outgoing.journal import Left, Notes, Try
from postroom.outgoing.retry import PolicyOf
from postroom.outgoing.settling import Ended, Settlement, Tell, settle, tell_nobody
from postroom.wire.reply import Outcome

GROUP = 200


def journal_folder() -> Path:
    """Where the workers of this data folder keep their journals."""
    return Path(settings.POSTROOM_DATA) / "journal"


def is_anything_left() -> bool:
    """Did a worker that is gone leave its journal here?"""
    is_left = False
    for left in journal.left_behind(journal_folder()):
        left.close()
        is_left = True
    return is_left


def recover(
    *,
    is_alone: bool,
    now: datetime,
    policy_of: PolicyOf,
    tell: Tell = tell_nobody,
    set_aside: Callable[[Path, Exception], None] | None = None,
) -> Iterator[Settlement]:
    """Settle the leases of workers that are gone; one Settlement per group written.

    A journal left behind on this machine settles its lease: noted replies count, content that was begun is
    uncertain, the rest is due again. A noted acceptance also resolves what others called uncertain meanwhile.
    A lease without a journal here is wholly uncertain, once nobody else can have it: `is_alone` says that no
    other machine sends from this database, else its time must be over.

    A journal that cannot be settled is set aside under another name, `set_aside` is told which and why, and
    its lease is then one without a journal. Raises what a database that does not answer raises.
    """
    for left in journal.left_behind(journal_folder()):
        try:
            yield from _settle_journal(left, now, policy_of, tell)
        except (OperationalError, InterfaceError, InternalError):
            raise
        except Exception as error:  # whatever is wrong with one journal, the others are settled
            aside = left.set_aside()
            if set_aside is not None:
                set_aside(aside, error)
        finally:
            left.close()
    for lease, is_over in claiming.leases():
        if (is_alone or is_over) and not journal.is_live(journal_folder(), lease):
            yield from _settle_lease(Notes(lease, is_complete=False), now, policy_of, tell)


def _settle_journal(left: Left, now: datetime, policy_of: PolicyOf, tell: Tell) -> Iterator[Settlement]:
    yield from _settle_lease(left.notes, now, policy_of, tell)
    # Its time may have been over long ago: somebody else has called all of it uncertain then.
    yield Settlement(late_replies.resolve_noted(left.notes.replies, now), frozenset())
    left.remove()


def _settle_lease(notes: Notes, now: datetime, policy_of: PolicyOf, tell: Tell) -> Iterator[Settlement]:
    ended, untouched = [], []
    for email in claiming.held_under(notes.lease):
        known = _as_noted(email, notes)
        if known is None:
            untouched.append(_without_window(email))
        else:
            ended.append(known)
    claiming.release(notes.lease, untouched)
    for start in range(0, len(ended), GROUP):
        group = ended[start : start + GROUP]
        yield settle(notes.lease, group, now=now, policy_of=policy_of, tell=tell)


def _without_window(email: Claimed) -> Claimed:
    """Nobody knows any more in which window its server was to be asked: that place stays used."""
    return email._replace(is_rated=False)


def _as_noted(email: Claimed, notes: Notes) -> Ended | None:
    """How the attempt ended as far as the journal tells; None if it never began."""
    one = Try(email.email_id, email.number)
    if reply := notes.replies.get(one):
        return Ended(email, reply.outcome, reply)
    if one in notes.begun or not notes.is_complete:
        return Ended(email, Outcome.UNCERTAIN, None)
    return None
