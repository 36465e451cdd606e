"""Where a received mail belongs: a pure decision over what was read of it and a small read interface."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from postroom.incoming import replies
from postroom.incoming.places import AliasFacts, Meaning, Place
from postroom.wire.reply import Reply
from postroom.wire.tokens import ReplyToken, ReturnPathToken

MOST_HOPS = 50
MOST_OPENINGS = 20
OPENINGS_WINDOW_SECONDS = 120 * 60
_FOR_REPORTS = (Meaning.BOUNCE, Meaning.RETURN_PATH, Meaning.UNSIGNED_RETURN_PATH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """What routing knows of a mail.

    `places` are the envelope's recipients, `to` the addresses in its To header, `references` the last
    Message-IDs that it says it answers, oldest first. `why_automatic` is None for a person's mail.
    `is_report`: it is a delivery status notification (RFC 3464). `names_failed_recipient`: an old-fashioned
    bounce that is none. `is_robot_answer`: its headers say that a robot answers for a person. All
    addresses are normalised; `sender` is empty if From holds none, `author` is it as the log keeps it.
    `message_id` and `copy_mark` are its own, empty without: they say whether it is a mail of ours.
    """

    sender: str
    reverse_path: str
    author: str = ""
    places: Sequence[Place]
    to: frozenset[str] = frozenset()
    references: Sequence[str] = ()
    hop_count: int = 0
    why_automatic: str | None = None
    is_report: bool = False
    names_failed_recipient: bool = False
    is_robot_answer: bool = False
    message_id: str = ""
    copy_mark: str = ""


@dataclass(frozen=True, slots=True)
class Thread:
    """A message of ours that a mail answers, and its record."""

    message_id: int | None
    record_id: int
    model: str


class Files(Protocol):
    """What is read of one workspace to route a mail."""

    def thread_of(self, references: Sequence[str]) -> Thread | None:
        """The newest message with a record that one of these Message-IDs names."""

    def is_own_mail(self, message_id: str, copy_mark: str) -> bool:
        """Did this workspace send the mail that has this Message-ID or this mark of one recipient's copy?"""

    def thread_of_record(self, record_id: int) -> Thread | None:
        """The record of a reply address; None if it is gone or its reply address was revoked."""

    def own_record_id(self) -> int:
        """The workspace's own conversation."""

    def is_known(self, addr_spec: str) -> bool:
        """Is it the address of a contact?"""

    def is_member(self, addr_spec: str) -> bool:
        """Is it the address of a member?"""

    def is_following(self, addr_spec: str, record_id: int) -> bool:
        """Does somebody with this address follow the record?"""

    def opening_count(self, author: str) -> int:
        """How many mails of this author (as logged) opened something within OPENINGS_WINDOW_SECONDS."""


@dataclass(frozen=True, slots=True)
class IsBounce:
    """It tells of a delivery; `token` is None if our signed return path is not among its recipients.

    `is_provisional`: it came to no address that exists, so it is refused unless it fits an email of ours.
    `is_credible`: it came as reports do, from the null reverse-path to our address for them.
    """

    token: ReturnPathToken | None
    addr_spec: str
    is_provisional: bool = False
    is_credible: bool = False


@dataclass(frozen=True, slots=True)
class IsReply:
    """It continues a conversation. `parent_id` is the message answered, None if only the record is known.

    `is_by_references`: nothing but a Message-ID led here, which whoever saw a copy of the mail can name.
    """

    record_id: int
    parent_id: int | None
    addr_spec: str
    alias_id: int | None = None
    is_by_references: bool = False

    @property
    def is_signed(self) -> bool:
        """Did our signed reply address lead here, which we gave to the people of the record alone?"""
        return self.alias_id is None and not self.is_by_references


