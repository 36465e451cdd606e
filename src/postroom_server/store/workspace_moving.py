"""Moves one workspace into an installation that may have others; its rows keep their numbers.

Signed addresses in mail that was sent name rows by their numbers, so a number that is taken there ends the
move before it begins. Users belong to nobody: they are known by their login address. The shared relay is
known by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

from django.db import models

from postroom.outgoing.models import Allowance, MailServer
from postroom.workspaces.models import Workspace
from postroom_server.store import loading, rows, tables
from postroom_server.store.backing_up import INSTALLATION
from postroom_server.store.databases import BATCH, Database
from postroom_server.store.moving import Copied, digesting
from postroom_server.store.progress import Progress
from postroom_server.store.refusals import StoreRefused
from postroom_server.store.rows import Digest, Row
from postroom_server.store.tables import Table

USERS, LOGINS = "auth_user", "account_emailaddress"
SERVERS = MailServer._meta.db_table
Keys = dict[int, int]


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one table that belong to a workspace. `where` is a condition in SQL."""

    table: Table
    where: str
    #: Columns that name a user or a server, with the table that is meant.
    elsewhere: tuple[tuple[str, str], ...]


def parts_of(workspace_id: int) -> list[Part]:
    """Every table that a workspace has rows in."""
    found = ((model, condition_for(model, workspace_id)) for model in tables.lasting_models())
    return [Part(Table.of_model(model), where, _elsewhere(model)) for model, where in found if where]


def condition_for(model: type[models.Model], workspace_id: int) -> str:
    """Which rows of a model's table belong to a workspace, in SQL; empty if none ever do."""
    if model is Workspace:
        return f"id = {workspace_id:d}"
    if model is Allowance:  # those of a server's windows name the server alone
        own = f"SELECT id FROM {SERVERS} WHERE workspace_id = {workspace_id:d}"
        return f"(workspace_id = {workspace_id:d} OR server_id IN ({own}))"
    if "workspace" in {field.name for field in model._meta.concrete_fields}:
        return f"workspace_id = {workspace_id:d}"
    return _condition_by_owner(model, workspace_id)


def _condition_by_owner(model: type[models.Model], workspace_id: int) -> str:
    """Rows that name no workspace belong to that of what they name first, as triggers do."""
    if model._meta.app_label != "postroom":
        return ""
    for reference in model._meta.concrete_fields:
        if isinstance(reference, models.ForeignKey):
            owner: Any = reference.related_model
            where = condition_for(owner, workspace_id)
            own = f"SELECT {owner._meta.pk.column} FROM {owner._meta.db_table} WHERE {where}"
            return f"{reference.column} IN ({own})"
    return ""


def _elsewhere(model: type[models.Model]) -> tuple[tuple[str, str], ...]:
    references = [field for field in model._meta.concrete_fields if isinstance(field, models.ForeignKey)]
    named = [(str(field.column), field.related_model._meta.db_table) for field in references]
    return tuple((column, table) for column, table in named if table in (USERS, SERVERS))


@dataclass(slots=True)
class Mapping:
    """Under which numbers the target knows users and shared relays of the source."""

    users: Keys = field(default_factory=dict)
    servers: Keys = field(default_factory=dict)
    new_users: list[int] = field(default_factory=list)
    new_servers: list[int] = field(default_factory=list)

    def turner(self, part: Part) -> Callable[[Row], Row]:
        """A function that gives a row the numbers of the target."""
        places = [
            (part.table.at(column), self.users if table == USERS else self.servers)
            for column, table in part.elsewhere
        ]

        def turned(row: Row) -> Row:
            for place, keys in places:
                row[place] = keys.get(row[place], row[place])
            return row

        return turned


def counts(source: Database, parts: Iterable[Part]) -> list[Copied]:
    """What there is to move, table by table."""
    found = [
        Copied(part.table.name, source.number(f'SELECT COUNT(*) FROM "{part.table.name}" WHERE {part.where}'))
        for part in parts
    ]
    return [each for each in found if each.count]


