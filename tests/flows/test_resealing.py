"""After a new key every secret of every table is sealed with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from postroom.flows import resealing
from postroom.outgoing.models import MailServer
from postroom.workspaces import sealed
from postroom.workspaces.models import DkimKey, MailDomain
from postroom.workspaces.sealed import SealedField
from tests.people import Cast

pytestmark = pytest.mark.django_db
KEYS = {number: bytes([number]) * 32 for number in (1, 2)}
OLD, BOTH = {1: KEYS[1]}, {2: KEYS[2], 1: KEYS[1]}


@pytest.fixture(autouse=True)
def old_key(settings: Any, people: Cast) -> Any:
    """Seven servers and a DKIM key, sealed with key 1."""
    settings.POSTROOM_SEALING_KEYS = [KEYS[1]]
    for number in range(7):
        name = f"s{number}"
        MailServer.objects.create(workspace=people.workspace, name=name, password=f"p{number}", oauth="{}")
    domain = MailDomain.objects.get()
    DkimKey.objects.create(workspace=people.workspace, mail_domain=domain, selector="s", private="PEM")
    return settings


def passwords() -> list[str]:
    return list(MailServer.objects.exclude(name="relay").order_by("pk").values_list("password", flat=True))


def test_every_secret_is_sealed_anew_and_opens_with_the_new_key_alone(
    old_key: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "GROUP", 3)
    assert resealing.reseal(BOTH) == resealing.Resealed(15, 0, 0)
    old_key.POSTROOM_SEALING_KEYS = [KEYS[2]]
    assert passwords() == [f"p{number}" for number in range(7)]
    assert DkimKey.objects.get().private == "PEM"


def test_it_can_be_interrupted_and_repeated(old_key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resealing, "GROUP", 3)
    known, calls = sealed.reseal, list[str]()

    def cut_off(text: str, keys: Mapping[int, bytes]) -> str:
        calls.append(text)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return known(text, keys)

    monkeypatch.setattr(sealed, "reseal", cut_off)
    with pytest.raises(KeyboardInterrupt):
        resealing.reseal(BOTH)
    old_key.POSTROOM_SEALING_KEYS = [KEYS[2], KEYS[1]]
    assert passwords() == [f"p{number}" for number in range(7)]
    assert resealing.counts(BOTH) == {1: 11, 2: 4}  # the DKIM key and the first three passwords
    monkeypatch.setattr(sealed, "reseal", known)
    assert resealing.reseal(BOTH) == resealing.Resealed(11, 4, 0)
    assert resealing.reseal(BOTH) == resealing.Resealed(0, 15, 0)


def test_it_is_counted_which_key_seals_what(people: Cast) -> None:
    assert resealing.counts(BOTH) == {1: 15, 2: 0}
    resealing.reseal(BOTH)
    assert resealing.counts(BOTH) == {1: 0, 2: 15}


def test_a_secret_that_no_key_opens_is_counted_and_left_alone(people: Cast) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE postroom_mailserver SET oauth = 'of a key that is gone' WHERE name = 's3'")
    assert resealing.reseal(BOTH) == resealing.Resealed(14, 0, 1)
    assert resealing.counts(BOTH) == {1: 0, 2: 14, resealing.UNOPENED: 1}
    with connection.cursor() as cursor:
        cursor.execute("SELECT oauth FROM postroom_mailserver WHERE name = 's3'")
        assert cursor.fetchone() == ("of a key that is gone",)


def test_a_secret_entered_meanwhile_is_not_overwritten(old_key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    known = sealed.reseal

    def overtaken(text: str, keys: Mapping[int, bytes]) -> str:
        MailServer.objects.filter(name="s0").update(password="entered just now")
        return known(text, keys)

    monkeypatch.setattr(sealed, "reseal", overtaken)
    resealing.reseal(BOTH)
    old_key.POSTROOM_SEALING_KEYS = [KEYS[2], KEYS[1]]
    assert passwords()[0] == "entered just now"


def test_every_model_with_a_sealed_field_is_found() -> None:
    named = {
        (model, field.name)
        for model in apps.get_models()
        for field in model._meta.get_fields()
        if isinstance(field, SealedField)
    }
    assert {(column.model, column.name) for column in resealing._columns()} == named
    assert (MailServer, "client_key") in named
