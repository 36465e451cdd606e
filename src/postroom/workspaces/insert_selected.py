"""INSERT … SELECT through the ORM: rows go from table to table and never travel through Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models, router
from django.db.models.expressions import Combinable
from django.db.models.query import QuerySet


def insert_selected(
    model: type[models.Model],
    rows: QuerySet[Any],
    *,
    alike: Mapping[str, object],
    of_each: Mapping[str, Combinable],
) -> int:
    """Write one row of `model` for each of `rows`; the count is returned.

    `alike` are plain values that all of them get, `of_each` expressions over the row they come from (at
    least one, and no two the same). Fields not named get their default in the database.
    """
    connection = connections[router.db_for_write(model)]
    quote = connection.ops.quote_name
    named = {f"into_{name}": expression for name, expression in of_each.items()}
    select = rows.order_by().annotate(**named).values_list(*named)
    try:
        inner, parameters = select.query.get_compiler(connection=connection).as_sql()
    except EmptyResultSet:
        return 0
    fields = [_stored(model, name) for name in (*alike, *of_each)]
    columns = ", ".join(quote(str(field.column)) for field in fields)
    fixed = [
        field.get_db_prep_save(value, connection)
        for field, value in zip(fields, alike.values(), strict=False)
    ]
    picked = ", ".join([*["%s"] * len(fixed), "picked.*"])
    into = quote(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {into} ({columns}) SELECT {picked} FROM ({inner}) picked", [*fixed, *parameters]
        )
        return int(cursor.rowcount)


def _stored(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    field = model._meta.get_field(name)
    if not isinstance(field, models.Field) or not field.column:
        raise TypeError(f"{model.__name__}.{name} is not stored in a column.")
    return field
