"""Taking our own credentials out of what a server says, should it repeat them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from postroom.smtp.relay import Relay
from postroom.wire.reply import Reply

SHORTEST_HIDDEN: Final = 5  # one of a few letters stays: taking it out of every word would tell it
_BASE64: Final = re.compile(r"[A-Za-z0-9+/=]{16,}")


def secrets_of(relay: Relay) -> tuple[str, ...]:
    """What must not be read in a reply: the password, as it is and as AUTH PLAIN and LOGIN write it."""
    if len(relay.password) < SHORTEST_HIDDEN:
        return ()
    user, password = relay.user.encode(), relay.password.encode()
    written = (b"\0" + user + b"\0" + password, user + b"\0" + user + b"\0" + password, password)
    return (*(base64.b64encode(octets).decode() for octets in written), relay.password)


def without(text: str, secrets: Iterable[str]) -> str:
    """The text with "…" for each secret in it."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, "…")
    return text


def without_base64(text: str) -> str:
    """The text with "…" for whatever may be credentials; for answers to AUTH, which have no need of it."""
    return _BASE64.sub("…", text)


def scrubbed(reply: Reply, secrets: Iterable[str]) -> Reply:
    """The reply without these secrets; itself if it has none of them."""
    text = without(reply.text, secrets)
    return reply if text == reply.text else replace(reply, text=text)
