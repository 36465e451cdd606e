"""`postroom secret …`: a new key, and what still needs the old ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postroom.engine.embedded import Engine
from postroom.outgoing.models import MailServer
from postroom_server import keys
from postroom_server.settings import CONFIG
from tests.commands.conftest import Postroom, Ran
from tests.commands.schema_check import problems
from tests.commands.test_shapes import schema_of
from tests.people import Cast

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def same_keys_afterwards(people: Cast) -> Iterator[Path]:
    """The other tests of this run use the same data folder."""
    path = CONFIG.data / "secret.key"
    before = path.read_bytes()
    MailServer.objects.create(workspace=people.workspace, name="Acme", host="x.example", password="s3cret")
    yield path
    path.write_bytes(before)


def start_again(settings: Any) -> None:
    """The keys as the next start reads them."""
    settings.POSTROOM_SEALING_KEYS = list(keys.sealing_keys(keys.load_or_make(CONFIG)).values())


def fits(ran: Ran, command: str) -> bool:
    assert list(problems(ran.json, schema_of(command))) == []
    return True


def test_a_rotation_seals_everything_with_the_new_key(postroom: Postroom, settings: Any) -> None:
    rotated = postroom("secret", "rotate", "--json")
    assert fits(rotated, "secret rotate")
    assert rotated.json == {
        "number": 2,
        "is_new": True,
        "resealed_count": 1,
        "kept_count": 0,
        "lost_count": 0,
        "is_finished": True,
    }
    start_again(settings)
    assert MailServer.objects.get(name="Acme").password == "s3cret"
    shown = postroom("secret", "status", "--json")
    assert fits(shown, "secret status")
    assert shown.json["data"] == [
        {"number": 2, "sealed_count": 1, "is_newest": True, "may_be_removed": False},
        {"number": 1, "sealed_count": 0, "is_newest": False, "may_be_removed": True},
    ]


def test_a_rotation_says_that_running_servers_have_to_be_started_again(postroom: Postroom) -> None:
    said = postroom("secret", "rotate").out
    assert "1 secrets were sealed anew with key 2" in said
    assert "has to be started again" in said
    assert "Its line may go; without it bounces" in postroom("secret", "status").out


def test_while_postroom_runs_only_the_key_is_added(
    postroom: Postroom, settings: Any, same_keys_afterwards: Path
) -> None:
    engine = Engine(CONFIG.data, ())
    engine.claim_folder()
    try:
        rotated = postroom("secret", "rotate", "--json").json
    finally:
        engine._unlock()
    assert (rotated["number"], rotated["resealed_count"], rotated["is_finished"]) == (2, 0, False)
    assert MailServer.objects.get(name="Acme").password == "s3cret"  # with the keys it was started with
    assert "Still needed" in postroom("secret", "status").out
    start_again(settings)
    finished = postroom("secret", "reseal", "--json")
    assert fits(finished, "secret reseal")
    assert finished.json["resealed_count"] == 1
    assert same_keys_afterwards.read_text("ascii").count("\n") == 2


def test_add_only_leaves_the_sealing_for_later(postroom: Postroom) -> None:
    said = postroom("secret", "rotate", "--add-only").out
    assert "nothing is sealed with it yet" in said
    assert "secret reseal" in said


def test_secrets_that_no_key_opens_are_told_with_the_remedy(postroom: Postroom) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE postroom_mailserver SET password = 'of a key that is gone' WHERE name = 'Acme'"
        )
    assert "add the missing line to secret.key again" in postroom("secret", "status").out
    assert "1 could not be opened by any key" in postroom("secret", "reseal").out
