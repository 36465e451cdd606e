"""Records get a conversation, and people follow it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db import transaction
from django.db.models import F

from postroom.conversations.models import Address, Contact, Follower, Record, Subtype
from postroom.diagnostics import events
from postroom.wire.address import normalise
from postroom.wire.characters import one_line
from postroom.workspaces.models import Member, Workspace
from postroom.workspaces.walls import refuse_strangers


def contact_for(workspace: Workspace, addr_spec: str, name: str = "") -> Contact:
    """The contact behind an address: the member if one has it, else the oldest active one, else a new one.

    A name is only used for a contact that is made, or that had none. Raises wire AddressError for text
    that is not one address.
    """
    spec = normalise(addr_spec)
    with transaction.atomic():
        # Locked, so that two mails of one new correspondent do not make two contacts.
        address = Address.objects.select_for_update().get(pk=Address.of(workspace, spec).pk)
        contact = _oldest_of(address) or Contact(workspace=workspace, address=address)
        if contact.pk is None or (name and not contact.name):
            contact.name = name[:200]
            contact.save()
    return contact


def _oldest_of(address: Address) -> Contact | None:
    found = Contact.objects.filter(address=address, workspace_id=address.workspace_id)
    return (
        found.select_related("address", "member")
        .order_by(F("member").asc(nulls_last=True), "-is_active", "pk")
        .first()
    )


def put_record(
    workspace: Workspace,
    model: str,
    external_id: str,
    *,
    title: str,
    url: str = "",
    responsible: Member | None = None,
    followers: Sequence[Contact] | None = None,
    by: Member | None,
) -> tuple[Record, bool]:
    """Make the record, or bring its title, link and responsible up to date; the bool says if it is new.

    A new record is followed by whoever made it; the responsible and `followers` follow it either way.
    `responsible=None` leaves the responsible as it is. Title and url become one line without control
    characters. Raises AcrossTheWall.
    """
    refuse_strangers(workspace, [responsible, by, *(followers or ())])
    title, url = one_line(title), one_line(url)
    with transaction.atomic():
        record, is_new = Record.objects.get_or_create(
            workspace=workspace, model=model, external_id=external_id, defaults={"title": title[:300]}
        )
        _bring_up_to_date(record, title=title, url=url, responsible=responsible)
        members = [responsible, by if is_new else None]
        for contact in [*_contacts_of(members), *(followers or ())]:
            follow(record, contact, by=by)
    return record, is_new


def _bring_up_to_date(record: Record, *, title: str, url: str, responsible: Member | None) -> None:
    record.title = title[:300]
    record.url = url or record.url
    record.responsible = responsible or record.responsible
    record.save(update_fields=["title", "url", "responsible"])


def _contacts_of(members: Iterable[Member | None]) -> list[Contact]:
    wanted = [member for member in members if member is not None]
    return list(Contact.objects.filter(member__in=wanted).order_by("pk")) if wanted else []


def follow(
    record: Record, contact: Contact, subtypes: Iterable[Subtype] | None = None, by: Member | None = None
) -> Follower | None:
    """Let a contact follow a record.

    Without `subtypes` a new follower gets the default ones and an old one keeps what they chose; with
    them the choice is replaced. Nobody but members is ever subscribed to an internal subtype. None: the
    contact is inactive and was left out. Raises AcrossTheWall.
    """
    chosen = None if subtypes is None else list(subtypes)
    refuse_strangers(record.workspace_id, [contact, by, *(chosen or ())])
    if not contact.is_active:
        return None
    with transaction.atomic():
        Record.objects.select_for_update().get(pk=record.pk)  # one change of the followers at a time
        follower, is_new = Follower.objects.get_or_create(
            record=record, contact=contact, defaults={"workspace_id": record.workspace_id}
        )
        if chosen is not None or is_new:
            _subscribe(follower, contact, chosen)
            events.note(
                events.EventKind.FOLLOWED if is_new else events.EventKind.FOLLOWS_OTHERWISE,
                workspace=record.workspace, record=record, contact=contact, member=by,
            )  # fmt: skip
    return follower


def _subscribe(follower: Follower, contact: Contact, chosen: list[Subtype] | None) -> None:
    if chosen is None:
        chosen = list(Subtype.objects.filter(workspace_id=follower.workspace_id, is_default=True))
    follower.subtypes.set(subtype for subtype in chosen if contact.is_insider or not subtype.is_internal)


def unfollow(record: Record, contact: Contact, by: Member | None = None) -> bool:
    """Stop telling a contact about a record; False if they did not follow it. Raises AcrossTheWall."""
    refuse_strangers(record.workspace_id, [contact, by])
    with transaction.atomic():
        count, _ = Follower.objects.filter(record=record, contact=contact).delete()
        if count:
            events.note(
                events.EventKind.UNFOLLOWED,
                workspace=record.workspace,
                record=record,
                contact=contact,
                member=by,
            )
    return count > 0
