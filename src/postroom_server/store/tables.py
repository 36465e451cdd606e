"""Which tables an installation has, with the neutral kind of every column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from django.apps import apps
from django.db import models

#: What only says what runs at this moment: it means nothing in another database.
FLEETING = ("postroom.Station",)


class Kind(StrEnum):
    """What a column holds, whatever the database calls it."""

    NUMBER = "number"
    FRACTION = "fraction"
    YES_OR_NO = "yes_or_no"
    TEXT = "text"
    TIME = "time"
    DATE = "date"
    JSON = "json"
    OCTETS = "octets"


#: The first that fits decides.
_KINDS: tuple[tuple[type[models.Field[Any, Any]], Kind], ...] = (
    (models.BooleanField, Kind.YES_OR_NO),
    (models.IntegerField, Kind.NUMBER),
    (models.FloatField, Kind.FRACTION),
    (models.DateTimeField, Kind.TIME),
    (models.DateField, Kind.DATE),
    (models.JSONField, Kind.JSON),
    (models.BinaryField, Kind.OCTETS),
    (models.CharField, Kind.TEXT),
    (models.TextField, Kind.TEXT),
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its columns. `key` is its primary key; `is_numbered`: the database numbers its rows."""

    name: str
    key: str
    is_numbered: bool
    columns: tuple[Column, ...]

    @property
    def names(self) -> str:
        """The columns as a list in SQL."""
        return ", ".join(f'"{column.name}"' for column in self.columns)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of the columns, in order."""
        return tuple(column.kind for column in self.columns)

    @property
    def is_keyed_by_text(self) -> bool:
        """Does its order depend on how a database sorts text?"""
        return any(column.name == self.key and column.kind == Kind.TEXT for column in self.columns)

    def at(self, name: str) -> int:
        """The place of a column in a row."""
        return next(place for place, column in enumerate(self.columns) if column.name == name)

    def as_json(self) -> dict[str, Any]:
        """The form in a manifest."""
        return asdict(self)

    @classmethod
    def of_json(cls, form: Mapping[str, Any]) -> Table:
        """The table of a backup. Raises KeyError or ValueError for what is none."""
        columns = tuple(Column(_name(column["name"]), Kind(column["kind"])) for column in form["columns"])
        return cls(_name(form["name"]), _name(form["key"]), bool(form["is_numbered"]), columns)

    @classmethod
    def of_model(cls, model: type[models.Model]) -> Table:
        """The table of a model."""
        meta = model._meta
        columns = tuple(Column(str(field.column), kind_of(field)) for field in meta.concrete_fields)
        return cls(meta.db_table, str(meta.pk.column), isinstance(meta.pk, models.AutoField), columns)


def _name(given: object) -> str:
    """A name as our tables and columns have; anything else would be SQL of a stranger's."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", str(given)):
        raise ValueError(f"{given} names no table or column")
    return str(given)


def kind_of(field: Any) -> Kind:
    """The kind of a model's field; a reference has that of what it refers to. Raises TypeError if unknown."""
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    for field_type, kind in _KINDS:
        if isinstance(field, field_type):
            return kind
    raise TypeError(f"{field} has no neutral kind; give it one in postroom_server.store.tables")


def lasting_models() -> list[type[models.Model]]:
    """Every model whose rows are worth keeping, by table name."""
    known = apps.get_models(include_auto_created=True)
    kept = [model for model in known if model._meta.managed and model._meta.label not in FLEETING]
    return sorted(kept, key=lambda model: model._meta.db_table)


def fleeting_names() -> list[str]:
    """The tables of what is not worth keeping."""
    return [apps.get_model(label)._meta.db_table for label in FLEETING]


def tables() -> list[Table]:
    """The tables of this version, by name."""
    return [Table.of_model(model) for model in lasting_models()]


def by_name(known: Iterable[Table]) -> dict[str, Table]:
    """The same, to be looked up."""
    return {table.name: table for table in known}
