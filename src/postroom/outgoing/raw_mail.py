"""A mail that a program has written is made fit to be sent. Only its header block is touched."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from postroom.wire.compose import COPY_HEADER, Template
from postroom.wire.mended import mended, needs_mending

_FIELD_START = re.compile(rb"[!-9;-~]+[ \t]*:")
_ALWAYS_DROPPED = frozenset(
    {b"bcc", b"resent-bcc", b"return-path", b"x-postroom-record", COPY_HEADER.lower().encode()}
)
# What providers obey when it comes over SMTP: more recipients, other templates, another account.
_STEERING = re.compile(
    rb"x-(?:smtpapi|msys-api|(?:mc|mailgun|mailin|mailjet|mj|pm|postmark|sendgrid|ses|sib)-.*)", re.DOTALL
)
# RFC 5322 §3.6: at most one of each. Readers differ in which of two they show, and one of them may be false.
_ONCE = frozenset(
    (b"from", b"sender", b"reply-to", b"to", b"cc", b"subject", b"date", b"message-id", b"in-reply-to")
) | frozenset((b"references", b"mime-version", b"content-type", b"content-transfer-encoding"))

__all__ = ["Template", "split", "template_of"]


def split(raw: bytes) -> tuple[bytes, bytes]:
    """The header block (ending in a line end) and the rest, which starts with the empty line."""
    octets = re.sub(rb"\r\n|\r|\n", b"\r\n", raw)
    if octets.startswith(b"\r\n"):
        return b"", octets
    head, gap, body = octets.partition(b"\r\n\r\n")
    return (head + b"\r\n", b"\r\n" + body) if gap else (octets.removesuffix(b"\r\n") + b"\r\n", b"\r\n")


def template_of(raw: bytes, *, added: Sequence[bytes], dropped: Collection[str] = ()) -> Template:
    """The mail as a template whose one placeholder is the mark of each copy.

    `added` are whole header lines without line ends, put first; fields named in `dropped` go, and so does
    what nobody but us may say or see: Bcc, Return-Path, our own marks, and what steers providers. Of fields
    that may stand once the first is kept, and what no header may hold is mended (`wire.mended`); all else
    stays octet for octet.
    """
    head, rest = split(raw)
    gone = _ALWAYS_DROPPED | {name.lower().encode() for name in dropped}
    kept = [mended(line) if needs_mending(line) else line for line in _first_of_each(head, gone)]
    literal = Template.literal(b"".join([*(line + b"\r\n" for line in added), *kept]) + rest)
    return Template(f"{COPY_HEADER}: %(copy)b\r\n".encode() + literal.octets, ("copy",))


def _first_of_each(head: bytes, gone: Collection[bytes]) -> Iterator[bytes]:
    seen: set[bytes] = set()
    for line in _fields(head):
        name = line.partition(b":")[0].strip().lower()
        is_once_more = name in _ONCE and name in seen
        if name not in gone and not is_once_more and not _STEERING.fullmatch(name):
            yield line
        seen.add(name)


def _fields(head: bytes) -> list[bytes]:
    """Each field with its folded lines; what stands before the first field is no header and is left out."""
    fields: list[bytes] = []
    for line in head.splitlines(keepends=True):
        if line[:1] in b" \t" and fields:
            fields[-1] += line
        elif _FIELD_START.match(line):
            fields.append(line)
    return fields
