"""Finding lines in the log, plain and compressed files alike, without reading a whole file into memory."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, cast

from postroom.diagnostics import log_days
from postroom.diagnostics.log_days import Kept
from postroom.diagnostics.log_file import LOCK
from postroom.diagnostics.log_lines import Cover, masked

LONGEST_LINE = 1024 * 1024
MOST_FOLLOWING = 200
_TIME = re.compile(rb'(?:\{"timestamp":")?(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,6})?')
_FIELD = re.compile(r' (\w+)=("(?:[^"\\]|\\.)*"|\S+)')
_HUMAN = re.compile(r"\S+ \S+Z (INFO|WARNING|ERROR|CRITICAL) ([\w.]+)(:?)")
_EARLIEST, _LATEST = datetime(1971, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
_AGO = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a line must have, all of it: a text (in any case), a Message-ID, an address, an Email's number, a
    workspace's slug, a time from `since` to before `until`. `keys` are those of the tags, newest first.
    """

    text: str = ""
    message_id: str = ""
    address: str = ""
    email_id: int | None = None
    workspace: str = ""
    since: datetime | None = None
    until: datetime | None = None
    keys: Sequence[bytes] = ()

    @property
    def is_empty(self) -> bool:
        """Is nothing but a time named, or not even that?"""
        return not (self.text or self.message_id or self.address or self.email_id or self.workspace)


@dataclass(frozen=True, slots=True)
class Found:
    """One record: its line and those that follow it (a traceback), when it was written, and where it stands.

    `at` is None where the line tells no time; `offset` counts the octets of its file before it, uncompressed.
    """

    at: datetime | None
    text: str
    file: str
    offset: int

    @property
    def fields(self) -> Mapping[str, Any]:
        """Its fields by name, `event` and `level` among them; of words only `event`."""
        return fields_of(self.text)


@dataclass(slots=True)
class Looked:
    """Where a search looked, and what it could not read (name and reason)."""

    files: list[str] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)


def moment(text: str, now: datetime) -> datetime:
    """A time as people give it: `2d` (ago; s, m, h, d, w) or ISO 8601, where no zone means UTC.

    One before 1971 or after 9000 is brought to there, so that it can be reckoned with. Raises ValueError.
    """
    if ago := _AGO.fullmatch(text.strip().lower()):
        try:
            return max(now - timedelta(**{_UNITS[ago[2]]: int(ago[1])}), _EARLIEST)
        except OverflowError:
            return _EARLIEST
    at = datetime.fromisoformat(text.strip())
    return min(max(at if at.tzinfo else at.replace(tzinfo=UTC), _EARLIEST), _LATEST)


def search(folder: Path, wanted: Wanted, looked: Looked) -> Iterator[Found]:
    """The records that fit, oldest first. `looked` is filled meanwhile; what cannot be read ends nothing.

    The files are opened together under the lock of their writers: a change of day meanwhile moves none away.
    """
    fits = Filter(wanted)
    with contextlib.ExitStack() as stack:
        for kept, file in opened(folder, looked, stack):
            if wanted.until and log_days.day_of(wanted.until.timestamp()) < kept.day:
                continue
            if wanted.since and _changed_at(kept) < wanted.since.timestamp():
                continue
            looked.files.append(kept.path.name)
            try:
                yield from filter(fits, records(file, kept.path.name))
            except (OSError, EOFError, zlib.error) as error:
                looked.unread.append((kept.path.name, str(error) or type(error).__name__))


def _changed_at(kept: Kept) -> float:
    try:
        return kept.path.stat().st_mtime
    except OSError:  # it has another name since: then it is new enough to be looked into
        return float("inf")


def opened(folder: Path, looked: Looked, stack: contextlib.ExitStack) -> list[tuple[Kept, IO[bytes]]]:
    """Every file of the log, oldest first, open for reading (what is compressed reads as if it were not)."""
    files: list[tuple[Kept, IO[bytes]]] = []
    with _between_writes(folder):
        for kept in log_days.kept_in(folder):
            try:
                files.append((kept, stack.enter_context(_reader(kept))))
            except OSError as error:
                looked.unread.append((kept.path.name, error.strerror or str(error)))
    return files


def _reader(kept: Kept) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(kept.path)) if kept.is_packed else kept.path.open("rb")


