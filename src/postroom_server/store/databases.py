"""The two databases, read and written without models: what is copied is what is there."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from postroom_server.store import rows
from postroom_server.store.refusals import StoreRefused
from postroom_server.store.rows import Row
from postroom_server.store.tables import Table

BATCH = 2000
#: What stands for a password.
HIDDEN = "(hidden)"
#: What a query says of where a database lies; all else in it may be secret.
_PLACES = ("host", "port", "dbname", "sslmode")


class Database(Protocol):
    """An open database: one look at it that stays the same, and one transaction for what is written."""

    vendor: str

    def rows(self, table: Table, where: str = "") -> Iterator[Row]:
        """The rows in the order of their key; `where` is a condition in SQL that holds no foreign value."""

    def number(self, query: str) -> int:
        """The only figure of a query; 0 for NULL."""

    def ask(self, query: str) -> Iterator[Sequence[Any]]:
        """What a query gives, as the database says it."""

    def say(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Carry a statement out; a value stands where it has `?`."""

    def write(self, table: Table, new: Iterable[Row]) -> None:
        """Add rows in their neutral form."""

    def last_number(self, table: Table) -> int:
        """The highest number that the database ever gave to a row of this table; 0 if none."""

    def number_from(self, table: Table, last: int) -> None:
        """Never give a number up to this one again."""

    def table_names(self) -> list[str]:
        """All tables that are there, whoever made them."""

    def broken_references(self) -> list[str]:
        """Which rows name others that are not there, in words; empty if all is well."""

    def keep_others_from_writing(self) -> None:
        """Let nobody else write until this is closed. Raises StoreRefused if somebody does."""

    def commit(self) -> None:
        """Make what was written last."""

    def close(self) -> None:
        """Give up what was not committed."""


