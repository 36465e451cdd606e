"""Every table is copied, and every column has a neutral kind."""

from __future__ import annotations

import pytest
from django.apps import apps

from postroom_server.store import tables
from postroom_server.store.tables import Table
from postroom_server.store.workspace_moving import condition_for

#: What belongs to the installation, and not to one of its workspaces.
OF_THE_INSTALLATION = {"Installation", "Counter", "Sample"}
MODELS = tables.lasting_models()


def test_every_table_is_copied_but_those_that_say_what_runs_now() -> None:
    every = {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
    assert every - {table.name for table in tables.tables()} == {"postroom_station"}


@pytest.mark.parametrize("table", tables.tables(), ids=lambda table: table.name)
def test_a_table_in_a_backup_is_the_table_again(table: Table) -> None:
    assert Table.of_json(table.as_json()) == table
    assert any(column.name == table.key for column in table.columns)


@pytest.mark.parametrize(
    "model", [m for m in MODELS if m._meta.app_label == "postroom"], ids=lambda model: model.__name__
)
def test_every_table_of_ours_moves_with_a_workspace_or_belongs_to_the_installation(model: type) -> None:
    assert bool(condition_for(model, 7)) == (model.__name__ not in OF_THE_INSTALLATION)
