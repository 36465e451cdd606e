"""Which installation this is: keys that fit, and copies that mail nobody."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from postroom.workspaces import installation, stations
from postroom.workspaces.models import Installation, Station
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def first_start(data_folder: Path) -> Path:
    """A data folder in which the installation has started once."""
    installation.recognise()
    return data_folder


def test_the_same_folder_is_recognised_again(first_start: Path) -> None:
    assert installation.recognise().capturing_since is None


def test_a_cloned_data_folder_starts_in_capture_mode(
    first_start: Path, tmp_path_factory: Any, settings: Any
) -> None:
    clone = tmp_path_factory.mktemp("clone") / "data"
    shutil.copytree(first_start, clone)
    settings.POSTROOM_DATA = clone
    row = installation.recognise()
    assert row.capturing_since is not None
    assert row.capture_reason == "copy"


def test_a_folder_restored_to_the_same_place_starts_in_capture_mode(
    first_start: Path, tmp_path: Path
) -> None:
    aside = first_start.with_name("aside")
    first_start.rename(aside)  # its inodes stay in use, as those of an original do
    shutil.copytree(aside, first_start)
    assert installation.recognise().capture_reason == "copy"


def test_a_copy_stays_one_at_every_start_until_an_operator_says_otherwise(
    first_start: Path, settings: Any
) -> None:
    settings.POSTROOM_INSTANCE_ID = "elsewhere"
    since = installation.recognise().capturing_since
    assert installation.recognise().capturing_since == since is not None
    installation.stop_capture()
    assert installation.recognise().capturing_since is None


@pytest.fixture
def elsewhere(first_start: Path, settings: Any) -> Any:
    """The settings of a process on the same database from another folder, while the original runs."""
    if connection.vendor == "sqlite":
        pytest.skip("on SQLite the lock of the data folder keeps a second one away")
    stations.come(Station.Role.UP, instance=installation.instance())
    settings.POSTROOM_INSTANCE_ID = "elsewhere"
    yield settings
    stations._here = ""


def test_a_second_machine_beside_one_that_runs_is_refused_and_captures_nothing(elsewhere: Any) -> None:
    before = Installation.objects.values().get()
    with pytest.raises(installation.AnotherRuns, match=f"POSTROOM_INSTANCE_ID={before['instance']}"):
        installation.recognise()
    assert Installation.objects.values().get() == before


def test_the_name_that_the_refusal_says_makes_it_a_part_of_the_other(elsewhere: Any) -> None:
    elsewhere.POSTROOM_INSTANCE_ID = Installation.objects.get().instance
    assert installation.recognise().capturing_since is None


def test_a_copy_of_a_database_names_nobody_who_lives_and_captures(elsewhere: Any) -> None:
    Station.objects.update(seen_at=Now() - stations.GONE_AFTER)
    assert installation.recognise().capture_reason == "copy"


def test_the_parts_of_a_copy_do_not_refuse_each_other(elsewhere: Any) -> None:
    Station.objects.all().delete()
    installation.recognise()
    stations.come(Station.Role.WEB, instance="elsewhere")
    assert installation.recognise().capture_reason == "copy"


def test_the_original_starts_whoever_runs_beside_it(elsewhere: Any) -> None:
    stations.come(Station.Role.WEB, instance="elsewhere")
    elsewhere.POSTROOM_INSTANCE_ID = ""
    assert installation.recognise().capturing_since is None


def test_a_copied_file_captures_although_it_names_who_ran_on_the_original(
    first_start: Path, settings: Any
) -> None:
    if connection.vendor == "postgresql":
        pytest.skip("of SQLite's files only")
    stations.come(Station.Role.UP, instance=installation.instance())
    settings.POSTROOM_INSTANCE_ID = "elsewhere"
    assert installation.recognise().capture_reason == "copy"
    stations._here = ""


def test_a_named_installation_may_move(data_folder: Path, settings: Any, tmp_path_factory: Any) -> None:
    settings.POSTROOM_INSTANCE_ID = "head office"
    installation.recognise()
    settings.POSTROOM_DATA = tmp_path_factory.mktemp("moved")
    assert installation.recognise().capturing_since is None


def test_keys_of_another_installation_are_refused_with_the_remedy(first_start: Path, settings: Any) -> None:
    settings.POSTROOM_KEY_CHECKS = ["f" * 32]
    with pytest.raises(installation.KeysDoNotFit, match=r"secret\.key .* back into the data folder"):
        installation.recognise()
    assert Installation.objects.get().key_check != "f" * 32


def test_after_a_rotation_the_old_key_vouches_for_the_new(first_start: Path, settings: Any) -> None:
    old = settings.POSTROOM_KEY_CHECKS
    settings.POSTROOM_KEY_CHECKS = ["f" * 32, *old]
    installation.recognise()
    assert Installation.objects.get().key_check == "f" * 32


def test_a_capturing_workspace_leaves_its_neighbour_alone(people: Cast, first_start: Path) -> None:
    neighbour = cast("neighbour").workspace
    installation.start_capture(workspace=people.workspace)
    assert installation.is_capturing(people.workspace)
    assert not installation.is_capturing(neighbour)
    installation.stop_capture(workspace=people.workspace)
    assert not installation.is_capturing(people.workspace.pk)


def test_a_capturing_installation_lets_nothing_leave_anywhere(people: Cast, first_start: Path) -> None:
    installation.start_capture("by_hand")
    assert installation.is_capturing(people.workspace)


def test_a_second_reason_does_not_hide_the_first(first_start: Path) -> None:
    installation.start_capture(installation.COPY)
    installation.start_capture(installation.BY_HAND)
    assert Installation.objects.get().capture_reason == "copy"


def test_the_heartbeat_is_seen(first_start: Path) -> None:
    installation.heartbeat()
    assert Installation.objects.get().engine_seen_at is not None
