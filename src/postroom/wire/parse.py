"""Octets to a ParsedEmail, whatever the octets are."""

import html
import re
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from postroom.wire.address import Mailbox
from postroom.wire.characters import readable
from postroom.wire.charsets import decode
from postroom.wire.file_names import clean_file_name
from postroom.wire.headers import DEFAULT_LIMITS, Headers, Limits, read_header_block, scan_headers
from postroom.wire.html_text import text_of_html
from postroom.wire.mime_reading import Leaf, walk
from postroom.wire.mime_writing import Part
from postroom.wire.threads import message_ids

__all__ = ["Headers", "Limits", "ParsedEmail", "Part", "parse", "scan_headers"]

SUBJECT_CHARACTERS: Final = 998
_RECIPIENT_HEADERS: Final = (
    *("To", "Cc", "Delivered-To", "X-Original-To", "Envelope-To", "Resent-To", "Resent-Cc"),
)
_DATE_CHARACTERS: Final = 200
_CONTENT_ID_IN_HTML: Final = re.compile(r"cid:([^\s\"'<>)]{1,250})", re.IGNORECASE)
_ENDINGS: Final = {
    "message/rfc822": "message.eml",
    "message/delivery-status": "delivery-status.txt",
    "text/calendar": "invite.ics",
    "text/html": "part.html",
    "text/plain": "part.txt",
    "image/png": "image.png",
    "image/jpeg": "image.jpg",
    "image/gif": "image.gif",
    "application/pdf": "document.pdf",
}


@dataclass(frozen=True, slots=True)
class ParsedEmail:
    """A foreign mail made readable. Nothing in it is trusted: `html` is raw, names and dates are claims.

    `recipients_seen` are all mailboxes that the headers name as recipients, each address once.
    `date` is aware, None if absent or unreadable. `message_id` is None unless it is well-formed.
    `html` is None if there was none; then `text` is all there is. If there was HTML alone, `text` is made
    from it. `defects` are stable words for limits that were met and repairs that were made; the octets
    stay the only whole truth.
    """

    subject: str
    from_: Mailbox | None
    to: list[Mailbox]
    cc: list[Mailbox]
    recipients_seen: list[Mailbox]
    date: datetime | None
    message_id: str | None
    in_reply_to: list[str]
    references: list[str]
    text: str
    html: str | None
    attachments: list[Part]
    headers: Headers
    size: int
    defects: list[str]


def parse(octets: bytes, limits: Limits = DEFAULT_LIMITS) -> ParsedEmail:
    """Read a mail within limits. Never raises: what cannot be read is left out and named in `defects`."""
    defects: list[str] = []
    size = len(octets)
    if size > limits.mail_octets:
        defects.append("mail-too-large")
        octets = octets[: limits.mail_octets]
    headers, leaves = walk(octets, limits, defects)
    bodies, files = _sorted(leaves)
    text, html_text = _Bodies(octets, limits.text_octets, defects).read(bodies)
    if not bodies and "nested-too-deep" in defects:
        text = _raw_body(octets, limits)
    attachments = _attachments(octets, files, html_text or "", defects)
    people = _people(headers, limits.addresses, defects)
    return ParsedEmail(
        subject=_subject(headers, defects),
        from_=next(iter(headers.mailboxes("From", 1)), None),
        to=people["To"],
        cc=people["Cc"],
        recipients_seen=_each_once(people.values()),
        date=_date(headers, defects),
        message_id=next(iter(message_ids(headers.get("Message-ID") or "", 1)), None),
        in_reply_to=message_ids(headers.get("In-Reply-To") or ""),
        references=message_ids(headers.get("References") or ""),
        text=text,
        html=html_text,
        attachments=attachments,
        headers=headers,
        size=size,
        defects=list(dict.fromkeys(defects)),
    )


def _sorted(leaves: Sequence[Leaf]) -> tuple[list[Leaf], list[Leaf]]:
    """Tell what is read from what is a file. A lone text with a file name is read if nothing else can be."""
    texts = [leaf for leaf in leaves if leaf.content_type in ("text/plain", "text/html")]
    bodies = [leaf for leaf in texts if leaf.disposition != "attachment" and not leaf.file_name]
    if not bodies:
        bodies = [leaf for leaf in texts if leaf.disposition != "attachment"][:1]
    read = set(map(id, bodies))
    return bodies, [leaf for leaf in leaves if id(leaf) not in read]


