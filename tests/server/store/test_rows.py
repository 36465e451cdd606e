"""A row comes out of a database as it went in, whichever it is."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroom_server.store import rows
from postroom_server.store.databases import Database, Postgres, Sqlite
from postroom_server.store.refusals import StoreRefused
from postroom_server.store.rows import Row
from postroom_server.store.tables import Column, Kind, Table

TABLE = Table("things", "id", True, (*(Column(kind.value, kind) for kind in Kind), Column("id", Kind.NUMBER)))
TYPES = {
    Kind.NUMBER: ("bigint", "bigint"),
    Kind.FRACTION: ("real", "double precision"),
    Kind.YES_OR_NO: ("bool", "boolean"),
    Kind.TEXT: ("text", "text"),
    Kind.TIME: ("datetime", "timestamptz"),
    Kind.DATE: ("date", "date"),
    Kind.JSON: ("text", "jsonb"),
    Kind.OCTETS: ("BLOB", "bytea"),
}
_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.NUMBER: st.integers(-(2**63), 2**63 - 1),
    Kind.FRACTION: st.floats(allow_nan=False).map(lambda value: value + 0.0),
    Kind.YES_OR_NO: st.booleans(),
    Kind.TEXT: _texts,
    Kind.TIME: st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 30)).map(rows.plain_time),  # noqa: DTZ001
    Kind.DATE: st.dates(date(1000, 1, 1)).map(date.isoformat),
    Kind.JSON: _json.filter(lambda value: value is not None),
    Kind.OCTETS: st.binary().map(rows.plain_octets),
}
A_ROW = st.tuples(*(st.none() | VALUES[kind] for kind in Kind)).map(list)
Keep = Callable[[list[Row]], list[Row]]


@pytest.fixture
def keep(db: None, tmp_path: Path) -> Keep:
    """Writes rows into a table of their own on the database of this run, and reads them again."""

    def kept(new: list[Row]) -> list[Row]:
        with contextlib.closing(_fresh(tmp_path)) as database:
            database.write(TABLE, (list(row) for row in new))
            return list(database.rows(TABLE))

    return kept


def _fresh(folder: Path) -> Database:
    is_postgres = connection.vendor == "postgresql"
    columns = ", ".join(f'"{kind.value}" {TYPES[kind][is_postgres]}' for kind in Kind)
    if is_postgres:
        named = connection.settings_dict
        host = named["HOST"] or named["OPTIONS"].get("host", "")
        place = f"{named['USER']}:{named['PASSWORD']}@/{named['NAME']}?host={host}"
        database: Database = Postgres(f"postgresql://{place}")
        database.say(f"CREATE TEMPORARY TABLE things ({columns}, id bigint PRIMARY KEY)")
        return database
    path = folder / "things.sqlite3"
    path.write_bytes(b"")
    database = Sqlite(path)
    database.say(f"CREATE TABLE things ({columns}, id bigint PRIMARY KEY)")
    return database


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(A_ROW, max_size=5))
def test_rows_come_out_of_a_database_as_they_went_in(keep: Keep, found: list[Row]) -> None:
    numbered = [[*row, number] for number, row in enumerate(found)]
    again = keep(numbered)
    assert [rows.line(row) for row in again] == [rows.line(row) for row in numbered]


@given(row=A_ROW)
def test_a_line_is_the_row_again(row: Row) -> None:
    assert list(rows.of_lines(rows.line(row))) == [row]
    assert rows.line(row).count(b"\n") == 1


@given(at=st.datetimes(datetime(1000, 1, 2), datetime(9999, 12, 30)), hours=st.integers(-12, 14))  # noqa: DTZ001
def test_a_time_is_the_same_in_every_zone(at: datetime, hours: int) -> None:
    aware = at.replace(tzinfo=UTC)
    elsewhere = aware.astimezone(timezone(timedelta(hours=hours)))
    assert rows.plain_time(at) == rows.plain_time(aware) == rows.plain_time(elsewhere)


def test_the_order_of_names_in_json_makes_no_difference() -> None:
    assert rows.line([{"a": 1, "b": 2}]) == rows.line([{"b": 2, "a": 1}])


def test_a_digest_changes_with_every_value() -> None:
    whole = [[1, "a", True], [2, "b", None]]
    changed: list[list[Row]] = [
        [[1, "a", True], [2, "b", False]],
        [[2, "b", None], [1, "a", True]],
        whole[:1],
    ]
    assert all(rows.digest_of(other).text != rows.digest_of(whole).text for other in changed)
    assert rows.digest_of(whole).count == 2


def test_a_fraction_that_is_whole_stays_a_fraction(keep: Keep) -> None:
    row: Row = [None] * len(Kind)
    row[list(Kind).index(Kind.FRACTION)] = 3.0
    assert isinstance(keep([[*row, 1]])[0][1], float)
    assert math.isclose(keep([[*row, 1]])[0][1], 3.0)


def test_what_postgresql_does_not_keep_is_said(keep: Keep) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite keeps every character")
    row: Row = [None] * len(Kind)
    row[list(Kind).index(Kind.TEXT)] = "a\0b"
    with pytest.raises(StoreRefused, match="PostgreSQL did not take the rows of things"):
        keep([[*row, 1]])
