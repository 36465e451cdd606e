"""What commands print with --json is what docs/reference/schemas says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from postroom.commands.schemas import schemas
from postroom.incoming.models import ReceivedEmail
from tests.commands.conftest import Postroom, Ran
from tests.commands.schema_check import problems
from tests.commands.test_line import NAMES
from tests.people import Cast

pytestmark = pytest.mark.django_db
FOLDER = Path(__file__).parents[2] / "docs" / "reference" / "schemas"
LETTER = """\
From: Carla Stan <carla@example.com>
To: admin@demo.postroom.localhost
Subject: Hello
Date: Mon, 02 Nov 2026 09:00:00 +0000
Message-ID: <hello@example.com>

Hello!
"""


def schema_of(command: str) -> dict[str, object]:
    return json.loads((FOLDER / f"{command.replace(' ', '-')}.json").read_text("utf-8"))  # type: ignore[no-any-return]


def fits(ran: Ran, command: str) -> bool:
    assert list(problems(ran.json, schema_of(command))) == []
    return True


@pytest.fixture
def letter(tmp_path: Path) -> str:
    path = tmp_path / "letter.eml"
    path.write_text(LETTER)
    return str(path)


def test_the_files_are_what_the_code_says() -> None:
    generated = {f"{command.replace(' ', '-')}.json": schema for command, schema in schemas()}
    written = {path.name: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("*.json")}
    assert written == generated, "Write them with: python -m postroom.commands.schemas docs/reference/schemas"


def test_every_command_with_json_has_a_schema() -> None:
    documented = {command for command, _ in schemas()}
    assert documented == {" ".join(words) for words in NAMES} - {"demo", "up", "web", "smtp", "worker"}


def test_the_check_sees_what_does_not_fit() -> None:
    schema = schema_of("queue retry")
    assert not list(problems({"count": 1, "left": []}, schema))
    wrongs: tuple[object, ...] = ({"count": "1"}, {}, {"count": 1, "left": [], "more": 2}, [])
    for wrong in wrongs:
        assert list(problems(wrong, schema))


def test_what_is_read(postroom: Postroom, people: Cast) -> None:
    post = ("message", "post", "--record", "sale.order/SO042", "--as", "ana@demo.example", "--body", "Hello")
    posted = postroom(*post, "--attach", __file__, "--json")
    assert fits(posted, "message post")
    for command in (
        "workspace list",
        "user list",
        "record list",
        "queue list",
        "inbound log",
        "capture status",
    ):
        assert fits(postroom(*command.split(), "--json"), command)
    for command in ("key list", "parameter list", "config show", "target list"):
        assert fits(postroom(*command.split(), "--json"), command)
    email = postroom("queue", "list", "--json").json["data"][0]["id"]
    assert fits(postroom("explain", email, "--json"), "explain")
    assert fits(postroom("explain", "550 5.1.1 User unknown", "--json"), "explain")


def test_what_is_changed(postroom: Postroom, people: Cast, letter: str) -> None:
    postroom("message", "post", "--record", "sale.order/SO042", "--body", "Hello")
    for verb in ("send-now", "cancel", "retry"):
        email = postroom("queue", "list", "--json").json["data"][0]["id"]
        assert fits(postroom("queue", verb, email, "--json"), f"queue {verb}")
    assert fits(postroom("record", "put", "a.b/1", "--title", "One", "--json"), "record put")
    assert fits(postroom("parameter", "set", "mail.retry.deadline_hours", "24", "--json"), "parameter set")
    made = postroom("key", "create", "--name", "shop", "--json")
    assert fits(made, "key create")
    assert fits(postroom("key", "revoke", made.json["id"], "--json"), "key revoke")
    to = f"admin@{people.domain.domain}"
    assert fits(
        postroom("inbound", "feed", letter, "--to", to, "--from", "carla@example.com", "--json"),
        "inbound feed",
    )
    assert fits(postroom("inbound", "log", "--json"), "inbound log")
    ReceivedEmail.objects.update(state="set_aside", attempt_count=3)
    received = f"in_{ReceivedEmail.objects.get().pk}"
    assert fits(postroom("inbound", "repost", received, "--json"), "inbound repost")
    assert ReceivedEmail.objects.filter(state="stored", attempt_count=0).count() == 1
    assert postroom("inbound", "repost", received).exit_code == 1
    for verb in ("on", "status", "off"):
        assert fits(postroom("capture", verb, "--json"), f"capture {verb}")


def test_who_comes_in(postroom: Postroom, people: Cast) -> None:
    assert fits(postroom("user", "invite", "dan@demo.example", "--name", "Dan", "--json"), "user invite")
    assert fits(postroom("user", "reset-link", "dan@demo.example", "--json"), "user reset-link")
    create = ("workspace", "create", "--name", "Casa Verde", "--admin", "mia@casa.example", "--json")
    assert fits(postroom(*create), "workspace create")
