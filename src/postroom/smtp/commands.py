"""What a client's MAIL and RCPT commands say (RFC 5321 §4.1): text to values, or the reply to bad text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from postroom.wire.reply import EnhancedStatus, Reply


def reply(code: int, status: str, text: str) -> Reply:
    """Return a reply of our own."""
    klass, subject, detail = (int(number) for number in status.split("."))
    return Reply(code=code, enhanced=EnhancedStatus(klass, subject, detail), text=text)


def line(code: int, status: str, text: str) -> bytes:
    """Return a reply of our own as octets."""
    return reply(code, status, text).octets()


SYNTAX_MAIL = line(501, "5.5.4", "Say MAIL FROM:<address> with SIZE, BODY or SMTPUTF8 only")
SYNTAX_RCPT = line(501, "5.5.4", "Say RCPT TO:<address>")
PARAMETER = line(555, "5.5.4", "This parameter is not known here")
BAD_SENDER = line(501, "5.1.7", "This reverse-path is no address")
BAD_RECIPIENT = line(501, "5.1.3", "This forward-path is no address")
ROUTE = line(550, "5.7.1", "Source routes are not relayed")
NEEDS_SMTPUTF8 = line(553, "5.6.7", "An address outside ASCII needs the SMTPUTF8 parameter")
TOO_BIG = line(552, "5.3.4", "The mail is larger than we take")

ARGUMENT = re.compile(rb"(?i)(FROM|TO):[ ]?<([^<>\r\n]*|\"(?:[^\"\\]|\\.)*\"@[^<>\"]*)>(?:[ ]+(.*))?")
DOT_STRING = r"[^\x00-\x20\x7f()<>,;:\\\"@\[\]]+"
QUOTED_STRING = r'"(?:[^\x00-\x1f\x7f"\\]|\\[\x20-\x7e])*"'
DOMAIN = r"[^\x00-\x2c\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]+"
LITERAL = r"\[[0-9A-Za-z:.\-]+\]"
MAILBOX = re.compile(f"(?:{DOT_STRING}|{QUOTED_STRING})@(?:{DOMAIN}|{LITERAL})").fullmatch
PATH_OCTETS = 254


@dataclass(frozen=True, slots=True)
class MailCommand:
    """A MAIL command: `size` is the declared octets, None if the client declared none."""

    reverse_path: str
    size: int | None
    is_smtputf8: bool


def read_mail(argument: bytes, content_octets: int) -> MailCommand | bytes:
    """Read what follows "MAIL ". Returns the reply instead if it cannot be taken."""
    match = ARGUMENT.fullmatch(argument)
    if match is None or match[1].upper() != b"FROM":
        return SYNTAX_MAIL
    found = _parameters(match[3] or b"")
    if isinstance(found, bytes):
        return found
    size, is_smtputf8 = found
    if size is not None and size > content_octets:
        return TOO_BIG
    path = _path(match[2], is_smtputf8=is_smtputf8, bad=BAD_SENDER) if match[2] else ""
    return path if isinstance(path, bytes) else MailCommand(path, size, is_smtputf8)


def _parameters(text: bytes) -> tuple[int | None, bool] | bytes:
    size: int | None = None
    is_smtputf8 = False
    for parameter in text.upper().split():
        keyword, _, value = parameter.partition(b"=")
        if keyword == b"SIZE" and value.isdigit() and len(value) <= 20:
            size = int(value)
        elif parameter == b"SMTPUTF8":
            is_smtputf8 = True
        elif parameter not in (b"BODY=7BIT", b"BODY=8BITMIME"):
            return SYNTAX_MAIL if keyword in (b"SIZE", b"BODY", b"SMTPUTF8") else PARAMETER
    return size, is_smtputf8


def read_rcpt(argument: bytes, *, is_smtputf8: bool) -> str | bytes:
    """Read what follows "RCPT " into the forward-path, or return the reply instead.

    Percent, bang and quoted forms are passed on as they are: what they mean is for the door to decide. The
    bare name postmaster is an address (RFC 5321 §4.5.1).
    """
    match = ARGUMENT.fullmatch(argument)
    if match is None or match[1].upper() != b"TO":
        return SYNTAX_RCPT
    if match[3]:
        return PARAMETER
    if match[2].lower() == b"postmaster":
        return match[2].decode("ascii")
    return _path(match[2], is_smtputf8=is_smtputf8, bad=BAD_RECIPIENT)


def _path(octets: bytes, *, is_smtputf8: bool, bad: bytes) -> str | bytes:
    if octets[:1] == b"@":
        return ROUTE
    if not octets.isascii() and not is_smtputf8:
        return NEEDS_SMTPUTF8
    try:
        path = octets.decode("utf-8")
    except UnicodeDecodeError:
        return bad
    return path if len(octets) <= PATH_OCTETS and MAILBOX(path) else bad