def refuse_if_taken(source: Database, target: Database, parts: Iterable[Part]) -> None:
    """Raise StoreRefused, before anything is written, if a number, a slug or a domain is taken."""
    _refuse_if_there(source, target, parts)
    for name, column in (("postroom_workspace", "slug"), ("postroom_maildomain", "domain")):
        part = next(part for part in parts if part.table.name == name)
        ours = _column(source, part, column)
        theirs = {str(row[0]) for row in target.ask(f"SELECT {column} FROM {name}")}
        if taken := sorted(set(ours) & theirs):
            raise StoreRefused(
                f"{taken[0]} is there already, and is another workspace's. A workspace keeps its short name "
                "and its mail domain, so name another database with --to."
            )
    for part in parts:
        _refuse_taken_numbers(source, target, part)


def _refuse_if_there(source: Database, target: Database, parts: Iterable[Part]) -> None:
    """Tell who runs a move once more that it is done: number, slug and founding are those of one there."""
    part = next(part for part in parts if part.table.name == Workspace._meta.db_table)
    found = [list(database.rows(part.table, part.where)) for database in (source, target)]
    places = [part.table.at(column) for column in ("id", "slug", "created_at")]
    here, there = ([[row[place] for place in places] for row in several] for several in found)
    if here == there:
        raise StoreRefused(
            f"The workspace {here[0][1]} was moved or restored there already: it has the same number, and "
            "was founded at the same moment. Nothing was written. What was posted or arrived here since then "
            "is here alone."
        )


def _column(source: Database, part: Part, column: str) -> list[Any]:
    query = f'SELECT "{column}" FROM "{part.table.name}" WHERE {part.where}'
    return [row[0] for row in source.ask(query)]


def _refuse_taken_numbers(source: Database, target: Database, part: Part) -> None:
    key = part.table.key
    numbers = (
        int(row[0]) for row in source.ask(f'SELECT "{key}" FROM "{part.table.name}" WHERE {part.where}')
    )
    while batch := list(islice(numbers, BATCH)):
        several = ", ".join(map(str, batch))
        query = f'SELECT MIN("{key}") FROM "{part.table.name}" WHERE "{key}" IN ({several})'
        if taken := target.number(query):
            raise StoreRefused(
                f"Row {taken} of {part.table.name} is taken there. Rows keep their numbers, because signed "
                "addresses in mail that was sent name them and would no longer verify. Move into an empty "
                "database instead."
            )


def map_elsewhere(source: Database, target: Database, workspace_id: int) -> Mapping:
    """Find users by login address and shared relays by name; those that are new get the next free number."""
    mapping = Mapping()
    users = f"id IN (SELECT user_id FROM postroom_member WHERE workspace_id = {workspace_id:d})"
    relays = (
        "workspace_id IS NULL AND id IN (SELECT server_id FROM postroom_lane "
        f"WHERE workspace_id = {workspace_id:d} UNION SELECT via_id FROM postroom_lane "
        f"WHERE workspace_id = {workspace_id:d})"
    )
    login = "LOWER(COALESCE(NULLIF(email, ''), username))"
    _map(source, target, USERS, (login, users, "1 = 1"), (mapping.users, mapping.new_users))
    _map(
        source,
        target,
        SERVERS,
        ("name", relays, "workspace_id IS NULL"),
        (mapping.servers, mapping.new_servers),
    )
    return mapping


def _map(
    source: Database,
    target: Database,
    table: str,
    known_by: tuple[str, str, str],
    into: tuple[Keys, list[int]],
) -> None:
    name, ours, theirs = known_by
    there = {str(row[0]): int(row[1]) for row in target.ask(f"SELECT {name}, id FROM {table} WHERE {theirs}")}
    free = _beyond(source, target, table)
    keys, new = into
    for key, number in list(source.ask(f"SELECT {name}, id FROM {table} WHERE {ours} ORDER BY id")):
        if str(key) in there:
            keys[int(number)] = there[str(key)]
        else:
            keys[int(number)] = _free_number(target, table, int(number), free)
            new.append(int(number))


def _beyond(source: Database, target: Database, table: str) -> Iterator[int]:
    """Numbers that neither side ever gave."""
    of_table = tables.by_name(tables.tables())[table]
    return count(1 + max(source.last_number(of_table), target.last_number(of_table)))


def _free_number(target: Database, table: str, number: int, free: Iterator[int]) -> int:
    """The same number where it is free."""
    is_taken = target.number(f"SELECT COUNT(*) FROM {table} WHERE id = {number:d}")
    return next(free) if is_taken else number


