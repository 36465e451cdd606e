"""What is to be said, who would be told of it, and why it may be refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from postroom.conversations.models import Contact, Message, Record
from postroom.conversations.models.messages import Kind
from postroom.conversations.models.records import Stream
from postroom.conversations.storage import Upload
from postroom.outgoing.models import MailServer
from postroom.outgoing.routes import Route
from postroom.workspaces.models import Member, Workspace
from postroom.workspaces.refusals import RequestRefused


class PostRefused(RequestRefused):
    """This cannot be said; nothing was stored."""


class OutsidersNamed(RequestRefused):
    """Something internal names people from outside, which has to be confirmed; nothing was stored."""

    def __init__(self, contacts: Sequence[Contact]) -> None:
        self.contacts = contacts
        names = ", ".join(str(contact) for contact in contacts)
        super().__init__(_("This is internal, and would be mailed outside to %(names)s.") % {"names": names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is to be said.

    `body` is HTML, sanitised when it is posted; `text` is taken if there is no body. `author` None means
    the member who acts, or without one the workspace itself. `author_name` is shown where there is no
    author. `server` None means the one that the rules choose. `named` are told besides the followers.
    `already_told` are normalised addresses that have it from outside. `stream` None means that of the
    subtype. `message_id` is that of a mail that came in; a new one is minted otherwise. `is_quiet`
    stores it without telling anybody and without letting the author follow. `may_author_follow`: taking part
    makes the author a follower, as it does unless nobody vouches for a mail that came in. `send_at` is when
    its emails leave, and only they; None, or a time that has passed, means at once.
    """

    workspace: Workspace
    record: Record | None = None
    author: Contact | None = None
    author_name: str = ""
    server: MailServer | None = None
    member: Member | None = None
    body: str = ""
    text: str = ""
    subject: str = ""
    subtype_key: str = "discussions"
    named: Sequence[Contact] = ()
    attachments: Sequence[Upload] = ()
    stream: Stream | str | None = None
    parent: Message | None = None
    kind: Kind = Kind.COMMENT
    message_id: str | None = None
    already_told: frozenset[str] = frozenset()
    are_outsiders_confirmed: bool = False
    is_quiet: bool = False
    may_author_follow: bool = True
    send_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """Somebody who would be told: `how` is "email" or "postroom", `why` "follower" or "named"."""

    contact: Contact
    how: str
    addr_spec: str
    why: str


@dataclass(frozen=True, slots=True)
class NotTold:
    """Somebody who would not be told; `reason` is one of `conversations.recipients.Reason`."""

    contact: Contact
    reason: str


@dataclass(frozen=True, slots=True)
class Preview:
    """Who would be told and who not. `outsiders` are those whom something internal needs confirming for.

    What is mailed would take this `route` and wait in this `stream`.
    """

    told: list[Told]
    not_told: list[NotTold]
    outsiders: list[Contact]
    route: Route
    stream: str
