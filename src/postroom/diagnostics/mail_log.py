"""One line of the log per action: what was posted, what each server answered, what came in, who did what.

Every function here writes after the fact and never fails: where no log is open (a host application that keeps
its own) it does nothing. The events, their fields and meaning are in docs/reference/log-lines.md.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import transaction

from postroom.conversations.models import Message
from postroom.diagnostics import log_days, log_lines
from postroom.diagnostics.log_file import LogFile
from postroom.diagnostics.log_lines import Cover, Dialect, MessageId, Own, Person
from postroom.incoming.models import ReceivedEmail
from postroom.outgoing.claiming import Claimed
from postroom.outgoing.models import State
from postroom.outgoing.retry import Verdict
from postroom.outgoing.settling import Ended
from postroom.wire.reply import Outcome, Reply
from postroom.workspaces.models import Workspace

log = logging.getLogger("postroom.log")
HAS_LINE: Final = {"has_line": True}  # for what `logging` is told, too: the file has a line of it already
SLUG_IS_FRESH_SECONDS = 60
_SAID_OF: Final = {
    Outcome.ACCEPTED: ("INFO", "sent"),
    Outcome.DEFERRED: ("INFO", "deferred"),
    Outcome.REFUSED: ("WARNING", "failed"),
    Outcome.UNREACHABLE: ("INFO", "unreachable"),
    Outcome.UNCERTAIN: ("WARNING", "uncertain"),
}
# What needs neither quoting nor a look for addresses and tags. Most of a drain's lines hold nothing else.
_PLAIN_DOMAIN: Final = re.compile(r"[a-z0-9.-]+")
_PLAIN_WORDS: Final = re.compile(r"[ !#$&-<>?A-\[\]-}]{1,500}")


@dataclass(frozen=True, slots=True)
class Log:
    """The log that this process writes."""

    file: LogFile
    dialect: Dialect
    shows_addresses: bool

    def cover(self) -> Cover:
        """What hides addresses now: the newest key makes the tags."""
        return Cover(tag_keys()[0], is_off=self.shows_addresses)

    def say(self, *said: Any) -> None:
        """Write one line: level, event, fields as (name, value)."""
        self.say_all([said])

    def say_all(self, lines: Iterable[Sequence[Any]]) -> None:
        """Write several lines in one write."""
        at, cover = datetime.now(UTC), self.cover()
        text = "".join(log_lines.line(self.dialect, cover, at, said) for said in lines)
        if text:
            self.file.write(text)


_open: Log | None = None


def open_log(
    folder: Path, *, log_format: str, shows_addresses: bool = False, days: int = 30, tidies: bool = True
) -> Log:
    """Write into `postroom.log` of a folder from now on; what was open before is closed.

    `tidies`: this process lasts long enough to compress and remove old files, in a thread of its own.
    """
    global _open
    close_log()
    folder.mkdir(parents=True, exist_ok=True)
    dialect = log_lines.DIALECTS[log_format]

    def on_new() -> None:
        if tidies:
            threading.Thread(target=_tidy, args=(folder, days), name="log-tidy", daemon=True).start()

    file = LogFile(
        folder,
        head=lambda day, at: log_lines.opening(dialect, day, at),
        gap=lambda count, at: log_lines.gap(dialect, count, at),
        on_new=on_new,
    )
    _open = Log(file, dialect, shows_addresses)
    return _open


def close_log() -> None:
    """Write no more lines."""
    global _open
    before, _open = _open, None
    if before is not None:
        before.file.close()


def _tidy(folder: Path, days: int) -> None:
    try:
        log_days.tidy(folder, days=days, now=time.time())
    except OSError as error:
        log.warning("Old log files could not be compressed or removed: %s", error)


def is_open() -> bool:
    """Does this process write a log? If not, nobody need put together what a line would say."""
    return _open is not None


def tag_keys() -> list[bytes]:
    """The keys of the tags, newest first; an installation without such keys has those of its SECRET_KEY."""
    keys: list[bytes] = getattr(settings, "POSTROOM_LOG_KEYS", None) or [settings.SECRET_KEY.encode()[:64]]
    return keys


# What the engine does. Thousands a second: one function builds the lines of a group, one write takes them.


def attempts(ended: Sequence[Ended], at: datetime, verdicts: Mapping[int, Verdict] | None = None) -> None:
    """A line for each attempt. `verdicts` says by the Email's id what becomes of those not Sent."""
    if _open is None or not ended:
        return
    _open.file.write("".join(_attempt_lines(_open, ended, at, verdicts or {})))


