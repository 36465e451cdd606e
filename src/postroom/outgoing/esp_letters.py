"""The octets of a copy, taken apart again for providers that take the parts of a mail and not the mail."""

from __future__ import annotations

from email.encoders import encode_base64
from email.message import Message, MIMEPart
from email.mime.base import MIMEBase
from typing import Any, Final

import django
from django.core.mail import EmailMultiAlternatives

from postroom.outgoing.esp import Provider
from postroom.smtp.mail import MailObject
from postroom.wire.address import Mailbox
from postroom.wire.parse import ParsedEmail, Part, parse

_WRITTEN_ELSEWHERE: Final = frozenset(
    {"from", "to", "cc", "bcc", "reply-to", "subject", "date", "mime-version", "return-path", "received"}
    | {"dkim-signature", "content-type", "content-transfer-encoding", "content-disposition", "content-id"}
)
_WHOLE: Final = (
    "multipart/signed",
    "multipart/encrypted",
    "application/pkcs7-mime",
    "application/x-pkcs7-mime",
)
_LOSSES: Final = frozenset({"mail-too-large", "text-too-long", "too-many-parts", "nested-too-deep"})


class NotCarried(Exception):
    """A provider's API cannot carry this mail as it is; the message says why. Nothing was sent."""


def letter_of(mail: MailObject, provider: Provider) -> EmailMultiAlternatives:
    """A copy as django-anymail takes it, to its one recipient. Raises NotCarried.

    The provider writes the MIME, Date and DKIM-Signature anew. A mail that is signed or encrypted as a whole
    (RFC 1847, RFC 8551) would not survive that.
    """
    parsed = parse(mail.content)
    _refuse_unless_whole(parsed)
    forward_path = mail.forward_path.decode()
    letter = EmailMultiAlternatives(
        subject=parsed.subject,
        body=parsed.text,
        from_email=_written(parsed.from_) if parsed.from_ else mail.reverse_path.decode(),
        to=[_recipient(parsed, forward_path)],
        reply_to=[_written(mailbox) for mailbox in parsed.headers.mailboxes("Reply-To")],
        headers=_headers(parsed, provider),
    )
    if parsed.html is not None:
        letter.attach_alternative(parsed.html, "text/html")
    letter.attachments = [_attachment(part) for part in parsed.attachments]
    if provider.takes_reverse_path and mail.reverse_path:
        letter.envelope_sender = mail.reverse_path.decode()  # type: ignore[attr-defined]  # anymail reads it
    return letter


def _refuse_unless_whole(parsed: ParsedEmail) -> None:
    content_type = (parsed.headers.get("Content-Type") or "").strip().lower()
    if content_type.startswith(_WHOLE):
        raise NotCarried(
            "This mail is signed or encrypted as a whole, and the API of a provider takes mails apart. "
            "Send it over SMTP."
        )
    if _LOSSES.intersection(parsed.defects):
        raise NotCarried("This mail is too large or too nested for the API of a provider. Send it over SMTP.")


def _recipient(parsed: ParsedEmail, forward_path: str) -> str:
    """Under the name that the copy gives the recipient, unless it goes to somebody else in their place."""
    named = [mailbox for mailbox in parsed.to if mailbox.addr_spec == forward_path]
    return _written(named[0]) if named else forward_path


def _written(mailbox: Mailbox) -> str:
    """Characters stay what they are: the back end encodes them as its API wants them."""
    if not mailbox.display_name:
        return mailbox.addr_spec
    quoted = mailbox.display_name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{mailbox.addr_spec}>'


def _headers(parsed: ParsedEmail, provider: Provider) -> dict[str, str]:
    kept = {
        name: value for name, value in reversed(list(parsed.headers)) if _is_kept(name.lower(), provider)
    }  # of several fields of one name the first: an API takes one
    return {**dict(reversed(kept.items())), **dict(provider.own_headers)}


def _is_kept(name: str, provider: Provider) -> bool:
    if name in _WRITTEN_ELSEWHERE or name in provider.dropped_headers:
        return False
    return provider.kept_headers is None or name in provider.kept_headers


def _attachment(part: Part) -> Any:
    """A file as name, content and type; a picture that the HTML shows as an entity with its Content-ID."""
    if part.inline and part.content_id and not part.content_type.startswith(("text/", "message/")):
        return _picture(part, part.content_id)
    return part.name, part.content, _type_of(part)


def _type_of(part: Part) -> str:
    """Text is taken for UTF-8; what is not goes as octets, so that nothing in it changes."""
    if not part.content_type.startswith("text/"):
        return part.content_type
    try:
        part.content.decode("utf-8")
    except UnicodeDecodeError:
        return "application/octet-stream"
    return part.content_type


def _picture(part: Part, content_id: str) -> Message:
    maintype, subtype = part.content_type.split("/", 1)
    picture: Any
    if django.VERSION >= (6, 0):  # which would warn of the older class
        picture = MIMEPart()
        picture.set_content(part.content, maintype, subtype, disposition="inline", filename=part.name)
    else:
        picture = MIMEBase(maintype, subtype)
        picture.set_payload(part.content)
        encode_base64(picture)
        picture.add_header("Content-Disposition", "inline", filename=part.name)
    picture["Content-ID"] = f"<{content_id}>"
    return picture  # type: ignore[no-any-return]
