"""Message-IDs and what a mail says about its ancestors (RFC 5322 §3.6.4)."""

import re
from collections.abc import Sequence
from typing import Final

from postroom.wire.address import AddressError
from postroom.wire.characters import one_line

ANCESTORS: Final = 3
MESSAGE_ID_CHARACTERS: Final = 998
LONGEST_WRITTEN_ID: Final = 900
_MESSAGE_ID: Final = re.compile(r"<[^<>\s\x00-\x20\x7f-\x9f]{1,996}>")
_ID_LEFT: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+")


def mint_message_id(unique: str, domain: str) -> str:
    """Make `<unique@domain>`. The caller sees to it that `unique` never comes twice.

    Raises AddressError if the two do not make one well-formed identifier.
    """
    message_id = f"<{unique}@{domain}>"
    if not _ID_LEFT.fullmatch(unique) or len(message_id) > 250 or not _MESSAGE_ID.fullmatch(message_id):
        raise AddressError(f"{one_line(message_id)[:80]} is no Message-ID: use letters, digits and a domain.")
    return message_id


def fits_a_line(message_id: str) -> bool:
    """Can this identifier stand whole in a header line, of whatever name (RFC 5322 §2.1.1), and in ASCII?"""
    return message_id.isascii() and len(message_id) <= LONGEST_WRITTEN_ID


def message_ids(header_text: str, limit: int = 32) -> list[str]:
    """The last `limit` well-formed identifiers of a References, In-Reply-To or Message-ID value, in order.

    Anything else is passed over: comments, phrases, identifiers with spaces or control characters
    and those longer than 998 characters. Takes time in proportion to the length.
    """
    found: list[str] = _MESSAGE_ID.findall(header_text)
    return found[-limit:]


def references(ancestors: Sequence[str], own: str) -> str:
    """The value of References: the last three ancestors, oldest first, then the mail's own identifier.

    The own identifier is among them because some relays replace Message-ID but leave References alone.
    """
    kept = list(dict.fromkeys(ancestor for ancestor in ancestors if ancestor != own))
    return " ".join([*kept[-ANCESTORS:], own])
