"""INSERT … SELECT through the ORM: rows go from table to table and never travel through Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.models.expressions import Combinable
from django.db.models.query import QuerySet

_ASKED = "postroom_asked"


@dataclass(frozen=True, slots=True)
class Selection:
    """A question that is written out but not yet asked; `sql` is "" if nothing can fit it."""

    names: tuple[str, ...]
    sql: str
    parameters: tuple[Any, ...]

    def pick(self, where: str, parameters: Sequence[object] = (), **of_each: str) -> Selection:
        """Ask for less of it: SQL over its names, for what each row gives and for which rows.

        `parameters` belong to the placeholders in `of_each`.
        """
        if not self.sql:
            return replace(self, names=tuple(of_each))
        given = ", ".join(f'{sql} AS "{name}"' for name, sql in of_each.items())
        sql = f"SELECT {given} FROM ({self.sql}) asked WHERE {where}"
        return Selection(tuple(of_each), sql, (*parameters, *self.parameters))

    def distinct(self) -> list[tuple[Any, ...]]:
        """Ask it: the different rows, as plain values."""
        if not self.sql:
            return []
        with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            cursor.execute(f"SELECT DISTINCT * FROM ({self.sql}) asked", self.parameters)
            return list(cursor.fetchall())

    @contextmanager
    def asked_once(self) -> Iterator[Selection]:
        """Ask it now, for several answers: inside the block they are picked from what it found.

        The rows lie in a table of this transaction alone, so the block must be inside one.
        """
        if not self.sql:
            yield self
            return
        connection = connections[DEFAULT_DB_ALIAS]
        at_end = "ON COMMIT DROP" if connection.vendor == "postgresql" else ""
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TEMPORARY TABLE {_ASKED} {at_end} AS {self.sql}", self.parameters)
        columns = ", ".join(f'"{name}"' for name in self.names)
        yield Selection(self.names, f"SELECT {columns} FROM {_ASKED}", ())
        with connection.cursor() as cursor:  # after an exception the transaction takes it back
            cursor.execute(f"DROP TABLE {_ASKED}")


def select(rows: QuerySet[Any], of_each: Mapping[str, Combinable]) -> Selection:
    """Write out what each of `rows` gives: at least one expression, and no two the same."""
    named = {f"into_{name}": expression for name, expression in of_each.items()}
    return written(rows.annotate(**named), *named, names=tuple(of_each))


def written(rows: QuerySet[Any], *columns: str, names: tuple[str, ...] = ()) -> Selection:
    """Write out a queryset's columns and annotations, which then are the names (or `names`) of the selection.

    Writing a long question takes longer than asking it, so it is best done once, and before a transaction.
    """
    query = rows.order_by().values_list(*columns).query
    try:
        sql, parameters = query.get_compiler(connection=connections[DEFAULT_DB_ALIAS]).as_sql()
    except EmptyResultSet:
        sql, parameters = "", ()
    return Selection(names or columns, sql, tuple(parameters))


def insert_selected(model: type[models.Model], selection: Selection, *, alike: Mapping[str, object]) -> int:
    """Write one row of `model` for each row that is selected; the count is returned.

    `alike` are plain values that all of them get. Fields not named get their default in the database.
    """
    if not selection.sql:
        return 0
    connection = connections[DEFAULT_DB_ALIAS]
    quote = connection.ops.quote_name
    fields = [_stored(model, name) for name in (*alike, *selection.names)]
    columns = ", ".join(quote(str(field.column)) for field in fields)
    fixed = [
        field.get_db_prep_save(value, connection)
        for field, value in zip(fields, alike.values(), strict=False)
    ]
    picked = ", ".join([*["%s"] * len(fixed), "picked.*"])
    into = quote(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {into} ({columns}) SELECT {picked} FROM ({selection.sql}) picked",
            [*fixed, *selection.parameters],
        )
        return int(cursor.rowcount)


def as_json(sql: str) -> str:
    """Make JSON of an expression that spells it."""
    is_postgres = connections[DEFAULT_DB_ALIAS].vendor == "postgresql"
    return f"CAST({sql} AS jsonb)" if is_postgres else f"JSON({sql})"


def _stored(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    field = model._meta.get_field(name)
    if not isinstance(field, models.Field) or not field.column:
        raise TypeError(f"{model.__name__}.{name} is not stored in a column.")
    return field
