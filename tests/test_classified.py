"""Every stored field says what it is about: erasure and export are worked out from that."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db.models import Model

from postroom.workspaces.classified import Classified

MODELS = [
    m
    for m in apps.get_app_config("postroom").get_models(include_auto_created=True)
    if not m._meta.auto_created
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_of_a_model_is_classified_once(model: type[Model]) -> None:
    classified: Classified = model.classified  # type: ignore[attr-defined]
    stored = [field.name for field in (*model._meta.local_fields, *model._meta.local_many_to_many)]
    assert sorted(classified.fields) == sorted(stored)


def test_all_tables_are_looked_at() -> None:
    assert {"Email", "Message", "Contact", "ReceivedEmail", "ApiKey"} <= {model.__name__ for model in MODELS}
