"""Answers routing's questions from the tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

from django.db.models import Min, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from postroom.conversations.models import Alias, Contact, Follower, Message, Record
from postroom.conversations.models.messages import Kind
from postroom.incoming.models import ReceivedEmail, ReceivedState
from postroom.incoming.places import AliasFacts, DomainFacts
from postroom.incoming.routing import OPENINGS_WINDOW_SECONDS, IsBounce, IsReply, OpensRecord, Thread
from postroom.wire.tokens import ReplyToken, ReturnPathToken
from postroom.workspaces import tokens
from postroom.workspaces.models import MailDomain

OWN_MODEL = "postroom.workspace"
OPENING = "alias:"
_MINTED = re.compile(r"<[0-9a-f]{32}@[^@>]+>")


def target_of(verdict: IsBounce | IsReply | OpensRecord) -> str:
    """What a mail leads to; the same mail leads there once."""
    if isinstance(verdict, IsBounce):
        return "bounce"
    return f"record:{verdict.record_id}" if verdict.record_id else f"{OPENING}{verdict.alias_id}"


class Addresses:
    """`places.AddressBook` over all workspaces, or over one."""

    def __init__(self, workspace_id: int | None = None) -> None:
        self.workspace_id = workspace_id

    def domain(self, name: str) -> DomainFacts | None:
        """Our domain of this name, None for a foreign one."""
        row = MailDomain.objects.filter(domain=name).first()
        if row is None or self.workspace_id not in (None, row.workspace_id):
            return None
        return DomainFacts(
            row.workspace_id, row.domain, row.bounce_local_part, row.catchall_local_part, row.from_local_part
        )

    def first_domain(self) -> str:
        """The default mail domain of the first workspace, empty if there is none."""
        names = MailDomain.objects.filter(is_default=True).order_by("workspace_id")
        return names.values_list("domain", flat=True).first() or ""

    def alias(self, domain: DomainFacts, local_part: str) -> AliasFacts | None:
        """The alias of this name at that domain."""
        rows = Alias.objects.filter(workspace_id=domain.workspace_id, mail_domain__domain=domain.domain)
        row = rows.filter(local_part=local_part).select_related("forced_record").first()
        if row is None:
            return None
        bound_to = row.forced_record
        return AliasFacts(
            row.pk,
            f"{local_part}@{domain.domain}",
            bound_to.model if bound_to else row.model,
            row.policy,
            record_id=row.forced_record_id,
            accepts_automatic=row.accepts_automatic,
            bounced_text=row.bounced_text,
        )

    def token(self, domain: DomainFacts, text: str) -> ReturnPathToken | ReplyToken | None:
        """The token that a text is in the domain's workspace."""
        return tokens.signer(domain.workspace_id).recognise(text)

    def has_sent_from(self, domain: DomainFacts, addr_spec: str) -> bool:
        """Does a member have this address, or has somebody written here under it?"""
        owners = Contact.objects.filter(workspace_id=domain.workspace_id, address__addr_spec=addr_spec)
        return owners.filter(Q(member__isnull=False) | Q(messages__isnull=False)).exists()


class WorkspaceFiles:
    """`routing.Files` of one workspace; nothing outside of it is ever read."""

    def __init__(self, workspace_id: int) -> None:
        self.workspace_id = workspace_id

    def thread_of(self, references: Sequence[str]) -> Thread | None:
        """The newest message with a record that one of these Message-IDs names.

        Where several have the same Message-ID, ours is meant, else the oldest: whoever uses it again leads
        no answer away.
        """
        if not references:
            return None
        return self._newest(self._named(references)) or self._newest(self._renamed(references))

    def _named(self, references: Sequence[str]) -> list[int]:
        rows = Message.objects.filter(
            workspace_id=self.workspace_id, record__isnull=False, message_id__in=references
        )
        ours = Min("pk", filter=~Q(kind=Kind.EMAIL))
        first = rows.order_by().values("message_id").annotate(first=Coalesce(ours, Min("pk")))
        return list(first.values_list("first", flat=True))

    def _newest(self, wanted: Sequence[int]) -> Thread | None:
        rows = Message.objects.filter(pk__in=wanted, workspace_id=self.workspace_id, record__isnull=False)
        found = rows.order_by("-pk").values_list("pk", "record_id", "record__model").first()
        return Thread(*found) if found else None

    def _renamed(self, references: Sequence[str]) -> list[int]:
        renamed = Message.objects.filter(
            id_aliases__workspace_id=self.workspace_id, id_aliases__alias__in=references
        )
        return list(renamed.values_list("pk", flat=True))

    def is_message_id_known(self, message_id: str) -> bool:
        """Is a message known by it, ours or one that came in?"""
        rows = Message.objects.filter(workspace_id=self.workspace_id)
        renamed = rows.filter(id_aliases__alias=message_id)
        return rows.filter(message_id=message_id).exists() or renamed.exists()

    def is_own_mail(self, message_id: str, copy_mark: str) -> bool:
        """Did this workspace send the mail that has this Message-ID or this mark of one recipient's copy?

        What came in keeps its author's Message-ID, so that one alone does not make it ours.
        """
        if copy_mark and tokens.signer(self.workspace_id).recognise_copy(copy_mark) is not None:
            return True
        if not message_id:
            return False
        rows = Message.objects.filter(workspace_id=self.workspace_id)
        if not _MINTED.fullmatch(message_id):
            rows = rows.exclude(kind=Kind.EMAIL)
        return (
            rows.filter(message_id=message_id).exists() or rows.filter(id_aliases__alias=message_id).exists()
        )

    def thread_of_record(self, record_id: int) -> Thread | None:
        """The record of a reply address; None if it is gone or its reply address was revoked."""
        rows = Record.objects.filter(workspace_id=self.workspace_id, reply_address_revoked_at=None)
        row = rows.filter(pk=record_id).values_list("pk", "model").first()
        return Thread(None, *row) if row else None

    def own_record_id(self) -> int:
        """The workspace's own conversation."""
        own = Record.objects.filter(workspace_id=self.workspace_id, model=OWN_MODEL)
        return own.order_by("pk").values_list("pk", flat=True)[0]

    def is_known(self, addr_spec: str) -> bool:
        """Is it the address of a contact?"""
        return self._contacts(addr_spec).exists()

    def is_member(self, addr_spec: str) -> bool:
        """Is it the address of a member who may log in?"""
        return self._contacts(addr_spec).filter(member__is_active=True).exists()

    def _contacts(self, addr_spec: str) -> QuerySet[Contact]:
        return Contact.objects.filter(
            workspace_id=self.workspace_id, address__addr_spec=addr_spec, is_active=True
        )

    def is_following(self, addr_spec: str, record_id: int) -> bool:
        """Does somebody with this address follow the record?"""
        rows = Follower.objects.filter(workspace_id=self.workspace_id, record_id=record_id)
        return rows.filter(contact__address__addr_spec=addr_spec).exists()

    def opening_count(self, author: str) -> int:
        """How many mails of this author (as logged) opened something within OPENINGS_WINDOW_SECONDS."""
        rows = ReceivedEmail.objects.filter(
            workspace_id=self.workspace_id,
            received_at__gt=Now() - timedelta(seconds=OPENINGS_WINDOW_SECONDS),
            state__in=[ReceivedState.STORED, ReceivedState.POSTED],
            target__startswith=OPENING,
            from_header=author,
        )
        return rows.count()