class _Bodies:
    """Reads the bodies of a mail, within one budget of octets for all of them."""

    def __init__(self, octets: bytes, budget: int, defects: MutableSequence[str]) -> None:
        self._octets = octets
        self._budget = budget
        self._defects = defects

    def read(self, leaves: Sequence[Leaf]) -> tuple[str, str | None]:
        """Return the text, and the HTML or None, of bodies that may follow each other."""
        pairs = [self._pair(group) for group in _groups(leaves)]
        texts = [plain if plain.strip() else text_of_html(markup or "") for plain, markup in pairs]
        text = "\n".join(text for text in texts if text.strip())
        if all(markup is None for _, markup in pairs):
            return text, None
        return text, "\n".join(_preformatted(plain) if markup is None else markup for plain, markup in pairs)

    def _pair(self, group: Sequence[Leaf]) -> tuple[str, str | None]:
        plain = [self._text(leaf) for leaf in group if leaf.content_type == "text/plain"]
        markup = [self._text(leaf) for leaf in group if leaf.content_type == "text/html"]
        return "\n".join(plain), "\n".join(markup) if markup else None

    def _text(self, leaf: Leaf) -> str:
        # Encoded octets are at most four times their content: no more is decoded than can be kept.
        room = leaf.start + 4 * self._budget + 1
        octets = replace(leaf, end=min(leaf.end, room)).content(self._octets, self._defects)
        if len(octets) > self._budget:
            self._defects.append("text-too-long")
            octets = octets[: self._budget]
        self._budget -= len(octets)
        return readable(decode(octets, leaf.charset).replace("\r\n", "\n").replace("\r", "\n"))


def _groups(leaves: Sequence[Leaf]) -> Iterator[list[Leaf]]:
    """Put together what stands in one multipart/alternative; every other leaf is a group of its own."""
    groups: dict[int, list[Leaf]] = {}
    for number, leaf in enumerate(leaves):
        groups.setdefault(-number if leaf.alternative is None else leaf.alternative, []).append(leaf)
    return iter(groups.values())


def _preformatted(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"


def _raw_body(octets: bytes, limits: Limits) -> str:
    _, body = read_header_block(octets, 0, len(octets), limits=limits, defects=[])
    return readable(decode(octets[body : body + limits.text_octets], None))


def _attachments(
    octets: bytes, leaves: Sequence[Leaf], markup: str, defects: MutableSequence[str]
) -> list[Part]:
    shown = set(_CONTENT_ID_IN_HTML.findall(markup))
    return [_attachment(octets, leaf, shown, defects) for leaf in leaves]


def _attachment(octets: bytes, leaf: Leaf, shown: set[str], defects: MutableSequence[str]) -> Part:
    content_id = (leaf.headers.text("Content-ID").strip("<> ") or None) if len(leaf.headers) else None
    return Part(
        name=leaf.file_name or _made_up_name(octets, leaf),
        content_type=leaf.content_type,
        content=leaf.content(octets, defects),
        content_id=content_id,
        inline=content_id in shown,
    )


def _made_up_name(octets: bytes, leaf: Leaf) -> str:
    if leaf.content_type == "message/rfc822":
        inner, _ = read_header_block(octets, leaf.start, leaf.end, limits=DEFAULT_LIMITS, defects=[])
        subject = clean_file_name(inner.text("Subject")[:100])
        return f"{subject}.eml" if subject else _ENDINGS["message/rfc822"]
    return _ENDINGS.get(leaf.content_type, "attachment.bin")


def _people(headers: Headers, limit: int, defects: MutableSequence[str]) -> dict[str, list[Mailbox]]:
    found = {name: headers.mailboxes(name, limit + 1) for name in _RECIPIENT_HEADERS}
    if any(len(boxes) > limit for boxes in found.values()):
        defects.append("too-many-addresses")
    return {name: boxes[:limit] for name, boxes in found.items()}


def _each_once(lists: Iterable[list[Mailbox]]) -> list[Mailbox]:
    first: dict[str, Mailbox] = {}
    for box in (box for boxes in lists for box in boxes):
        first.setdefault(box.addr_spec, box)
    return list(first.values())


def _subject(headers: Headers, defects: MutableSequence[str]) -> str:
    subject = headers.text("Subject")
    if len(subject) > SUBJECT_CHARACTERS:
        defects.append("subject-too-long")
    return subject[:SUBJECT_CHARACTERS]


def _date(headers: Headers, defects: MutableSequence[str]) -> datetime | None:
    value = headers.get("Date")
    if value is None:
        return None
    try:
        moment = parsedate_to_datetime(value[:_DATE_CHARACTERS])
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        moment.astimezone(UTC)  # a date at the end of time has no other zone
    except (ValueError, TypeError, IndexError, OverflowError):
        defects.append("unreadable-date")
        return None
    return moment