def move_rows(
    source: Database, target: Database, workspace_id: int, mapping: Mapping, progress: Progress
) -> list[Copied]:
    """Copy a workspace with the users and relays that are new there; hold both sides against each other.

    The caller commits. Raises StoreRefused if a table did not come out as it was.
    """
    parts = parts_of(workspace_id)
    progress.begin("Rows", sum(each.count for each in counts(source, parts)))
    copied = [
        _copy_new(source, target, USERS, mapping.new_users, (mapping.users, {})),
        _copy_new(source, target, SERVERS, mapping.new_servers, (mapping.servers, {})),
        _copy_logins(source, target, mapping),
    ]
    digests = [_copy(source, target, part, mapping, progress) for part in parts]
    progress.begin("Holding both sides against each other", None)
    for part, digest in zip(parts, digests, strict=True):
        found = rows.digest_of(target.rows(part.table, part.where))
        if (found.count, found.text) != (digest.count, digest.text):
            raise StoreRefused(f"{part.table.name} did not come out as it was. Nothing was kept.")
        progress.advance(found.count)
        copied.append(Copied(part.table.name, digest.count))
    loading.refuse_broken(target)
    return [each for each in copied if each.count]


def _copy(source: Database, target: Database, part: Part, mapping: Mapping, progress: Progress) -> Digest:
    digest = Digest()
    turned = map(mapping.turner(part), source.rows(part.table, part.where))
    target.write(part.table, digesting(turned, digest, progress))
    if part.table.is_numbered:
        target.number_from(part.table, source.last_number(part.table))
    return digest


def _copy_logins(source: Database, target: Database, mapping: Mapping) -> Copied:
    """The addresses that users who are new there log in with."""
    if not mapping.new_users:
        return Copied(LOGINS, 0)
    several = ", ".join(map(str, mapping.new_users))
    found = list(source.ask(f"SELECT id FROM {LOGINS} WHERE user_id IN ({several}) ORDER BY id"))
    free = _beyond(source, target, LOGINS)
    numbers = {int(row[0]): _free_number(target, LOGINS, int(row[0]), free) for row in found}
    return _copy_new(source, target, LOGINS, list(numbers), (numbers, mapping.users))


def _copy_new(
    source: Database, target: Database, name: str, new: list[int], numbers: tuple[Keys, Keys]
) -> Copied:
    """Copy rows under the numbers that they, and the users they name, have in the target."""
    if not new:
        return Copied(name, 0)
    table = tables.by_name(tables.tables())[name]
    several = ", ".join(map(str, new))
    target.write(table, _renumbered(source.rows(table, f"id IN ({several})"), table, numbers))
    target.number_from(table, max(numbers[0].values()))
    return Copied(name, len(new))


def _renumbered(found: Iterable[Row], table: Table, numbers: tuple[Keys, Keys]) -> Iterator[Row]:
    own, users = numbers
    has_user = any(column.name == "user_id" for column in table.columns)
    for row in found:
        row[table.at("id")] = own[row[table.at("id")]]
        if has_user:
            row[table.at("user_id")] = users[row[table.at("user_id")]]
        yield row


def settle_installation(source: Database, target: Database) -> bool:
    """Have the row that says which installation the target is; return whether it starts in capture mode.

    One that was never started begins as a copy, with the keys of the source.
    """
    if target.number(f"SELECT COUNT(*) FROM {INSTALLATION}"):
        return bool(target.number(f"SELECT COUNT(*) FROM {INSTALLATION} WHERE capturing_since IS NOT NULL"))
    key_check = next(iter(list(source.ask(f"SELECT key_check FROM {INSTALLATION}"))))[0]
    values = [loading.RESTORED, key_check]
    target.say(f"INSERT INTO {INSTALLATION} (id, instance, key_check) VALUES (1, ?, ?)", values)
    loading.mark_as_copy(target, tables.by_name(tables.tables()))
    return True


def is_capturing_in(source: Database, workspace_id: int) -> bool:
    """Does the workspace capture its mail by its own switch? The target then has it so, too."""
    query = f"SELECT COUNT(*) FROM {Workspace._meta.db_table} WHERE is_capturing AND id = {workspace_id:d}"
    return bool(source.number(query))


def capture_in_source(source: Database, workspace_id: int) -> None:
    """Let nothing of the workspace leave from where it was: it leaves from the target now."""
    source.say(
        f"UPDATE {Workspace._meta.db_table} SET is_capturing = 1, capture_mode = 'all' WHERE id = ?",
        [workspace_id],
    )
