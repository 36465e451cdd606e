"""INSERT … SELECT through the ORM: rows go from table to table and never travel through Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connections, models, router
from django.db.models.expressions import Combinable
from django.db.models.query import QuerySet


def insert_selected(model: type[models.Model], rows: QuerySet[Any], values: Mapping[str, Combinable]) -> int:
    """Write one row of `model` for each of `rows`, its fields worked out by `values`; the count is returned.

    Fields not named get their default in the database, so each of them needs one.
    """
    connection = connections[router.db_for_write(model)]
    named = {f"into_{field}": expression for field, expression in values.items()}
    select = rows.order_by().annotate(**named).values_list(*named)
    sql, parameters = select.query.get_compiler(connection=connection).as_sql()
    quote = connection.ops.quote_name
    columns = ", ".join(quote(_column(model, field)) for field in values)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {quote(model._meta.db_table)} ({columns}) {sql}", parameters)
        return int(cursor.rowcount)


def _column(model: type[models.Model], field_name: str) -> str:
    field = model._meta.get_field(field_name)
    if not isinstance(field, models.Field) or field.column is None:
        raise TypeError(f"{model.__name__}.{field_name} is not stored in a column.")
    return field.column
