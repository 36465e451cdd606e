"""What a mail server answered, as a value."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from postroom.wire.characters import visible

_REPLY_LINE: Final = re.compile(rb"([2-5][0-9][0-9])(?:[ -](.*))?", re.DOTALL)
_ENHANCED: Final = re.compile(r"\s*([245])\.([0-9]{1,3})\.([0-9]{1,3})(?=\s|$)")
_LINE_OCTETS: Final = 512
TEXT_OCTETS: Final = 4096
_THROTTLING_CODES: Final = frozenset((450, 451, 452, 454))
_THROTTLING_STATUSES: Final = frozenset(((3, 2), (4, 5), (7, 0), (7, 28), (7, 500), (7, 501), (7, 502)))
_ABOUT_ONE_MAIL: Final = re.compile(
    r"gr[ea]y[- ]?list|postgrey|mailbox|inbox|over ?quota|(disk|storage) (space|quota|full)", re.IGNORECASE
)
_SLOWER: Final = re.compile(
    r"\brates?[ -](limit|control|exceeded)|throttl|slow(ing)? down|too (many|much|fast|frequent|quick)"
    r"|\b(rate|sending|messages?|mails?|hourly|daily|connections?)( [a-z]+)? (limit|quota)\b"
    r"|limit [a-z ]{0,30}(messages|mails|recipients|connections|hour|minute)"
    r"|(unusual|sending|message|delivery) rate|back[ -]?off",
    re.IGNORECASE,
)
_LATER: Final = re.compile(
    r"try (again )?later|retry later|come back later|temporarily deferred", re.IGNORECASE
)
_ABOUT_THE_MAIL: Final = frozenset((1, 2, 6))  # the address, the mailbox, the content (RFC 3463 §3)


class Outcome(StrEnum):
    """How one mail transaction ended for one recipient."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    UNCERTAIN = "uncertain"


_OUTCOME_OF_CLASS: Final = {2: Outcome.ACCEPTED, 4: Outcome.DEFERRED, 5: Outcome.REFUSED}


@dataclass(frozen=True, slots=True)
class EnhancedStatus:
    """An enhanced mail system status code such as 5.1.1 (RFC 3463)."""

    klass: int
    subject: int
    detail: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read the status at the start of text; None if there is none."""
        found = _ENHANCED.match(text)
        return cls(*(int(number) for number in found.groups())) if found else None

    def __str__(self) -> str:
        return f"{self.klass}.{self.subject}.{self.detail}"


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole SMTP reply (RFC 5321 §4.2).

    `code` is 0 if the server sent something that is no reply. `text` holds every line, joined with
    a newline, without codes and without control characters. An enhanced status whose class
    contradicts the code is kept as it was sent, but the code decides.
    """

    code: int
    enhanced: EnhancedStatus | None
    text: str

    @classmethod
    def parse(cls, lines: Sequence[bytes]) -> Self:
        """Read the lines of one reply, with or without their line ends; never raises.

        The last line decides the code. If it is no reply line, the code is 0 and all that came is the text.
        Of a text over 4096 octets the beginning is kept, and "…" stands for the rest.
        """
        stripped = [line.rstrip(b"\r\n") for line in lines]
        found = [_REPLY_LINE.fullmatch(line) for line in stripped]
        if not found or found[-1] is None:
            return cls(0, None, _kept("\n".join(_decoded(line) for line in stripped)))
        texts = [
            _decoded((match[2] or b"") if match else line)
            for match, line in zip(found, stripped, strict=True)
        ]
        code = int(found[-1][1])
        enhanced = next(filter(None, map(EnhancedStatus.parse, texts)), None)
        return cls(code, enhanced, _kept("\n".join(_without_status(text) for text in texts)))

    @property
    def outcome(self) -> Outcome:
        """ACCEPTED for 2yz, REFUSED for 5yz, DEFERRED for 4yz and for everything that is no final answer."""
        return _OUTCOME_OF_CLASS.get(self.code // 100, Outcome.DEFERRED)

    def octets(self) -> bytes:
        """Write the reply for the wire: ASCII, each line at most 512 octets with its CRLF.

        Characters outside ASCII become "?". A code that is no reply code is sent as 451.
        """
        code = self.code if 200 <= self.code <= 599 else 451
        prefix = f"{self.enhanced} " if self.enhanced else ""
        room = _LINE_OCTETS - 6 - len(prefix)
        lines = [prefix + piece for line in self.text.split("\n") for piece in _pieces(line, room)]
        written = [f"{code}-{line}\r\n" for line in lines[:-1]]
        written.append(f"{code} {lines[-1]}\r\n")
        return "".join(written).encode("ascii")

    def __str__(self) -> str:
        return " ".join(str(part) for part in (self.code, self.enhanced, self.text) if part)


def _decoded(line: bytes) -> str:
    return visible(line.decode("utf-8", "replace"))


def _kept(text: str) -> str:
    """As much as explains something: fifty lines, not the megabytes that a server may send."""
    if len(text) * 4 <= TEXT_OCTETS:
        return text
    octets = text.encode("utf-8")
    return text if len(octets) <= TEXT_OCTETS else f"{octets[: TEXT_OCTETS - 3].decode('utf-8', 'ignore')}…"


def _without_status(text: str) -> str:
    found = _ENHANCED.match(text)
    return text[found.end() :].lstrip() if found else text


def _pieces(line: str, room: int) -> Iterator[str]:
    ascii_line = visible(line).encode("ascii", "replace").decode("ascii")
    for start in range(0, max(len(ascii_line), 1), room):
        yield ascii_line[start : start + room]


def is_throttling(reply: Reply) -> bool:
    """Does the server ask for a slower pace in answer to a mail, and not for this mail to come back later?

    421 does (RFC 5321 §3.8: it closes the connection), and so do 450, 451, 452 and 454 that say so by an
    enhanced status or in words. Greylisting, a full mailbox and whatever else is about one address or one
    content is the business of that mail alone.
    """
    if _ABOUT_ONE_MAIL.search(reply.text):
        return False
    if reply.code == 421:
        return True
    return reply.code in _THROTTLING_CODES and _asks_for_less(reply.enhanced, reply.text)


def _asks_for_less(enhanced: EnhancedStatus | None, text: str) -> bool:
    if enhanced is None:
        return bool(_SLOWER.search(text) or _LATER.search(text))
    if enhanced.subject in _ABOUT_THE_MAIL:
        return False
    if (enhanced.subject, enhanced.detail) in _THROTTLING_STATUSES:
        return True
    return bool(_SLOWER.search(text)) or (enhanced.subject == 3 and bool(_LATER.search(text)))