@dataclass(frozen=True, slots=True)
class OpensRecord:
    """An alias takes it: a new record is made, or `record_id` is where the alias leads."""

    alias_id: int | None
    record_id: int | None
    addr_spec: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing takes it; `reason` is a stable id."""

    reply: Reply
    reason: str
    addr_spec: str


Verdict = IsBounce | IsReply | OpensRecord | Refused


def route(mail: Incoming, files: Files) -> list[Verdict]:
    """Decide; there is always at least one verdict, and several aliases in one mail make one each.

    In this order: a mail that goes in circles, a delivery report, a mail of our own, a reply by its
    address, a reply by its references, aliases, the catchall alone, nothing.
    """
    thread = files.thread_of(mail.references)
    forwarded_to = _forwarded_to(mail, thread)
    return (
        _circling(mail)
        or _bounce(mail)
        or _own_mail(mail, files)
        or _reply_by_address(mail, thread, files)
        or ([] if forwarded_to else _reply_by_references(mail, thread, files))
        or _by_aliases(mail, forwarded_to or _aliases_of(mail), files)
        or [_nothing(mail)]
    )


def _forwarded_to(mail: Incoming, thread: Thread | None) -> list[AliasFacts]:
    """Aliases of another model that stand in To: written to on purpose, they beat the thread. Cc does not."""
    if thread is None:
        return []
    return [a for a in _aliases_of(mail) if a.model != thread.model and a.addr_spec in mail.to]


def _aliases_of(mail: Incoming) -> list[AliasFacts]:
    """Each alias once, in the order of the envelope."""
    found = {place.alias.id: place.alias for place in mail.places if place.alias is not None}
    return list(found.values())


def _first(places: Iterable[Place], *meanings: Meaning) -> Place | None:
    return next((place for place in places if place.meaning in meanings), None)


def _circling(mail: Incoming) -> list[Verdict]:
    if mail.hop_count < MOST_HOPS:
        return []
    return [Refused(replies.TOO_MANY_HOPS, "too_many_hops", _addressed(mail))]


def _addressed(mail: Incoming) -> str:
    return mail.places[0].addr_spec if mail.places else ""


def _bounce(mail: Incoming) -> list[Verdict]:
    signed = _first(mail.places, Meaning.RETURN_PATH)
    token = signed.token if signed and isinstance(signed.token, ReturnPathToken) else None
    if mail.is_report or (_is_bounce_address(mail) and _sounds_like_a_bounce(mail)):
        is_provisional = all(place.is_provisional for place in mail.places)
        is_credible = not mail.reverse_path and _is_bounce_address(mail)
        return [IsBounce(token, _addressed(mail), is_provisional=is_provisional, is_credible=is_credible)]
    return []


def _own_mail(mail: Incoming, files: Files) -> list[Verdict]:
    """Somebody forwarded our mail back to us: posted again, it would go round for ever."""
    if not files.is_own_mail(mail.message_id, mail.copy_mark):
        return []
    return [Refused(replies.CAME_BACK, "loop", _addressed(mail))]


def _is_bounce_address(mail: Incoming) -> bool:
    return _first(mail.places, *_FOR_REPORTS) is not None


def _sounds_like_a_bounce(mail: Incoming) -> bool:
    """No report, but from nobody, and not the answer of a robot on holiday."""
    is_from_server = mail.sender.startswith(("mailer-daemon@", "postmaster@")) or mail.names_failed_recipient
    return is_from_server or (not mail.reverse_path and not mail.is_robot_answer)


def _reply_by_address(mail: Incoming, parent: Thread | None, files: Files) -> list[Verdict]:
    for place in mail.places:
        if isinstance(place.token, ReplyToken):
            thread = files.thread_of_record(place.token.record_id)
            if thread is not None:
                is_parent_there = parent is not None and parent.record_id == thread.record_id
                parent_id = parent.message_id if parent and is_parent_there else None
                return [IsReply(thread.record_id, parent_id, place.addr_spec)]
    return []


def _reply_by_references(mail: Incoming, thread: Thread | None, files: Files) -> list[Verdict]:
    if thread is None:
        return []
    alias = next((alias for alias in _aliases_of(mail) if alias.model == thread.model), None)
    if alias is not None and not _is_allowed(alias, mail.sender, thread.record_id, files):
        return [_refused_by(alias)]
    leads_there = any(each.record_id == thread.record_id for each in _aliases_of(mail))
    return [
        IsReply(
            thread.record_id,
            thread.message_id,
            _addressed(mail),
            alias.id if alias else None,
            is_by_references=not leads_there,
        )
    ]


def _is_allowed(alias: AliasFacts, sender: str, record_id: int | None, files: Files) -> bool:
    match alias.policy:
        case "everyone":
            return True
        case "partners":
            return files.is_known(sender)
        case "followers":
            return record_id is not None and files.is_following(sender, record_id)
        case _:
            return files.is_member(sender)


def _refused_by(alias: AliasFacts) -> Refused:
    return Refused(replies.not_allowed(alias.policy, alias.bounced_text), "policy", alias.addr_spec)


def _by_aliases(mail: Incoming, aliases: Sequence[AliasFacts], files: Files) -> list[Verdict]:
    verdicts = [_by_alias(alias, mail, files) for alias in aliases]
    role = _first(mail.places, Meaning.ROLE)
    if role is not None:
        verdicts.append(OpensRecord(None, files.own_record_id(), role.addr_spec))
    return verdicts


def _by_alias(alias: AliasFacts, mail: Incoming, files: Files) -> Verdict:
    if not _is_allowed(alias, mail.sender, alias.record_id, files):
        return _refused_by(alias)
    if alias.record_id is not None:
        return OpensRecord(alias.id, alias.record_id, alias.addr_spec)
    if mail.why_automatic is not None and not alias.accepts_automatic:
        return Refused(replies.NO_AUTOMATIC, "automatic", alias.addr_spec)
    if files.opening_count(mail.author) >= MOST_OPENINGS:
        return Refused(replies.TOO_MANY_OPENINGS, "too_many_openings", alias.addr_spec)
    return OpensRecord(alias.id, None, alias.addr_spec)


def _nothing(mail: Incoming) -> Refused:
    place = _first(mail.places, Meaning.CATCHALL, Meaning.REPLY, Meaning.SENDER, Meaning.SENT_FROM)
    if place is not None:
        return Refused(replies.ONLY_REPLIES, "only_replies", place.addr_spec)
    place = _first(mail.places, *_FOR_REPORTS)
    if place is not None:
        return Refused(replies.ONLY_REPORTS, "only_reports", place.addr_spec)
    return Refused(replies.NO_SUCH_ADDRESS, "unknown_recipient", _addressed(mail))