@contextlib.contextmanager
def _between_writes(folder: Path) -> Iterator[None]:
    try:
        lock = (folder / LOCK).open("rb")
    except OSError:  # nobody has written here yet, or it is a copy that others keep
        yield
        return
    with lock:
        with contextlib.suppress(OSError):  # somebody hangs: reading on is better than hanging, too
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield


def records(file: IO[bytes], name: str, offset: int = 0) -> Iterator[Found]:
    """The records of a file from where it stands; lines that begin with a space belong to the one before."""
    begun: list[bytes] = []
    begun_at = offset
    while line := file.readline(LONGEST_LINE):
        if begun and line[:1] in b" \t" and len(begun) < MOST_FOLLOWING:
            begun.append(line)
        else:
            if begun:
                yield _found(begun, name, begun_at)
            begun, begun_at = [line], offset
        offset += len(line)
    if begun:
        yield _found(begun, name, begun_at)


def _found(lines: Iterable[bytes], name: str, offset: int) -> Found:
    octets = b"".join(lines).rstrip(b"\n")
    return Found(time_of(octets), octets.decode("utf-8", "replace"), name, offset)


def time_of(line: bytes) -> datetime | None:
    """When a line was written, in any of the forms the log has had; None if it does not say."""
    said = _TIME.match(line)
    if said is None:
        return None
    try:
        whole = datetime.fromisoformat(f"{said[1].decode()}T{said[2].decode()}+00:00")
    except ValueError:
        return None
    return whole + timedelta(seconds=float(said[3] or 0))


class Filter:
    """Does a record fit? Callable; what a search wants is put into the form it has in lines only once."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.text = wanted.text.casefold()
        bare = wanted.message_id.strip().strip("<>")
        covers = (Cover(key) for key in wanted.keys)
        self.message_ids = {f"<{bare}>", *(cover.foreign(f"<{bare}>") for cover in covers)} if bare else set()
        self.addresses = _forms(wanted.address.strip().lower(), wanted.keys) if wanted.address else None

    def __call__(self, found: Found) -> bool:
        """Cheap questions first."""
        return (
            self._is_in_time(found)
            and (not self.text or self.text in found.text.casefold())
            and (not self.message_ids or self._is_about_message(found))
            and (self.addresses is None or bool(self.addresses.search(found.text.lower())))
            and (self.wanted.email_id is None or self._is_about_email(found))
            and (not self.wanted.workspace or found.fields.get("workspace") == self.wanted.workspace)
        )

    def _is_in_time(self, found: Found) -> bool:
        since, until = self.wanted.since, self.wanted.until
        if found.at is None:
            return since is None and until is None
        return (since is None or found.at >= since) and (until is None or found.at < until)

    def _is_about_message(self, found: Found) -> bool:
        """By its field; a line of words may name it anywhere."""
        if not any(each in found.text for each in self.message_ids):
            return False
        fields = found.fields
        return is_words(fields) or not self.message_ids.isdisjoint((fields.get("message"), fields.get("id")))

    def _is_about_email(self, found: Found) -> bool:
        return str(self.wanted.email_id) in found.text and str(found.fields.get("email")) == str(
            self.wanted.email_id
        )


def _forms(address: str, keys: Sequence[bytes]) -> re.Pattern[str]:
    """An address as it is, or as each key has tagged it, and not as a part of a longer one."""
    forms = [address, *(masked(address, key) for key in keys)]
    either = "|".join(re.escape(form) for form in forms)
    return re.compile(rf"(?<![\w.!#$%&'*+/?^`{{|}}~-])(?:{either})(?![\w-]|\.\w)")


def is_words(fields: Mapping[str, Any]) -> bool:
    """Is it what a part of the program said in words, and not one of our events?"""
    return "logger" in fields


def fields_of(text: str) -> dict[str, Any]:
    """The fields of a line in either format."""
    if text.startswith("{"):
        try:
            read = json.loads(text)
        except ValueError:
            return {"logger": ""}
        return read if isinstance(read, dict) else {"logger": ""}
    head = _HUMAN.match(text)
    if head is None or head[3]:
        return {"logger": head[2] if head else "", "level": head[1].lower() if head else ""}
    found = {name: _unquoted(value) for name, value in _FIELD.findall(text[head.end() :])}
    return {**found, "level": head[1].lower(), "event": head[2]}


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value[:1] == '"' else value
