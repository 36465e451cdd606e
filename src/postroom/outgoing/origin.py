"""From whom a mail says it is, and where an answer to it goes."""

from __future__ import annotations

from postroom.conversations.models import Alias, Contact, Record
from postroom.wire.address import Mailbox
from postroom.workspaces import tokens
from postroom.workspaces.models import MailDomain, Workspace

LONGEST_REPLY_TO = 68  # a longer header may be folded on the way, and folding breaks DKIM signatures


def default_domain(workspace: Workspace) -> MailDomain:
    """The mail domain that a workspace sends from. Raises MailDomain.DoesNotExist if it has none."""
    found = MailDomain.objects.filter(workspace=workspace).order_by("-is_default", "pk").first()
    if found is None:
        raise MailDomain.DoesNotExist(f"{workspace} has no mail domain. Add one in its settings.")
    return found


def wanted_from(workspace: Workspace, domain: MailDomain, author: Contact | None) -> Mailbox:
    """Who the mail should be from: the author, or who has no address at the default From.

    Whether it may be is decided with the server (`outgoing.choosing`).
    """
    if author is not None and author.address is not None:
        return Mailbox(author.name, author.addr_spec)
    return Mailbox((author and author.name) or workspace.name, domain.from_addr_spec)


def reply_to_of(workspace: Workspace, domain: MailDomain, record: Record | None) -> Mailbox | None:
    """Where answers go: the alias that leads to this very record, else the catchall with a signed token.

    None without a record: an answer then goes to From. The name is shortened until the whole fits.
    """
    if record is None:
        return None
    alias = Alias.objects.filter(forced_record=record).select_related("mail_domain").order_by("pk").first()
    is_readable = alias is not None and alias.addr_spec.isascii()  # not everybody could answer another one
    addr_spec = alias.addr_spec if alias and is_readable else _signed(domain, record)
    for name in (f"{workspace.name} {record.title}", record.title, workspace.name):
        mailbox = Mailbox(name, addr_spec)
        if len(mailbox.header()) <= LONGEST_REPLY_TO:
            return mailbox
    return Mailbox("", addr_spec)


def _signed(domain: MailDomain, record: Record) -> str:
    if record.reply_address_revoked_at is not None:
        return f"{domain.catchall_local_part}@{domain.domain}"
    token = tokens.signer(record.workspace_id).reply(record.pk)
    return f"{domain.catchall_local_part}+{token}@{domain.domain}"
