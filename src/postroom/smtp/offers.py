"""What a relay announced in its reply to EHLO, and what a mail needs of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from postroom.smtp.mail import MailObject
from postroom.wire.reply import EnhancedStatus, Reply

PLAIN_PATH = re.compile(rb"[!-;=?-~]*").fullmatch
QUOTED_PATH = re.compile(rb'"(?:[ !#-\[\]-~\x80-\xff]|\\[ -~])*"@[!-;=?-~\x80-\xff]+').fullmatch
WIDE_PATH = re.compile(rb"[!-;=?-~\x80-\xff]*").fullmatch

NO_SUCH_PATH = Reply(
    code=553,
    enhanced=EnhancedStatus(5, 1, 3),
    text="The address cannot be written into an SMTP command; correct it. Nothing was sent.",
)
TOO_LARGE = EnhancedStatus(5, 3, 4)
NO_SMTPUTF8 = Reply(
    code=550,
    enhanced=EnhancedStatus(5, 6, 7),
    text="The relay does not take addresses outside ASCII (it announces no SMTPUTF8). Nothing was sent.",
)


@dataclass(frozen=True, slots=True)
class Offers:
    """The extensions we use. The defaults are those of a relay that only knows HELO.

    `max_octets` is the largest mail it takes (RFC 1870 §4), None if it tells no limit.
    """

    pipelining: bool = False
    size: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    starttls: bool = False
    auth: frozenset[str] = frozenset()
    max_octets: int | None = None

    @classmethod
    def parse(cls, lines: Sequence[bytes]) -> Offers:
        """Read the lines of a reply to EHLO (RFC 5321 §4.1.1.1); unknown words are ignored."""
        words = [line[4:].decode("ascii", "replace").upper().replace("=", " ").split() for line in lines[1:]]
        names = {line[0] for line in words if line}
        return cls(
            pipelining="PIPELINING" in names,
            size="SIZE" in names,
            eight_bit="8BITMIME" in names,
            smtputf8="SMTPUTF8" in names,
            starttls="STARTTLS" in names,
            auth=frozenset(word for line in words if line and line[0] == "AUTH" for word in line[1:]),
            max_octets=_max_octets(words),
        )

    def objection(self, mail: MailObject) -> Reply | None:
        """Return why this mail cannot be offered to the relay at all, None if it can."""
        if self.max_octets is not None and len(mail.content) > self.max_octets:
            return _too_large(len(mail.content), self.max_octets)
        if PLAIN_PATH(mail.forward_path + mail.reverse_path):
            return None
        paths = (mail.reverse_path, mail.forward_path)
        if not all(WIDE_PATH(path) or QUOTED_PATH(path) for path in paths):
            return NO_SUCH_PATH
        if not self.smtputf8 and not all(path.isascii() for path in paths):
            return NO_SMTPUTF8
        return None

    def parameters(self, mail: MailObject) -> bytes:
        """Return the MAIL parameters for this mail: SIZE if announced, the others only if needed as well."""
        given = b" SIZE=%d" % len(mail.content) if self.size else b""
        is_ascii = mail.content.isascii()
        if not is_ascii and self.eight_bit:
            given += b" BODY=8BITMIME"
        if self.smtputf8 and (not is_ascii or not PLAIN_PATH(mail.forward_path + mail.reverse_path)):
            given += _smtputf8(mail)
        return given


def _max_octets(words: Sequence[Sequence[str]]) -> int | None:
    """The number behind SIZE; none, or 0, is no limit (RFC 1870 §4)."""
    sizes = [line[1] for line in words if len(line) > 1 and line[0] == "SIZE"]
    return (int(sizes[-1]) or None) if sizes and sizes[-1].isdecimal() and len(sizes[-1]) <= 18 else None


def _too_large(octets: int, max_octets: int) -> Reply:
    text = f"The mail has {octets} octets and the server takes {max_octets} at most. Nothing was sent."
    return Reply(code=552, enhanced=TOO_LARGE, text=text)


def _smtputf8(mail: MailObject) -> bytes:
    header = mail.content.partition(b"\r\n\r\n")[0]
    is_needed = not (header.isascii() and mail.reverse_path.isascii() and mail.forward_path.isascii())
    return b" SMTPUTF8" if is_needed else b""
