"""DKIM keys are made, published, activated, replaced and retired."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from string import ascii_lowercase

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from postroom.conversations.models import Notification
from postroom.diagnostics import events
from postroom.flows import domain_check
from postroom.flows.domain_check import Finding, Resolver
from postroom.flows.notices import tell_admins
from postroom.wire import dkim_keys
from postroom.workspaces.models import DkimKey, MailDomain, Member
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.walls import refuse_strangers

State = DkimKey.State
#: How long mail that an older key signed may be on its way; its record has to stay that long.
OVERLAP = timedelta(days=7)
UNREADABLE = "dkim_unreadable"


def keys_of(domain: MailDomain) -> QuerySet[DkimKey]:
    """The keys of a domain, the newest first, as they stand now; their private halves are not read."""
    retire_due()
    keys = DkimKey.objects.filter(mail_domain=domain).defer("private")
    return keys.select_related("mail_domain").order_by("-pk")


def make(domain: MailDomain, algorithm: str, *, by: Member) -> DkimKey:
    """Make a key that signs once it is published and activated.

    Raises RequestRefused for anybody but an administrator, and while another one waits to be activated.
    """
    _refuse_unless_admin(by, domain.workspace_id)
    if algorithm not in DkimKey.Algorithm.values:
        raise RequestRefused(_("A DKIM key is of the kind rsa or ed25519."))
    waiting = keys_of(domain).filter(algorithm=algorithm, state=State.WAITING).first()
    if waiting is not None:
        raise RequestRefused(
            _("The key %(selector)s of the same kind still waits. Publish and activate it, or revoke it.")
            % {"selector": waiting.selector}
        )
    private = dkim_keys.make_private(algorithm)
    with transaction.atomic():
        key = DkimKey.objects.create(
            workspace_id=domain.workspace_id,
            mail_domain=domain,
            selector=_new_selector(domain, timezone.now()),
            algorithm=algorithm,
            private=private,
            public=dkim_keys.public_of(dkim_keys.read_private(private)),
        )
        _note("dkim.made", key, by)
    return key


def activate(key: DkimKey, *, by: Member, resolver: Resolver | None = None) -> DkimKey:
    """Let a key sign from the next mail on, if DNS has it; one of the same kind that signed so far retires.

    Raises RequestRefused with what was found instead, or if DNS did not answer; then nothing has changed.
    """
    _refuse_unless_admin(by, key.workspace_id)
    if key.state == State.ACTIVE:
        return key
    if key.state != State.WAITING:
        raise RequestRefused(_("This key was retired and never signs again. Make a new one."))
    _refuse_unless_published(domain_check.find_key(key, resolver))
    now = timezone.now()
    with transaction.atomic():
        older = DkimKey.objects.filter(
            mail_domain=key.mail_domain, algorithm=key.algorithm, state=State.ACTIVE
        )
        older.update(state=State.RETIRING, retires_at=now + OVERLAP, private="")
        waiting = DkimKey.objects.filter(pk=key.pk, state=State.WAITING)
        if not waiting.update(state=State.ACTIVE, activated_at=now):
            raise RequestRefused(_("This key was retired and never signs again. Make a new one."))
        _note("dkim.activated", key, by)
    key.refresh_from_db(fields=["state", "activated_at"])
    return key


def rotate(domain: MailDomain, algorithm: str, *, by: Member) -> DkimKey:
    """Make the successor of the key that signs; that one signs until the new one is activated.

    Raises RequestRefused if none of this kind signs, else as `make` does.
    """
    _refuse_unless_admin(by, domain.workspace_id)
    if not keys_of(domain).filter(algorithm=algorithm, state=State.ACTIVE).exists():
        raise RequestRefused(_("No key of this kind signs yet, so there is none to replace. Make one."))
    return make(domain, algorithm, by=by)


def revoke(key: DkimKey, *, by: Member) -> DkimKey:
    """Let a key sign nothing more from the next claim on, and forget its private half.

    Mail that it signed stops verifying once its record is gone from DNS. Raises RequestRefused.
    """
    _refuse_unless_admin(by, key.workspace_id)
    with transaction.atomic():
        living = DkimKey.objects.filter(pk=key.pk).exclude(state=State.RETIRED)
        if living.update(state=State.RETIRED, retires_at=timezone.now(), private=""):
            _note("dkim.retired", key, by)
    key.refresh_from_db(fields=["state", "retires_at"])
    return key


def retire_due(now: datetime | None = None) -> int:
    """Retire the keys whose overlap is over; return how many. Cheap, for wherever keys are shown."""
    due = DkimKey.objects.filter(state=State.RETIRING, retires_at__lte=now or timezone.now())
    keys = list(due.defer("private").select_related("workspace", "mail_domain"))
    with transaction.atomic():
        for key in keys:
            if DkimKey.objects.filter(pk=key.pk, state=State.RETIRING).update(state=State.RETIRED):
                _note("dkim.retired", key, None)
    return len(keys)


def tell_unreadable(key_ids: Collection[int]) -> None:
    """Give the administrators one notice, not one for every mail, that keys of theirs cannot be read."""
    active = DkimKey.objects.filter(pk__in=key_ids, state=State.ACTIVE).defer("private")
    for key in active.select_related("workspace"):
        told = Notification.objects.filter(workspace=key.workspace, reason=UNREADABLE)
        if not told.filter(created_at__gte=key.activated_at or key.created_at).exists():
            tell_admins(key.workspace, UNREADABLE)


def _new_selector(domain: MailDomain, now: datetime) -> str:
    """pr202611a, the next one of that month pr202611b; after z comes za."""
    taken = set(DkimKey.objects.filter(mail_domain=domain).values_list("selector", flat=True))
    stem = f"pr{now:%Y%m}"
    while True:
        for letter in ascii_lowercase:
            if f"{stem}{letter}" not in taken:
                return f"{stem}{letter}"
        stem += "z"


def _refuse_unless_published(finding: Finding) -> None:
    if finding.is_ok is None:
        raise RequestRefused(
            _("DNS did not answer, so nothing is known about %(name)s. Try again in a moment. (%(why)s)")
            % {"name": finding.name, "why": finding.found}
        )
    if not finding.found:
        raise RequestRefused(
            _(
                "There is no TXT record at %(name)s. Publish it; what was published just now may take until "
                "the lifetime of the old answer is over."
            )
            % {"name": finding.name}
        )
    if not finding.is_ok:
        raise RequestRefused(
            _(
                "The TXT record at %(name)s is not this key's. Publish exactly one record there. "
                "Found: %(found)s"
            )
            % {"name": finding.name, "found": finding.found}
        )


def _note(kind: str, key: DkimKey, by: Member | None) -> None:
    name = domain_check.name_of(key)
    events.note(kind, workspace=key.workspace, member=by, name=name, algorithm=key.algorithm)


def _refuse_unless_admin(by: Member, workspace_id: int) -> None:
    refuse_strangers(workspace_id, [by])
    if not by.is_admin:
        raise RequestRefused(_("Only an administrator of the workspace may do this."))
