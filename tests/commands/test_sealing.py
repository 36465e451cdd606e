"""`postroom secret …`: a new key, and what still needs the old ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postroom.engine.bells import FolderBell
from postroom.outgoing.models import MailServer
from postroom.workspaces import key_ring
from postroom_server import config as configuration
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


def test_a_rotation_says_what_other_machines_need(postroom: Postroom) -> None:
    said = postroom("secret", "rotate").out
    assert "1 secrets were sealed anew with key 2" in said
    assert "Other machines on this database need the same secret.key" in said
    status = postroom("secret", "status").out
    assert "It seals nothing any more, but it signed" in status
    assert "mail.attachment.link_days), reply addresses and unfollow links (for ever)" in status


@pytest.fixture
def running() -> Iterator[None]:
    """An engine on the data folder."""
    bell = FolderBell(CONFIG.data)
    bell.claim()
    yield
    asyncio.run(bell.close())


@pytest.fixture
def started_before(settings: Any) -> Any:
    """A process that read the keys before the test began."""
    before = keys.load_or_make(CONFIG)
    for name, value in {**keys.settings_of(before), "POSTROOM_READ_KEYS": keys.Rereader(before)}.items():
        setattr(settings, name, value)
    return settings


@pytest.mark.usefixtures("running")
def test_a_rotation_takes_no_password_away_from_a_running_postroom(
    postroom: Postroom, started_before: Any, same_keys_afterwards: Path
) -> None:
    old = MailServer.objects.get(name="Acme")
    rotated = postroom("secret", "rotate", "--json").json
    assert (rotated["number"], rotated["resealed_count"], rotated["is_finished"]) == (2, 1, True)
    assert len(started_before.POSTROOM_SEALING_KEYS) == 1  # it has not looked yet
    assert MailServer.objects.get(name="Acme").password == old.password == "s3cret"
    assert sorted(started_before.POSTROOM_TOKEN_KEYS) == [1, 2]
    assert same_keys_afterwards.read_text("ascii").count("\n") == 2


def test_a_lost_or_broken_key_file_takes_no_key_from_a_running_postroom(
    started_before: Any, same_keys_afterwards: Path
) -> None:
    for text in ("", "1:short"):
        same_keys_afterwards.write_text(text)
        assert not key_ring.look_again()
    same_keys_afterwards.unlink()
    assert not key_ring.look_again()
    assert not same_keys_afterwards.exists()
    assert MailServer.objects.get(name="Acme").password == "s3cret"


@pytest.mark.usefixtures("running")
def test_reseal_waits_for_a_restart_where_the_keys_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = "1:" + "a" * 64, "2:" + "b" * 64
    started, now = [configuration.load({"POSTROOM_SECRET_KEY": text}) for text in (one, f"{one},{two}")]
    monkeypatch.setattr(configuration.Config, "data", CONFIG.data)
    keys.note_start(started, keys.parse(one))
    keys.refuse_if_unknown_to_engine(started, keys.parse(one))
    with pytest.raises(configuration.ConfigError, match="Restart first"):
        keys.refuse_if_unknown_to_engine(now, keys.parse(f"{one},{two}"))
    (CONFIG.data / keys.STARTED_NAME).unlink()


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
