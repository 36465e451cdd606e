"""A running installation is backed up, restored elsewhere and started there: nothing leaves, all is there."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import shlex
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postroom_server.store.databases import shown
from tests.journeys.storm import (
    POSTROOM,
    Machine,
    Target,
    end,
    ended_in_any_case,
    postgres,
    until,
)
from tests.journeys.two_places import clerk, counts, held, postroom, tables_of

pytestmark = pytest.mark.journey
KINDS = ("sqlite", "postgresql")


@contextlib.contextmanager
def database(kind: str) -> Iterator[str]:
    """The DATABASE_URL of an empty database of this kind."""
    with postgres() if kind == "postgresql" else contextlib.nullcontext("") as url:
        yield url


@pytest.fixture(params=KINDS)
def original(request: pytest.FixtureRequest, tmp_path: Path, target: Target) -> Iterator[Machine]:
    """An installation with everything in it, whose keys lie in its folder."""
    with database(request.param) as url:
        settings = {
            "DATABASE_URL": url,
            "RELAY_URL": f"smtp://127.0.0.1:{target.port}",
            "POSTROOM_SECRET_KEY": "",
        }
        machine = Machine(tmp_path / "original", settings)
        clerk(machine, "fill", "demo")
        with ended_in_any_case(machine):
            yield machine


def beside(original: Machine, folder: Path, url: str) -> Machine:
    """Another place for it, told the same instance id: that it is a copy has to be known all the same."""
    relay = original.env["RELAY_URL"]
    return Machine(folder, {"DATABASE_URL": url, "RELAY_URL": relay, "POSTROOM_SECRET_KEY": ""})


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_a_running_installation_has_all_of_it_and_sends_nothing(
    original: Machine, target: Target, tmp_path: Path, kind: str
) -> None:
    tables = tables_of(original)
    original.start(is_awaited=True)
    until(lambda: target.count >= 3, what="3 mails taken")
    made = postroom(
        original, "backup", str(tmp_path / "a.tar.gz"), "--keys", str(tmp_path / "key"), "--json"
    ).json
    until(lambda: target.count >= 20 and tables.waiting() == 0, what="all mails taken")
    original.kill()
    taken = target.count
    with database(kind) as url, ended_in_any_case(copy := beside(original, tmp_path / "copy", url)):
        copy.folder.rmdir()
        arguments = ["--database", url] if url else []
        ran = postroom(
            copy, "restore", str(tmp_path / "a.tar.gz"), "--data", str(copy.folder), *arguments,
            "--keys", str(tmp_path / "key"), "--json",
        )  # fmt: skip
        assert ran.json["is_capturing"] is True
        assert ran.json["row_count"] == made["row_count"]
        assert ran.json["file_count"] == made["file_count"] == 2
        assert held(copy.folder) == {"secret.key", "storage"} | (set() if url else {"postroom.sqlite3"})
        waiting = tables_of(copy).waiting()
        copy.start(is_awaited=True)
        assert "Capture mode is on because this looks like a copy" in copy.log.read_text()
        until(lambda: not tables_of(copy).waiting(), what="what waited is captured")
        assert clerk(copy, "files") == clerk(original, "files")
        assert clerk(copy, "login", "olga@demo.example") is True
        assert clerk(copy, "sealed") == "s3cret"
        captured = "SELECT COUNT(*) FROM postroom_email WHERE cancelled_because = 'captured'"
        failed = "SELECT COUNT(*) FROM postroom_email WHERE failure_kind = 'uncertain'"
        assert tables_of(copy).number(captured) + tables_of(copy).number(failed) >= min(waiting, 1)
        assert target.count == taken, "the copy sent something"
        assert postroom(copy, "capture", "off", "--json").json["levels"] == []
        copy.stop()
        copy.start(is_awaited=True)
        assert "Capture mode" not in copy.log.read_text(), "it was declared the original"


def test_a_backup_that_is_restored_and_backed_up_again_holds_the_same(
    original: Machine, tmp_path: Path
) -> None:
    first, second = str(tmp_path / "a.tar"), str(tmp_path / "b.tar.gz")
    assert postroom(original, "backup", first, "--with-keys", "--json").json["keys"] == "inside"
    other = "sqlite" if original.env["DATABASE_URL"] else "postgresql"
    with database(other) as url:
        copy = beside(original, tmp_path / "copy", url)
        arguments = ["--database", url] if url else []
        assert postroom(copy, "restore", first, "--data", str(copy.folder), *arguments).code == 0
        assert counts(tables_of(copy)) == counts(tables_of(original))
        assert postroom(copy, "backup", second, "--json").code == 0
    contents = [_contents(tmp_path / name) for name in ("a.tar", "b.tar.gz")]
    for each in contents:
        del each["postroom_installation"]
    assert contents[0] == contents[1], "a row came out differently, or its number may be given again"


@pytest.mark.parametrize("kind", KINDS)
def test_a_backup_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path, kind: str) -> None:
    keys = {"DATABASE_URL": "", "POSTROOM_SECRET_KEY": ""}
    earlier = Machine(tmp_path / "earlier", keys)
    rows = clerk(earlier, "earlier_backup", str(tmp_path / "a.tar"))
    with database(kind) as url:
        copy = Machine(tmp_path / "copy", {**keys, "DATABASE_URL": url})
        arguments = ["--database", url] if url else []
        key = str(earlier.folder / "secret.key")
        done = postroom(
            copy,
            "restore",
            str(tmp_path / "a.tar"),
            "--data",
            str(copy.folder),
            *arguments,
            "--keys",
            key,
            "--json",
        )
        assert done.json["row_count"] == rows
        assert (
            tables_of(copy).number("SELECT COUNT(*) FROM postroom_lane WHERE released_until IS NOT NULL") == 1
        )
        assert postroom(copy, "workspace", "list", "--json").json["data"][0]["slug"] == "demo"
        assert postroom(copy, "capture", "status", "--json").json["reason"] == "copy"


def test_a_backup_of_a_newer_version_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "original", {"DATABASE_URL": "", "POSTROOM_SECRET_KEY": ""})
    clerk(machine, "fill", "demo")
    later = (
        "INSERT INTO django_migrations (app, name, applied) VALUES ('postroom', '0999_later', '2030-01-01')"
    )
    tables_of(machine).rows(later)
    refused = postroom(machine, "backup", str(tmp_path / "a.tar"))
    assert refused.code == 1
    assert "of a newer version of Postroom" in refused.err
    assert held(tmp_path) == {"original"}


def _contents(path: Path) -> dict[str, list[object]]:
    with tarfile.open(path) as tar:
        file = tar.extractfile("manifest.json")
        assert file is not None
        return dict(json.load(file)["contents"])


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.5])
def test_killed_in_the_middle_neither_backup_nor_restore_leaves_anything_that_can_be_used(
    original: Machine, tmp_path: Path, seconds: float
) -> None:
    _make_large(original)
    folder = tmp_path / "backups"
    folder.mkdir()
    name = str(folder / "a.tar.gz")
    _killed(original, lambda: bool(held(folder)), seconds, "backup", name, "--with-keys")
    assert "a.tar.gz" not in held(folder)
    assert postroom(original, "backup", name, "--with-keys").code == 0
    assert held(folder) == {"a.tar.gz"}, "what was left behind is gone"

    with database("postgresql" if original.env["DATABASE_URL"] else "sqlite") as url:
        copy = beside(original, tmp_path / "copy", url)
        arguments = ["restore", name, "--data", str(copy.folder), *(["--database", url] if url else [])]
        mark = copy.folder / ".restoring" / "secret.key"
        _killed(copy, mark.exists, seconds, *arguments)
        if ".restoring" in held(copy.folder):
            refused = postroom(copy, "up")
            assert refused.code == 1
            assert "has not come to its end" in refused.err
        ran = postroom(copy, *arguments)
        assert ran.code == 0, ran.err
        assert counts(tables_of(copy)) == counts(tables_of(original))
        assert ".restoring" not in held(copy.folder)


def _make_large(machine: Machine) -> None:
    """So many rows that a copy of them takes a while."""
    tables_of(machine).rows(
        "INSERT INTO postroom_address (workspace_id, addr_spec, bounce_score)"
        " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)"
        " SELECT 1, 'many' || i || '@example.org', 0 FROM n"
    )


def _killed(machine: Machine, is_begun: Callable[[], object], seconds: float, *arguments: str) -> None:
    """Start a command and kill it that long after it has begun to write."""
    run = subprocess.Popen([*POSTROOM, *arguments], env=machine.env, stderr=subprocess.DEVNULL, text=True)
    until(is_begun, what="it writes")
    time.sleep(seconds * random.random() if seconds else 0)
    end(run)
    assert run.returncode in (-signal.SIGKILL, 0)


def test_a_restore_that_ended_in_the_middle_begins_anew_and_a_refused_one_leaves_nothing(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path / "original", {"DATABASE_URL": "", "POSTROOM_SECRET_KEY": ""})
    clerk(machine, "fill", "demo")
    good, forged = str(tmp_path / "a.tar"), str(tmp_path / "b.tar")
    assert postroom(machine, "backup", good, "--with-keys").code == 0
    _without_installation(Path(good), Path(forged))
    with postgres() as url:
        copy = Machine(tmp_path / "copy", {"DATABASE_URL": url, "POSTROOM_SECRET_KEY": ""})
        arguments = ["--data", str(copy.folder), "--database", url]
        names = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        refused = postroom(copy, "restore", forged, *arguments)
        assert refused.code == 1
        assert "does not say which installation it is of" in refused.err
        assert tables_of(copy).rows(names) == []
        assert held(copy.folder) == set()

        assert postroom(copy, "restore", good, *arguments).code == 0
        assert ("postroom_restoring",) not in tables_of(copy).rows(names)
        full = postroom(copy, "restore", good, "--data", str(tmp_path / "other"), "--database", url)
        assert "is not empty" in full.err

        # as it is when the restore is killed after its commit, before it takes the folder over
        tables_of(copy).rows("CREATE TABLE postroom_restoring (folder TEXT)")
        tables_of(copy).rows(f"INSERT INTO postroom_restoring VALUES ('{copy.folder}')")
        for name in held(copy.folder):
            (copy.folder / name).rename(tmp_path / name)
        foreign = postroom(copy, "restore", good, "--data", str(tmp_path / "other"), "--database", url)
        assert foreign.code == 1
        assert f"run it once more with --data {copy.folder}" in foreign.err
        assert tables_of(copy).number("SELECT COUNT(*) FROM postroom_email") == 20
        ran = postroom(copy, "restore", good, *arguments, "--json")
        assert ran.json["is_capturing"] is True
        assert counts(tables_of(copy)) == counts(tables_of(machine))


def test_what_a_restore_says_to_type_starts_it(tmp_path: Path, target: Target) -> None:
    relay = f"smtp://127.0.0.1:{target.port}"
    settings = {"DATABASE_URL": "", "POSTROOM_SECRET_KEY": "", "RELAY_URL": relay}
    machine = Machine(tmp_path / "original", settings)
    clerk(machine, "fill", "demo")
    assert postroom(machine, "backup", str(tmp_path / "a.tar"), "--with-keys").code == 0
    with postgres() as url:
        folder = tmp_path / "the copy"
        ran = postroom(machine, "restore", str(tmp_path / "a.tar"), "--data", str(folder), "--database", url)
        assert ran.code == 0, ran.err
        told = f"DATABASE_URL={shlex.quote(shown(url))} POSTROOM_DATA='{folder}'"
        assert [line.strip() for line in ran.out.splitlines() if line.startswith("  ")] == [
            f"{told} postroom up",
            f"{told} POSTROOM_HTTP=127.0.0.1:8081 POSTROOM_SMTP=127.0.0.1:2535 postroom up",
            f"{told} postroom capture off",
        ]
        said = shlex.split(told.replace(shown(url), url))
        off = postroom(machine, "capture", "off", **dict(each.split("=", 1) for each in said))
        assert off.code == 0, off.err
        installation = "SELECT COUNT(*) FROM postroom_installation WHERE capturing_since IS NULL"
        assert tables_of(Machine(folder, {"DATABASE_URL": url})).number(installation) == 1


def _without_installation(good: Path, forged: Path) -> None:
    """The same backup, whole by its manifest, without the row that says which installation it is of."""
    with tarfile.open(good) as tar, tarfile.open(forged, "w") as new:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            octets = file.read()
            if member.name.startswith("rows/postroom_installation/"):
                left_out = member.name
                continue
            if member.name == "manifest.json":
                said = json.loads(octets)
                del said["members"][left_out]
                said["contents"]["postroom_installation"] = [0, hashlib.sha256(b"").hexdigest(), 1]
                octets = json.dumps(said).encode()
            member.size = len(octets)
            new.addfile(member, io.BytesIO(octets))
