"""What a program says, turned into a Draft: addresses become contacts, files become uploads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from postroom.conversations.models import Contact, Record
from postroom.flows import recording
from postroom.flows.posting import Draft, Upload
from postroom.wire.address import normalise
from postroom.workspaces.models import Member, Workspace
from postroom.workspaces.refusals import RequestRefused


@dataclass(frozen=True, slots=True)
class File:
    """A file to attach."""

    name: str
    content_type: str
    octets: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What is said, as a command or an API request gives it.

    `html` or `text` is the body. `to` are addresses to tell besides the followers. `author` is the address
    of a known contact; empty means the member who acts. `stream` None means that of the subtype. `send_at` is
    when the emails leave; None means at once.
    """

    subject: str = ""
    html: str = ""
    text: str = ""
    is_note: bool = False
    to: tuple[str, ...] = ()
    author: str = ""
    stream: str | None = None
    files: tuple[File, ...] = ()
    are_outsiders_confirmed: bool = False
    send_at: datetime | None = None


def draft(said: Said, record: Record, member: Member) -> Draft:
    """The Draft of what is said on a record. Raises AddressError, or RequestRefused for an unknown author."""
    workspace = record.workspace
    author = _author(workspace, said.author, member)
    return Draft(
        workspace=workspace,
        record=record,
        author=author,
        body=said.html,
        text=said.text,
        subject=said.subject,
        subtype_key="note" if said.is_note else "discussions",
        named=[recording.contact_for(workspace, address) for address in said.to],
        attachments=[Upload(file.name, file.content_type, file.octets) for file in said.files],
        stream=said.stream or None,
        are_outsiders_confirmed=said.are_outsiders_confirmed,
        member=member,
        send_at=said.send_at,
    )


def _author(workspace: Workspace, address: str, member: Member) -> Contact:
    if not address:
        return member.contact
    found = Contact.objects.filter(workspace=workspace, address__addr_spec=normalise(address), is_active=True)
    author = found.select_related("member").order_by("member", "pk").first()
    if author is None:
        raise RequestRefused(_("%(address)s is not a contact of this workspace.") % {"address": address})
    return author