def _attempt_lines(
    to: Log, ended: Sequence[Ended], at: datetime, verdicts: Mapping[int, Verdict]
) -> Iterator[str]:
    dialect, cover = to.dialect, to.cover()
    end, recipient, said = dialect.end, recipients(dialect, cover), replies(dialect, cover)
    heads = {outcome: dialect.head(at, *said_of) for outcome, said_of in _SAID_OF.items()}
    email_is, try_is, seconds_is = map(dialect.number, ("email", "try", "seconds"))
    in_clear = dialect.text("tls", "no")
    abouts: dict[int, str] = {}
    servers: dict[str, str] = {}
    for email, outcome, reply, _, seconds, was_tls, _ in ended:
        if (about := abouts.get(email.message_id)) is None:
            about = abouts[email.message_id] = _about(dialect, cover, email)
        if (server := servers.get(email.server_name)) is None:
            server = servers[email.server_name] = dialect.text("server", cover.foreign(email.server_name))
        head, rest = heads[outcome], ""
        if outcome is not Outcome.ACCEPTED and (verdict := verdicts.get(email.email_id)) is not None:
            rest = _next(dialect, verdict)
            if verdict.state == State.FAILED and outcome is not Outcome.UNCERTAIN:
                head = heads[Outcome.REFUSED]  # its time is over
        yield (
            f"{head}{about}{email_is}{email.email_id}{try_is}{email.attempt_count + 1}"
            f"{recipient(email.redirected_to or email.addr_spec)}{server}{seconds_is}{seconds:.3f}"
            f"{'' if was_tls else in_clear}{said(reply) if reply is not None else ''}{rest}{end}"
        )


def recipients(dialect: Dialect, cover: Cover) -> Callable[[str], str]:
    """The field `to` of many addresses: what depends on the domain is put together once for each."""
    before, after = dialect.around("to", is_bare=True)
    untagged = log_lines.tagger(cover.key)
    shown: dict[str, str] = {}

    def field(addr_spec: str) -> str:
        domain = addr_spec[addr_spec.rfind("@") + 1 :]
        known = shown.get(domain)
        if known is None:
            is_plain = _PLAIN_DOMAIN.fullmatch(domain) and not cover.is_off
            known = shown[domain] = f"****@{domain}~" if is_plain else ""
        if not known or not addr_spec.isascii():
            return dialect.text("to", cover.written(addr_spec))
        first, tag = addr_spec[0], untagged.copy()
        tag.update(addr_spec.encode())
        return f"{before}{first if first.isalnum() else '_'}{known}{tag.hexdigest()}{after}"

    return field


def replies(dialect: Dialect, cover: Cover) -> Callable[[Reply], str]:
    """The field `reply` of many replies, most of which hold nothing that has to be hidden or quoted."""
    before, after = dialect.around("reply", is_bare=False)
    is_plain = _PLAIN_WORDS.fullmatch

    def field(reply: Reply) -> str:
        words = _words(reply)
        return f"{before}{words}{after}" if is_plain(words) else dialect.text("reply", cover.foreign(words))

    return field


def _words(reply: Reply) -> str:
    enhanced = reply.enhanced
    if enhanced is None:
        return f"{reply.code} {reply.text}" if reply.code else reply.text
    return f"{reply.code} {enhanced.klass}.{enhanced.subject}.{enhanced.detail} {reply.text}"


def _about(dialect: Dialect, cover: Cover, email: Claimed) -> str:
    reference = dialect.text("message", cover.message_id(email.message_reference))
    return reference + dialect.text("workspace", slug_of(email.workspace_id))