class Sqlite:
    """A SQLite file. A transaction that has begun to read sees what was there then, while others write."""

    vendor = "sqlite"

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise StoreRefused(f"There is no database {path}. Name the folder of an installation.")
        self._lite = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=30)
        self._lite.isolation_level = None
        self._lite.execute("PRAGMA synchronous=FULL")
        self._lite.execute("BEGIN")

    def rows(self, table: Table, where: str = "") -> Iterator[Row]:
        """See Database."""
        condition = f" WHERE {where}" if where else ""
        query = f'SELECT {table.names} FROM "{table.name}"{condition} ORDER BY "{table.key}"'
        return map(rows.turner(table.kinds, rows.FROM_SQLITE), self._lite.execute(query))

    def number(self, query: str) -> int:
        """See Database."""
        found = self._lite.execute(query).fetchone()
        return int(found[0] or 0) if found else 0

    def ask(self, query: str) -> Iterator[Sequence[Any]]:
        """See Database."""
        return iter(self._lite.execute(query))

    def say(self, statement: str, values: Sequence[Any] = ()) -> None:
        """See Database."""
        self._lite.execute(statement, values)

    def write(self, table: Table, new: Iterable[Row]) -> None:
        """See Database."""
        places = ", ".join("?" * len(table.columns))
        turned = map(rows.turner(table.kinds, rows.TO_SQLITE), new)
        statement = f'INSERT INTO "{table.name}" ({table.names}) VALUES ({places})'
        try:
            self._lite.executemany(statement, turned)
        except sqlite3.Error as error:  # a disk that is full
            raise StoreRefused(f"SQLite did not take the rows of {table.name}: {error}") from error

    def last_number(self, table: Table) -> int:
        """See Database."""
        return self.number(f"SELECT seq FROM sqlite_sequence WHERE name = '{table.name}'")

    def number_from(self, table: Table, last: int) -> None:
        """See Database."""
        last = max(last, self.last_number(table))
        self.say("DELETE FROM sqlite_sequence WHERE name = ?", [table.name])
        self.say("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", [table.name, last])

    def table_names(self) -> list[str]:
        """See Database."""
        found = self.ask("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        return [str(name) for (name,) in found]

    def broken_references(self) -> list[str]:
        """See Database."""
        found = self._lite.execute("PRAGMA foreign_key_check").fetchmany(5)
        return [f"{table} {number} names a row of {other}" for table, number, other, _ in found]

    def keep_others_from_writing(self) -> None:
        """See Database."""
        self._lite.execute("COMMIT")
        try:
            self._lite.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise StoreRefused(f"Somebody writes to the database ({error}). Stop Postroom first.") from error

    def commit(self) -> None:
        """See Database."""
        self._lite.execute("COMMIT")
        self._lite.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """See Database."""
        self._lite.close()


class Postgres:
    """A database of PostgreSQL, in one REPEATABLE READ transaction: one look, however long it takes."""

    vendor = "postgresql"

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise StoreRefused("PostgreSQL needs one package more: install postroom[postgres].") from error
        try:
            self._open = psycopg.connect(**_parameters(url))
        except psycopg.OperationalError as error:
            reason = " ".join(str(error).split())
            raise StoreRefused(
                f"The database does not answer: {reason}. Look at its address, name and password."
            ) from error
        self._open.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self._open.execute("SET TIME ZONE 'UTC'")
        # It lasts as long as it lasts, also while we wait for a slow disk, whatever the role's limits are.
        self._open.execute("SET idle_in_transaction_session_timeout = 0")
        self._cursors = itertools.count()

    def rows(self, table: Table, where: str = "") -> Iterator[Row]:
        """See Database."""
        condition = f" WHERE {where}" if where else ""
        order = f'"{table.key}"' + (' COLLATE "C"' if table.is_keyed_by_text else "")
        found = self.ask(f'SELECT {table.names} FROM "{table.name}"{condition} ORDER BY {order}')
        return map(rows.turner(table.kinds, rows.FROM_POSTGRES), found)

    def number(self, query: str) -> int:
        """See Database."""
        found = self._open.execute(query.encode()).fetchone()
        return int(found[0] or 0) if found else 0

    def ask(self, query: str) -> Iterator[Sequence[Any]]:
        """See Database; the rows come in batches, so that none of them need fit into memory together."""
        with self._open.cursor(name=f"postroom_{next(self._cursors)}") as cursor:
            cursor.itersize = BATCH
            cursor.execute(query.encode())
            yield from cursor

    def say(self, statement: str, values: Sequence[Any] = ()) -> None:
        """See Database."""
        self._open.execute(statement.replace("?", "%s").encode(), values or None)

    def write(self, table: Table, new: Iterable[Row]) -> None:
        """See Database."""
        import psycopg

        turned = rows.turner(table.kinds, rows.TO_POSTGRES)
        statement = f'COPY "{table.name}" ({table.names}) FROM STDIN'
        try:
            with self._open.cursor() as cursor, cursor.copy(statement.encode()) as copy:
                for row in new:
                    copy.write_row(turned(row))
        except psycopg.Error as error:  # a character that it does not keep, a disk that is full
            reason = " ".join(str(error).split())
            raise StoreRefused(f"PostgreSQL did not take the rows of {table.name}: {reason}") from error

    def last_number(self, table: Table) -> int:
        """See Database."""
        found = self._open.execute(f"SELECT last_value, is_called FROM {self._sequence(table)}".encode())
        last = found.fetchone()
        return int(last[0]) if last and last[1] else 0

    def number_from(self, table: Table, last: int) -> None:
        """See Database."""
        if last := max(last, self.last_number(table)):
            self._open.execute("SELECT setval(%s, %s)", [self._sequence(table), last])

    def _sequence(self, table: Table) -> str:
        names = [f'"{table.name}"', table.key]
        found = self._open.execute("SELECT pg_get_serial_sequence(%s, %s)", names).fetchone()
        assert found is not None
        return str(found[0])

    def table_names(self) -> list[str]:
        """See Database."""
        found = self.ask("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        return [str(name) for (name,) in found]

    def broken_references(self) -> list[str]:
        """See Database."""
        import psycopg

        try:
            self._open.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.IntegrityError as error:
            return [" ".join(str(error).split())]
        return []

    def keep_others_from_writing(self) -> None:
        """See Database."""
        import psycopg

        names = ", ".join(f'"{name}"' for name in self.table_names())
        try:
            self._open.execute(f"LOCK TABLE {names} IN SHARE MODE NOWAIT".encode())
        except psycopg.errors.LockNotAvailable as error:
            raise StoreRefused("Somebody writes to the database. Stop Postroom first.") from error

    def commit(self) -> None:
        """See Database."""
        self._open.commit()

    def close(self) -> None:
        """See Database."""
        self._open.close()


def _parameters(url: str) -> dict[str, Any]:
    """What psycopg calls the parts of DATABASE_URL; what only Django understands is left out."""
    import dj_database_url

    found = dj_database_url.parse(url)
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    given: dict[str, Any] = {theirs: found[ours] for ours, theirs in names.items() if found.get(ours)}  # type: ignore[literal-required]
    options: Mapping[str, Any] = found.get("OPTIONS") or {}
    ours_alone = {"pool", "server_side_binding", "isolation_level", "assume_role"}
    return {**given, **{name: value for name, value in options.items() if name not in ours_alone}}


def is_postgres(url: str) -> bool:
    """Does a URL name a database of PostgreSQL?"""
    return url.partition(":")[0] in ("postgres", "postgresql", "pgsql")


def shown(url: str) -> str:
    """A URL of PostgreSQL for people: where the database lies, and `HIDDEN` for what may be secret."""
    head, has_query, query = url.partition("?")
    scheme = url.partition("://")[0]
    if "@" in query:  # perhaps of a password with a question mark that is not written as %3F
        return f"{scheme}://{HIDDEN}"
    login, has_login, place = head.rpartition("@")
    user, has_password, password = login.partition("://")[2].partition(":")
    secret = HIDDEN if password else ""
    named = "&".join(_shown_part(part) for part in query.split("&")) if has_query else ""
    if not has_login:
        return f"{head}{has_query}{named}"
    return f"{scheme}://{user}{has_password}{secret}@{place}{has_query}{named}"


def _shown_part(part: str) -> str:
    name, _, _ = part.partition("=")
    return part if name in _PLACES else f"{name}={HIDDEN}"


def sqlite_path(url: str, folder: Path) -> Path:
    """Where the SQLite file of an installation lies."""
    import dj_database_url

    return Path(str(dj_database_url.parse(url)["NAME"])) if url else folder / "postroom.sqlite3"


def open_database(url: str, folder: Path) -> Database:
    """The database that DATABASE_URL names; empty: SQLite in the data folder. Raises StoreRefused."""
    return Postgres(url) if is_postgres(url) else Sqlite(sqlite_path(url, folder))


def migrations_of(database: Database) -> dict[str, list[str]]:
    """The migrations that were applied, by app, in the order of their names; empty where no table is."""
    if "django_migrations" not in database.table_names():
        return {}
    found = sorted(tuple(row) for row in database.ask("SELECT app, name FROM django_migrations"))
    grouped = itertools.groupby(found, key=lambda each: str(each[0]))
    return {app: [str(name) for _, name in names] for app, names in grouped}
