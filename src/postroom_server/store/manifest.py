"""What a backup says of itself: at its head what it is, at its end what it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from postroom_server.store.refusals import StoreRefused
from postroom_server.store.tables import Table

FORMAT = 1
HEAD = "postroom-backup.json"
END = "manifest.json"
KEYS = "secret.key"


@dataclass(frozen=True, slots=True)
class Head:
    """The first member of a backup: what made it, when, and from which tables.

    `instance` and `key_check` are those of the installation it is of (`workspaces.models.Installation`);
    `migrations` are those that were applied, by app.
    """

    postroom: str
    created_at: str
    vendor: str
    instance: str
    key_check: str
    migrations: Mapping[str, list[str]]
    tables: tuple[Table, ...]

    def as_octets(self) -> bytes:
        """The member."""
        tables = [table.as_json() for table in self.tables]
        named = {name: getattr(self, name) for name in _OF_HEAD}
        return _octets({"format": FORMAT, **named, "migrations": self.migrations, "tables": tables})

    @classmethod
    def of_octets(cls, octets: bytes) -> Head:
        """The head of a member. Raises StoreRefused for a format this version does not know."""
        form = _form(octets)
        if form.get("format") != FORMAT:
            raise StoreRefused(
                f"This backup has the format {form.get('format')}, and this Postroom reads {FORMAT}. "
                "Restore it with the version that made it, or a newer one."
            )
        try:
            tables = tuple(Table.of_json(table) for table in form["tables"])
            migrations = {str(app): list(map(str, names)) for app, names in form["migrations"].items()}
            return cls(**{name: str(form[name]) for name in _OF_HEAD}, migrations=migrations, tables=tables)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise StoreRefused(f"{HEAD} of this backup cannot be read: take another backup.") from error


_OF_HEAD = ("postroom", "created_at", "vendor", "instance", "key_check")


@dataclass(frozen=True, slots=True)
class Content:
    """How many rows a table has, their digest, and the highest number the database ever gave in it."""

    count: int
    digest: str
    last_number: int


@dataclass(slots=True)
class Manifest:
    """The last member: a backup that has none is damaged or breaks off.

    `members` are the SHA-256 digests of all but the files of the storage, whose names are their digests.
    `missing_files` are named by a row and lay nowhere when the backup was made; `damaged_files` lay there
    with other octets than their name says.
    """

    contents: dict[str, Content] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)
    file_count: int = 0
    file_octets: int = 0
    missing_files: list[str] = field(default_factory=list)
    damaged_files: list[str] = field(default_factory=list)

    @property
    def row_count(self) -> int:
        """All rows of all tables."""
        return sum(content.count for content in self.contents.values())

    @property
    def has_keys(self) -> bool:
        """Does the backup hold the secret keys, too?"""
        return KEYS in self.members

    def as_octets(self) -> bytes:
        """The member."""
        contents = {name: [each.count, each.digest, each.last_number] for name, each in self.contents.items()}
        named = {name: getattr(self, name) for name in _OF_END}
        return _octets({"contents": contents, **named})

    @classmethod
    def of_octets(cls, octets: bytes) -> Manifest:
        """The manifest of a member. Raises StoreRefused."""
        form = _form(octets)
        try:
            contents = {
                str(name): Content(int(count), str(digest), int(last))
                for name, (count, digest, last) in form["contents"].items()
            }
            members = {str(name): str(digest) for name, digest in form["members"].items()}
            return cls(
                contents,
                members,
                file_count=int(form["file_count"]),
                file_octets=int(form["file_octets"]),
                missing_files=_names(form["missing_files"]),
                damaged_files=_names(form["damaged_files"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise StoreRefused(f"{END} of this backup cannot be read: take another backup.") from error


_OF_END = ("members", "file_count", "file_octets", "missing_files", "damaged_files")


def _names(given: object) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise TypeError("names are a list of texts")
    return given


def _octets(form: dict[str, Any]) -> bytes:
    return json.dumps(form, indent=1, sort_keys=True).encode("ascii") + b"\n"


def _form(octets: bytes) -> dict[str, Any]:
    try:
        form = json.loads(octets)
    except (ValueError, RecursionError) as error:
        raise StoreRefused("This is no backup of Postroom, or it is damaged: take another file.") from error
    if not isinstance(form, dict):
        raise StoreRefused("This is no backup of Postroom: take another file.")
    return form