def _next(dialect: Dialect, verdict: Verdict) -> str:
    """When it is tried again, or that it is not."""
    if verdict.state == State.OUTGOING and verdict.due_at is not None:
        return dialect.text("next", f"{verdict.due_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    return dialect.text("final", verdict.failure_kind or str(verdict.state))


def kept_in(emails: Iterable[tuple[Claimed, str]]) -> None:
    """Emails that capture mode cancelled, each with the mode."""
    if _open is not None:
        _open.say_all(("INFO", "captured", *_fields_of(email), ("mode", Own(mode))) for email, mode in emails)


def unsendable(emails: Iterable[tuple[Claimed, str]]) -> None:
    """Emails that failed without an attempt, each with its reason."""
    if _open is not None:
        final = ("final", Own("invalid"))
        _open.say_all(
            ("WARNING", "failed", *_fields_of(email), final, ("reason", reason)) for email, reason in emails
        )


def _fields_of(email: Claimed) -> tuple[tuple[str, Any], ...]:
    return (
        ("message", MessageId(email.message_reference)),
        ("workspace", Own(slug_of(email.workspace_id))),
        ("email", email.email_id),
        ("to", Person(email.addr_spec)),
    )


def limit_reached(workspace_id: int, *, is_all: bool) -> None:
    """A workspace has used most of its daily limit, or all of it."""
    event = "limit_reached" if is_all else "limit_near"
    _say("WARNING", event, ("workspace", Own(slug_of(workspace_id))))


def turned_away(message: Message) -> None:
    """Emails of a message became Delivery Failed, because the daily limit is used up and none may wait."""
    _say(
        "WARNING",
        "limit_failed",
        ("message", MessageId(message.message_id)),
        ("workspace", Own(message.workspace.slug)),
    )


def server_down(name: str, because: str, words: str, until: datetime | None) -> None:
    """A server is left alone until a time; no Email fails by that before its deadline."""
    _say(
        "WARNING",
        "server_down",
        ("server", name),
        ("because", Own(because)),
        ("until", until),
        ("text", words),
    )


def server_up(name: str) -> None:
    """Mail leaves over a server again."""
    _say("INFO", "server_up", ("server", name))


def posted(message: Message, *, emails: int = 0, notified: int = 0, over: str = "") -> None:
    """Something was said: who said it, on which record, and how many are told by email and in Postroom."""
    if _open is None:
        return
    told(
        "posted",
        ("message", MessageId(message.message_id)),
        ("workspace", Own(message.workspace.slug)),
        ("record", message.record.key if message.record else ""),
        ("by", Person(message.author.addr_spec if message.author else "")),
        ("kind", Own(message.kind)),
        ("stream", Own(message.stream)),
        ("emails", emails),
        ("notified", notified),
        ("server", over),
    )


def arrived(row: ReceivedEmail, event: str, message: Message | None = None) -> None:
    """What became of a mail that came in: received, refused, duplicate, report, filed, set_aside."""
    if _open is None:
        return
    told(
        event,
        ("message", MessageId(message.message_id if message else "")),
        ("id", MessageId(row.message_id_header)),
        ("workspace", Own(row.workspace.slug if row.workspace else "")),
        ("received", row.pk),
        ("record", row.record.key if row.record else ""),
        ("from", Person(row.reverse_path or "<>")),
        ("to", Person(row.forward_path)),
        ("source", Own(row.source)),
        ("peer", row.peer),
        ("octets", row.size),
        ("reason", Own(row.reason)),
        ("reply", row.reply_text or row.reply_code),
        is_warning=event in ("refused", "set_aside"),
    )


# What comes in, what people do, what the program does by itself.


def told(event: str, *fields: tuple[str, Any], is_warning: bool = False) -> None:
    """Write one line once what is being done is committed; `fields` as `log_lines.line` takes them."""
    if _open is not None:
        said = ("WARNING" if is_warning else "INFO", event, *fields)
        transaction.on_commit(lambda: _say(*said))


def told_all(event: str, lines: Iterable[Sequence[tuple[str, Any]]]) -> None:
    """Write a line for each of many things that were done together, once that is committed."""
    if _open is None:
        return
    said = [("INFO", event, *fields) for fields in lines]
    transaction.on_commit(lambda: _open.say_all(said) if _open is not None else None)


def said_now(event: str, *fields: tuple[str, Any], is_warning: bool = False) -> None:
    """Write one line at once, of what no transaction holds: a login, a start, a run."""
    _say("WARNING" if is_warning else "INFO", event, *fields)


def _say(*said: Any) -> None:
    if _open is not None:
        _open.say(*said)


def slug_of(workspace_id: int | None) -> str:
    """The workspace's name in addresses; empty for None, or if it is gone. Remembered for a minute."""
    if workspace_id is None:
        return ""
    return _slug(workspace_id, int(time.monotonic() // SLUG_IS_FRESH_SECONDS))


@lru_cache(maxsize=4096)
def _slug(workspace_id: int, _minute: int) -> str:
    return Workspace.objects.filter(pk=workspace_id).values_list("slug", flat=True).first() or ""
