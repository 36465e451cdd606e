"""What a forward-path means here: the decision at RCPT, before anything of the mail is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from postroom.incoming import replies
from postroom.wire.address import AddressError, normalise
from postroom.wire.reply import Outcome, Reply
from postroom.wire.tokens import ReplyToken, ReturnPathToken, split_subaddress

# RFC 5321 §4.5.1 demands postmaster; RFC 2142 adds abuse.
_ROLES = frozenset({"postmaster", "abuse"})


class Meaning(StrEnum):
    """What an address of ours is for."""

    ALIAS = "alias"
    CATCHALL = "catchall"
    BOUNCE = "bounce"
    RETURN_PATH = "return_path"
    UNSIGNED_RETURN_PATH = "unsigned_return_path"
    REPLY = "reply"
    ROLE = "role"
    SENDER = "sender"
    SENT_FROM = "sent_from"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class AliasFacts:
    """What routing must know of an alias; `record_id` is where it leads, None if it opens new records."""

    id: int
    addr_spec: str
    model: str
    policy: str
    record_id: int | None = None
    accepts_automatic: bool = False
    bounced_text: str = ""


@dataclass(frozen=True, slots=True)
class DomainFacts:
    """A domain of ours and the local parts that have a meaning there."""

    workspace_id: int
    domain: str
    bounce: str
    catchall: str
    sender: str


@dataclass(frozen=True, slots=True)
class Place:
    """An address of ours with its meaning.

    An UNKNOWN one is provisional: references may show a reply. So is a return path that we never signed:
    a delivery report may still fit an email by the copy of it that it holds.
    """

    workspace_id: int
    addr_spec: str
    meaning: Meaning
    alias: AliasFacts | None = None
    token: ReturnPathToken | ReplyToken | None = None

    @property
    def is_provisional(self) -> bool:
        """Is it accepted only until the mail has been read?"""
        return self.meaning in (Meaning.UNKNOWN, Meaning.UNSIGNED_RETURN_PATH)


class AddressBook(Protocol):
    """What is read to place an address."""

    def domain(self, name: str) -> DomainFacts | None:
        """Our domain of this name, None for a foreign one."""

    def first_domain(self) -> str:
        """The default mail domain of the first workspace, empty if there is none."""

    def alias(self, domain: DomainFacts, local_part: str) -> AliasFacts | None:
        """The alias of this name at that domain."""

    def token(self, domain: DomainFacts, text: str) -> ReturnPathToken | ReplyToken | None:
        """The token that a text is in the domain's workspace."""

    def has_sent_from(self, domain: DomainFacts, addr_spec: str) -> bool:
        """Was anything ever written here under this address?"""


def place(forward_path: str, book: AddressBook) -> Place | Reply:
    """What an address means, or why it is not taken at all: malformed, or at a foreign domain.

    The bare name postmaster is the postmaster of the first workspace (RFC 5321 §4.5.1).
    """
    is_bare = forward_path.lower() == "postmaster"
    try:
        addr_spec = normalise(f"{forward_path}@{book.first_domain()}" if is_bare else forward_path)
    except AddressError:
        return replies.NOT_AN_ADDRESS
    local_part, _, domain_name = addr_spec.rpartition("@")
    domain = book.domain(domain_name)
    if domain is None:
        return replies.NOT_OURS
    return _exactly(addr_spec, local_part, domain, book) or _without_tag(addr_spec, local_part, domain, book)


def _exactly(addr_spec: str, local_part: str, domain: DomainFacts, book: AddressBook) -> Place | None:
    alias = book.alias(domain, local_part)
    if alias is not None:
        return Place(domain.workspace_id, addr_spec, Meaning.ALIAS, alias=alias)
    named = {
        domain.bounce: Meaning.BOUNCE,
        domain.catchall: Meaning.CATCHALL,
        domain.sender: Meaning.SENDER,
    }
    meaning = Meaning.ROLE if local_part in _ROLES else named.get(local_part)
    return Place(domain.workspace_id, addr_spec, meaning) if meaning else None


def _without_tag(addr_spec: str, local_part: str, domain: DomainFacts, book: AddressBook) -> Place:
    base, tag = split_subaddress(local_part)
    token = book.token(domain, tag) if tag else None
    if token is not None:
        meaning = Meaning.REPLY if isinstance(token, ReplyToken) else Meaning.RETURN_PATH
        return Place(domain.workspace_id, addr_spec, meaning, token=token)
    found = _exactly(addr_spec, base, domain, book) if tag is not None else None
    if found is not None and found.meaning is Meaning.BOUNCE and tag:
        return replace(found, meaning=Meaning.UNSIGNED_RETURN_PATH)
    if found is not None:
        return found
    is_ours = book.has_sent_from(domain, addr_spec)
    return Place(domain.workspace_id, addr_spec, Meaning.SENT_FROM if is_ours else Meaning.UNKNOWN)


def is_nobodys(addr_spec: str, book: AddressBook) -> bool:
    """Is it an address of ours that no person writes from: an alias, the catchall, a signed one …?"""
    found = place(addr_spec, book)
    return isinstance(found, Place) and found.meaning not in (Meaning.SENT_FROM, Meaning.UNKNOWN)


def reply_to_recipient(found: Place | Reply, earlier: Sequence[Place], *, is_missing_often: bool) -> Reply:
    """The answer to RCPT, given who was accepted before in the same mail transaction.

    A provisional recipient travels alone, so that refusing it after DATA refuses nobody else. A transaction
    holds recipients of one workspace, so that one answer to DATA is true for all of them.
    """
    if isinstance(found, Reply):
        return found
    if found.meaning is Meaning.UNKNOWN and is_missing_often:
        return replies.TOO_MANY_MISSES
    if earlier and (found.is_provisional or earlier[0].is_provisional or _is_apart(found, earlier[0])):
        return replies.ALONE
    return replies.PROVISIONAL if found.is_provisional else replies.KNOWN


def _is_apart(one: Place, other: Place) -> bool:
    return one.workspace_id != other.workspace_id


def is_accepted(reply: Reply) -> bool:
    """Did the door say yes?"""
    return reply.outcome is Outcome.ACCEPTED
