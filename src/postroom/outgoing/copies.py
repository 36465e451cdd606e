"""From a claimed Email to the octets of its copy: substitution only, nothing is composed here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from postroom.outgoing.claiming import Claimed
from postroom.outgoing.models import Rendition
from postroom.smtp.mail import MailObject
from postroom.wire.address import Mailbox
from postroom.wire.tokens import Signer
from postroom.workspaces import tokens
from postroom.workspaces.models import MailDomain


class Unsendable(Exception):
    """This Email has no octets to send; the message says why."""


@dataclass(frozen=True, slots=True)
class Text:
    """The octets of a rendition with their placeholders, and where a bounce goes.

    `reverse_path` is its own if it may not have a signed one, else `return_domain` is the domain of that
    (empty: the workspace's default domain). `is_stuffed` says that its copies can go on the wire as they are,
    so that nobody looks through each.
    """

    octets: bytes
    reverse_path: str
    is_stuffed: bool
    return_domain: str = ""

    @classmethod
    def of(cls, octets: bytes, reverse_path: str, return_domain: str = "") -> Text:
        """Look through the octets once. No copy gets a leading dot from a value: values are in headers."""
        starts = (b"\n.", b"\r.", b"\n%(")
        has_dot = octets[:1] in (b".", b"%") or any(octets.rfind(start) >= 0 for start in starts)
        return cls(octets, reverse_path, not has_dot and octets[-2:] == b"\r\n", return_domain)


class Copies:
    """Each recipient's copy: `load` reads (in any thread), `keep` takes over, `mail_object` substitutes."""

    def __init__(self) -> None:
        self._signers: dict[int, Signer] = {}
        self._texts: Mapping[int, Text] = {}
        self._bounce_boxes: dict[tuple[int, str], tuple[str, str]] = {}

    def load(self, emails: Iterable[Claimed]) -> Mapping[int, Text]:
        """Read the renditions and the bounce addresses that these Emails need."""
        emails = list(emails)
        self._load_workspaces({email.workspace_id for email in emails} - self._signers.keys())
        wanted = {email.rendition_id for email in emails if email.rendition_id} - self._texts.keys()
        if not wanted:
            return {}
        rows = Rendition.objects.filter(pk__in=wanted)
        values = rows.values_list("pk", "octets", "reverse_path", "return_domain")
        return {pk: Text.of(bytes(octets), *paths) for pk, octets, *paths in values}

    def keep(self, loaded: Mapping[int, Text], needed: Collection[int | None]) -> None:
        """Add what was loaded and drop what no waiting Email needs any more."""
        kept = {pk: text for pk, text in self._texts.items() if pk in needed}
        self._texts = {**kept, **loaded}

    def mail_object(self, email: Claimed) -> MailObject:
        """One recipient's copy and its envelope. Raises Unsendable."""
        text = self._texts.get(email.rendition_id or 0)
        if text is None:
            raise Unsendable("The text of this email is no longer stored. Write the message again.")
        signer = self._signers[email.workspace_id]
        to = Mailbox(email.contact_name or "", email.addr_spec).header()
        content = text.octets % {b"to": to, b"copy": signer.copy_mark(email.email_id).encode()}
        reverse_path = text.reverse_path or self.reverse_path(email, text.return_domain)
        if email.redirected_to:
            original = Mailbox("", email.addr_spec).header()
            content = b"X-Postroom-Original-Recipient: " + original + b"\r\n" + content
        forward_path = (email.redirected_to or email.addr_spec).encode()
        return MailObject(email.email_id, reverse_path.encode(), forward_path, content, text.is_stuffed)

    def reverse_path(self, email: Claimed, return_domain: str = "") -> str:
        """The signed address that a bounce of this very attempt comes back to, at a domain that is there."""
        boxes, workspace_id = self._bounce_boxes, email.workspace_id
        box = boxes.get((workspace_id, return_domain)) or boxes.get((workspace_id, ""))
        if box is None:
            raise Unsendable("The workspace has no default mail domain. Choose one in its settings.")
        local_part, domain = box
        token = self._signers[email.workspace_id].return_path(email.email_id, email.number)
        return f"{local_part}+{token}@{domain}"

    def _load_workspaces(self, workspace_ids: set[int]) -> None:
        if not workspace_ids:
            return
        domains = MailDomain.objects.filter(workspace_id__in=workspace_ids)
        for workspace_id, local_part, domain, is_default in domains.values_list(
            "workspace_id", "bounce_local_part", "domain", "is_default"
        ):
            names = (domain, "") if is_default else (domain,)
            self._bounce_boxes.update({(workspace_id, name): (local_part, domain) for name in names})
        for workspace_id in workspace_ids:
            self._signers[workspace_id] = tokens.signer(workspace_id)
