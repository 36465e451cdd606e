"""After a new secret key: every secret in the database is sealed anew, and it is counted what seals what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from django.apps import apps
from django.db import models, transaction
from django.db.models import F, TextField, Value
from django.db.models.functions import Cast

from postroom.workspaces import sealed as seals
from postroom.workspaces.sealed import SealBroken, SealedField, opened_by

GROUP = 100
UNOPENED = None


@dataclass(frozen=True, slots=True)
class Resealed:
    """What became of the secrets: sealed anew, already sealed with the newest key, opened by none of ours."""

    changed_count: int
    kept_count: int
    lost_count: int


@dataclass(frozen=True, slots=True)
class _Column:
    """One SealedField as it is in the table: text that nobody opens on the way."""

    model: type[models.Model]
    name: str

    def after(self, pk: int) -> list[tuple[int, str]]:
        """The next rows with a secret, in the order of ids."""
        rows = self.model._base_manager.annotate(raw=Cast(F(self.name), TextField()))
        found = rows.filter(pk__gt=pk).exclude(raw="").order_by("pk")
        return list(found.values_list("pk", "raw")[:GROUP])

    def replace(self, pk: int, before: str, after: str) -> int:
        """Store it unless somebody entered another secret meanwhile."""
        rows = self.model._base_manager.annotate(raw=Cast(F(self.name), TextField()))
        stored = Value(after, output_field=TextField())
        return rows.filter(pk=pk, raw=before).update(**{self.name: stored})


def reseal(keys: Mapping[int, bytes]) -> Resealed:
    """Seal every secret with the key of the highest number; `keys` are the sealing keys by number.

    Each group is a transaction, and what is sealed anew already is left alone: it can be interrupted and
    repeated. A secret that no key opens stays as it is and is counted.
    """
    counted: Counter[str] = Counter()
    for column in _columns():
        for group in _groups(column):
            with transaction.atomic():
                counted.update(_reseal_one(column, pk, sealed, keys) for pk, sealed in group)
    return Resealed(counted["changed"], counted["kept"], counted["lost"])


def counts(keys: Mapping[int, bytes]) -> Mapping[int | None, int]:
    """How many secrets each key seals, by its number; UNOPENED counts those that none of them opens."""
    counted: Counter[int | None] = Counter(dict.fromkeys(keys, 0))
    for column in _columns():
        for group in _groups(column):
            counted.update(opened_by(sealed, keys) for _, sealed in group)
    return counted


def _columns() -> Iterator[_Column]:
    for model in apps.get_models():
        for field in model._meta.local_concrete_fields:
            if isinstance(field, SealedField):
                yield _Column(model, field.name)


def _groups(column: _Column) -> Iterator[list[tuple[int, str]]]:
    after = 0
    while group := column.after(after):
        yield group
        after = group[-1][0]


def _reseal_one(column: _Column, pk: int, sealed: str, keys: Mapping[int, bytes]) -> str:
    if opened_by(sealed, {max(keys): keys[max(keys)]}) is not None:
        return "kept"
    try:
        return "changed" if column.replace(pk, sealed, seals.reseal(sealed, keys)) else "kept"
    except SealBroken:
        return "lost"
