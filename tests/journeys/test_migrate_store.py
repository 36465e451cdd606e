"""An installation, or one workspace, moves to PostgreSQL; nothing is lost and nothing leaves twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from sqlite3 import OperationalError

import pytest

from postroom_server.store.databases import shown
from tests.journeys.storm import Machine, Target, copies_at, ended_in_any_case, judge, postgres, until
from tests.journeys.two_places import clerk, counts, postroom, tables_of

pytestmark = pytest.mark.journey


@pytest.fixture
def url() -> Iterator[str]:
    """An empty database on PostgreSQL."""
    with postgres() as url:
        yield url


@pytest.fixture
def machine(tmp_path: Path, target: Target) -> Iterator[Machine]:
    """An installation on SQLite that knows itself by where it lies."""
    relay = f"smtp://127.0.0.1:{target.port}"
    settings = {"DATABASE_URL": "", "RELAY_URL": relay, "POSTROOM_SECRET_KEY": "", "POSTROOM_INSTANCE_ID": ""}
    machine = Machine(tmp_path / "data", settings)
    with ended_in_any_case(machine):
        yield machine


def moved(machine: Machine, url: str) -> Machine:
    """The same folder, with the database it moved to."""
    return Machine(machine.folder, {**machine.env, "DATABASE_URL": url})


def test_killed_while_it_sends_and_moved_an_installation_goes_on_where_it_was(
    machine: Machine, target: Target, url: str
) -> None:
    machine.fill(urgent=300, bulk=0)
    machine.start(is_awaited=True)
    busy = postroom(machine, "migrate-store", "--to", url)
    assert busy.code == 1
    assert "runs on the data folder" in busy.err
    until(lambda: target.count >= 30, what="30 mails taken")
    machine.kill()
    before, in_hand = (
        counts(tables_of(machine)),
        tables_of(machine).number("SELECT COUNT(*) FROM postroom_email WHERE lease <> ''"),
    )

    elsewhere = machine.folder.parent / "elsewhere" / "storage"
    for narrow in (["--storage", str(elsewhere)], ["--workspace", "demo"]):
        unsettled = postroom(machine, "migrate-store", "--to", url, *narrow)
        assert unsettled.code == 1
        assert f"{in_hand} emails were being sent" in unsettled.err
        assert "up` here once, stop it with Ctrl+C, and try again" in unsettled.err
    assert not elsewhere.exists()
    looked = postroom(machine, "migrate-store", "--to", url, "--dry-run", "--json").json
    assert looked["is_dry_run"] is True
    assert tables_of(moved(machine, url)).rows("SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []
    done = postroom(machine, "migrate-store", "--to", url, "--json").json
    assert done["is_capturing"] is False
    assert done["in_hand_count"] == in_hand
    assert counts(tables_of(moved(machine, url))) == before == counts(tables_of(machine))

    refused = postroom(machine, "up")
    assert refused.code == 1
    assert "was moved to postgresql://" in refused.err
    again = moved(machine, url)
    with ended_in_any_case(again):
        again.start(is_awaited=True)
        assert "Capture mode" not in again.log.read_text()
        until(lambda: tables_of(again).waiting() == 0, 90, "all of it has left")
        judge(tables_of(again), copies_at(target), 300)

    with pytest.raises(OperationalError, match=r"was moved to postgresql://.* Set DATABASE_URL to it"):
        tables_of(machine).rows("UPDATE postroom_workspace SET name = 'Late'")
    (machine.folder / "postroom.sqlite3-moved").unlink()
    assert postroom(machine, "queue", "list", "--json").code == 0, "there is a way back"
    tables_of(machine).rows("UPDATE postroom_workspace SET name = 'Late'")


def test_what_is_not_empty_or_has_other_keys_is_left_alone(
    machine: Machine, url: str, tmp_path: Path
) -> None:
    clerk(machine, "fill", "demo")
    assert postroom(machine, "migrate-store", "--to", url, "--json").code == 0
    (machine.folder / "postroom.sqlite3-moved").unlink()
    full = postroom(machine, "migrate-store", "--to", url)
    assert full.code == 1
    assert "is not empty" in full.err
    other = Machine(tmp_path / "other", {**machine.env, "POSTROOM_DATA": str(tmp_path / "other")})
    clerk(other, "fill", "casa")
    foreign = postroom(other, "migrate-store", "--to", url, "--workspace", "casa")
    assert foreign.code == 1
    assert "secret keys here are not those of both databases" in foreign.err
    assert not (other.folder / "postroom.sqlite3-moved").exists()


def test_a_copy_that_nobody_has_noticed_yet_stays_one_when_it_is_moved(
    machine: Machine, url: str, tmp_path: Path
) -> None:
    clerk(machine, "fill", "demo")
    copy = Machine(tmp_path / "copy", {**machine.env, "POSTROOM_DATA": str(tmp_path / "copy")})
    for name in ("postroom.sqlite3", "secret.key"):
        (copy.folder / name).write_bytes((machine.folder / name).read_bytes())
    assert postroom(copy, "migrate-store", "--to", url, "--json").json["is_capturing"] is True
    status = postroom(moved(copy, url), "capture", "status", "--json").json
    assert status["reason"] == "copy"


def test_workspaces_move_one_after_the_other_and_keep_their_numbers(
    machine: Machine, target: Target, url: str, tmp_path: Path
) -> None:
    for slug in ("demo", "casa"):
        clerk(machine, "fill", slug)
    emails = "SELECT id, message_id, state FROM postroom_email WHERE workspace_id = {} ORDER BY id"
    numbers = dict(tables_of(machine).rows("SELECT slug, id FROM postroom_workspace"))
    before = {slug: tables_of(machine).rows(emails.format(number)) for slug, number in numbers.items()}
    there = moved(machine, url)
    for slug in ("demo", "casa"):
        storage = ["--storage", str(tmp_path / "storage")] if slug == "casa" else []
        done = postroom(machine, "migrate-store", "--to", url, "--workspace", slug, *storage, "--json").json
        assert done["is_capturing"] is True, "an installation that is new there begins as a copy"
        assert done["file_count"] == (2 if storage else 0)
        assert tables_of(there).rows(emails.format(numbers[slug])) == before[slug]
    twice = postroom(machine, "migrate-store", "--to", url, "--workspace", "casa")
    assert twice.code == 1
    assert "The workspace casa was moved or restored there already" in twice.err
    assert "here since then is here alone" in twice.err
    status = postroom(machine, "capture", "status", "--json").json
    assert {level["workspace"] for level in status["levels"]} == {"demo", "casa"}
    assert clerk(there, "files") == clerk(machine, "files")
    assert clerk(there, "login", "olga@casa.example") is True
    relays = tables_of(there).rows("SELECT COUNT(*) FROM postroom_mailserver WHERE workspace_id IS NULL")
    assert relays == [(1,)], "the shared relay is known by its name"
    with ended_in_any_case(there):
        there.start(is_awaited=True)
        assert target.count == 0
        assert "Capture mode is on" in there.log.read_text()


def test_another_workspace_of_that_name_is_no_move_made_before(
    machine: Machine, url: str, tmp_path: Path
) -> None:
    clerk(machine, "fill", "demo")
    key = (machine.folder / "secret.key").read_bytes()
    other = Machine(tmp_path / "other", {**machine.env, "POSTROOM_DATA": str(tmp_path / "other")})
    (other.folder / "secret.key").write_bytes(key)
    clerk(other, "fill", "demo")
    assert postroom(other, "migrate-store", "--to", url).code == 0
    foreign = postroom(machine, "migrate-store", "--to", url, "--workspace", "demo")
    assert foreign.code == 1
    assert "demo is there already, and is another workspace's" in foreign.err
    assert "name another database with --to" in foreign.err


def test_a_backup_and_a_move_count_alike_and_name_the_database(
    machine: Machine, url: str, tmp_path: Path
) -> None:
    clerk(machine, "fill", "demo")
    made = postroom(machine, "backup", str(tmp_path / "a.tar"), "--json").json
    looked = postroom(machine, "migrate-store", "--to", url, "--dry-run", "--json").json
    done = postroom(machine, "migrate-store", "--to", url, "--json").json
    assert looked["row_count"] == done["row_count"] == made["row_count"]
    assert len(looked["tables"]) == len(done["tables"]) == made["table_count"]
    assert done["target"] == shown(url)


def test_a_workspace_that_captured_here_is_said_to_capture_there(machine: Machine, url: str) -> None:
    clerk(machine, "fill", "demo")
    # as a move leaves it that was killed between the two commits
    tables_of(machine).rows("UPDATE postroom_workspace SET is_capturing = 1, capture_mode = 'all'")
    ran = postroom(machine, "migrate-store", "--to", url, "--workspace", "demo")
    assert ran.code == 0, ran.err
    assert "It captures there as well" in ran.out
    assert "`postroom capture off --workspace demo` there ends that" in ran.out


def test_another_data_folder_is_named_with_all_that_it_needs(
    machine: Machine, url: str, tmp_path: Path
) -> None:
    clerk(machine, "fill", "demo")
    tables_of(machine).rows("DELETE FROM postroom_scheduledmessage")
    tables_of(machine).rows("DELETE FROM postroom_attachment")
    ran = postroom(machine, "migrate-store", "--to", url, "--storage", str(tmp_path / "new" / "storage"))
    assert ran.code == 0, ran.err
    assert (
        f"Set POSTROOM_DATA there to {tmp_path / 'new'} and copy {machine.folder / 'secret.key'}" in ran.out
    )
    assert (tmp_path / "new" / "storage").is_dir()
