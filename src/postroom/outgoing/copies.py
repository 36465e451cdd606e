"""From a claimed Email to the octets of its copy: substitution only, nothing is composed here."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from postroom.outgoing.claiming import Claimed
from postroom.outgoing.dkim_keys import Keyring, Keys
from postroom.outgoing.models import Rendition
from postroom.smtp.mail import MailObject
from postroom.wire.address import Mailbox
from postroom.wire.dkim import SignedTemplate
from postroom.wire.headers import scan_headers
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
    so that nobody looks through each. `is_unfollowable`: each copy has its own List-Unsubscribe. `signed`
    signs them with `keys` (None: nobody does).
    """

    octets: bytes
    reverse_path: str
    is_stuffed: bool
    return_domain: str = ""
    is_unfollowable: bool = False
    workspace_id: int = 0
    from_domain: str = ""
    keys: Keys = ()
    signed: SignedTemplate | None = None

    @classmethod
    def of(cls, octets: bytes, reverse_path: str, return_domain: str = "") -> Text:
        """Look through the octets once. No copy gets a leading dot from a value: values are in headers."""
        starts = (b"\n.", b"\r.", b"\n%(")
        has_dot = octets[:1] in (b".", b"%") or any(octets.rfind(start) >= 0 for start in starts)
        is_stuffed = not has_dot and octets[-2:] == b"\r\n"
        return cls(octets, reverse_path, is_stuffed, return_domain, b"%(unfollow)b" in octets)

    def signed_with(self, keys: Keys) -> Text:
        """The same text, whose copies these keys sign."""
        return replace(self, keys=keys, signed=SignedTemplate(self.octets, keys) if keys else None)


class Signature(NamedTuple):
    """The values of one copy, and the DKIM-Signature fields that were made with them."""

    values: Mapping[bytes, bytes]
    fields: bytes


class Copies:
    """Each recipient's copy: `load` reads (in any thread), `keep` takes over, `mail_object` substitutes."""

    def __init__(self, *, is_signing: bool = True) -> None:
        """Without `is_signing` no key signs: whoever takes the mail over writes it anew and signs it."""
        self._is_signing = is_signing
        self._signers: dict[int, Signer] = {}
        self._links = tokens.links()
        self._texts: Mapping[int, Text] = {}
        self._bounce_boxes: dict[tuple[int, str], tuple[str, str]] = {}
        self._keyring = Keyring()

    def load(self, emails: Iterable[Claimed]) -> Mapping[int, Text]:
        """Read the renditions, the bounce addresses and the signing keys that these Emails need."""
        emails = list(emails)
        workspace_ids = {email.workspace_id for email in emails}
        self._load_workspaces(workspace_ids - self._signers.keys())
        self._keyring.read(workspace_ids)
        wanted = {email.rendition_id for email in emails if email.rendition_id} - self._texts.keys()
        kept = Rendition.objects.filter(pk__in=wanted).exclude(octets=b"")  # Auto-Vacuum empties old ones
        rows = kept.values_list("pk", *_COLUMNS) if wanted else ()
        loaded = {pk: _text(*values) for pk, *values in rows}
        return loaded | self._signed_otherwise({**self._texts, **loaded})

    def take_unreadable_keys(self) -> set[int]:
        """The numbers of the DKIM keys that `load` could not open since this was last asked."""
        return self._keyring.take_unreadable()

    def _signed_otherwise(self, texts: Mapping[int, Text]) -> dict[int, Text]:
        """The texts whose keys are other ones by now: keys are activated and revoked while mail leaves."""
        chosen = {pk: self._keys_of(text) for pk, text in texts.items()}
        return {pk: text.signed_with(chosen[pk]) for pk, text in texts.items() if text.keys != chosen[pk]}

    def _keys_of(self, text: Text) -> Keys:
        if not self._is_signing:
            return ()
        own = text.reverse_path.rpartition("@")[2] or text.return_domain
        default = self._bounce_boxes.get((text.workspace_id, ""), ("", ""))[1]
        return self._keyring.choose(text.workspace_id, text.from_domain, own or default)

    def keep(self, loaded: Mapping[int, Text], needed: Collection[int | None]) -> None:
        """Add what was loaded and drop what no waiting Email needs any more."""
        kept = {pk: text for pk, text in self._texts.items() if pk in needed}
        self._texts = {**kept, **loaded}

    def is_signed(self, email: Claimed) -> bool:
        """Is its copy to be signed before it leaves?"""
        text = self._texts.get(email.rendition_id or 0)
        return text is not None and text.signed is not None

    def signature(self, email: Claimed) -> Signature:
        """Sign one recipient's copy; for any thread. Raises Unsendable."""
        text = self._text_of(email)
        values = self._values(email)
        return Signature(values, text.signed.fields(values, int(time.time())) if text.signed else b"")

    def mail_object(self, email: Claimed, signature: Signature | None = None) -> MailObject:
        """One recipient's copy and its envelope. Raises Unsendable."""
        text = self._text_of(email)
        if signature is None:
            content = text.octets % self._values(email)
        else:
            content = signature.fields + text.octets % signature.values
        reverse_path = text.reverse_path or self.reverse_path(email, text.return_domain)
        if email.redirected_to:
            original = Mailbox("", email.addr_spec).header()
            content = b"X-Postroom-Original-Recipient: " + original + b"\r\n" + content
        forward_path = (email.redirected_to or email.addr_spec).encode()
        return MailObject(email.email_id, reverse_path.encode(), forward_path, content, text.is_stuffed)

    def _text_of(self, email: Claimed) -> Text:
        text = self._texts.get(email.rendition_id or 0)
        if text is None:
            raise Unsendable("The text of this email is no longer stored. Write the message again.")
        return text

    def _values(self, email: Claimed) -> Mapping[bytes, bytes]:
        """What stands in this copy alone."""
        signer = self._signers[email.workspace_id]
        mailbox = Mailbox(email.contact_name or "", email.addr_spec)
        # UTF-8 goes to a server that offers SMTPUTF8, which the path asks for; a redirected copy's does not.
        to = mailbox.header() if email.redirected_to else mailbox.wide_header()
        values = {b"to": to, b"copy": signer.copy_mark(email.email_id).encode()}
        if self._text_of(email).is_unfollowable:
            values[b"unfollow"] = self._links.unfollow(email.email_id).encode()
        return values

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


_COLUMNS = ("octets", "reverse_path", "return_domain", "workspace_id", "from_addr_spec")


def _text(
    octets: bytes, reverse_path: str, return_domain: str, workspace_id: int, from_addr_spec: str
) -> Text:
    octets = bytes(octets)
    from_domain = (from_addr_spec or _from_in(octets)).rpartition("@")[2]
    text = Text.of(octets, reverse_path, return_domain)
    return replace(text, workspace_id=workspace_id, from_domain=from_domain)


def _from_in(octets: bytes) -> str:
    """The address in From, for a rendition written before that had a column."""
    mailboxes = scan_headers(octets).mailboxes("From", 1)
    return mailboxes[0].addr_spec if mailboxes else ""
