"""`postroom server …`: set up without a secret on the command line, changed, archived, tried."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from postroom.outgoing.models import MailServer
from tests.commands.conftest import Postroom, Ran
from tests.commands.schema_check import problems
from tests.commands.test_shapes import schema_of
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db
ADD = ("server", "add", "Acme", "--host", "smtp.acme.example", "--from", "acme.example")


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("s3cret word\nsecond line\n")
    return path


def fits(ran: Ran, command: str) -> bool:
    assert list(problems(ran.json, schema_of(command))) == []
    return True


def test_a_server_is_added_listed_changed_and_archived(postroom: Postroom, people: Cast) -> None:
    added = postroom(*ADD, "--json")
    assert fits(added, "server add")
    assert (added.json["port"], added.json["from_filter"]) == (587, "acme.example")
    named = added.json["id"]
    assert fits(postroom("server", "list", "--json"), "server list")
    assert [row["is_shared"] for row in postroom("server", "list", "--json").json["data"]] == [True, False]
    assert fits(postroom("server", "show", "acme", "--json"), "server show")
    changed = postroom("server", "change", named, "--encryption", "tls", "--per-minute", "30", "--json")
    assert fits(changed, "server change")
    assert (changed.json["port"], changed.json["limit_per_minute"]) == (465, 30)
    assert (changed.json["host"], changed.json["from_filter"]) == ("smtp.acme.example", "acme.example")
    none = postroom("server", "change", named, "--per-minute", "none", "--json")
    assert none.json["limit_per_minute"] is None
    for verb, state in (("archive", "archived"), ("unarchive", "in_use")):
        ran = postroom("server", verb, named, "--json")
        assert fits(ran, f"server {verb}")
        assert ran.json["state"] == state
    removed = postroom("server", "remove", named, "--json")
    assert fits(removed, "server remove")
    assert not MailServer.objects.filter(name=removed.json["name"]).exists()


def test_a_password_comes_from_a_file_or_stdin_and_is_never_printed(
    postroom: Postroom, people: Cast, password: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = postroom(*ADD, "--user", "ana", "--password-file", str(password))
    server = MailServer.objects.get(name="Acme")
    assert server.password == "s3cret word"
    monkeypatch.setattr(sys, "stdin", io.StringIO("from stdin\n"))
    changed = postroom("server", "change", "Acme", "--password")
    server.refresh_from_db()
    assert server.password == "from stdin"
    shown = postroom("server", "show", "Acme")
    printed = "".join(ran.out + ran.err for ran in (added, changed, shown))
    assert "s3cret" not in printed
    assert "from stdin" not in printed
    assert "has password            yes" in shown.out


def test_no_option_takes_a_secret_on_the_command_line(postroom: Postroom, people: Cast) -> None:
    assert postroom(*ADD, "--password", "s3cret").exit_code == 2
    assert not MailServer.objects.filter(name="Acme").exists()


def test_an_oauth_access_comes_from_a_file(postroom: Postroom, people: Cast, tmp_path: Path) -> None:
    file = tmp_path / "oauth.json"
    file.write_text('{"refresh_token": "r"}')
    assert postroom(*ADD, "--user", "ana", "--oauth-file", str(file)).exit_code == 0
    stored = MailServer.objects.get(name="Acme")
    assert (stored.authentication, stored.oauth) == ("xoauth2", '{"refresh_token": "r"}')


def test_a_personal_server_belongs_to_a_member(postroom: Postroom, people: Cast) -> None:
    added = postroom(*ADD, "--personal", "ana@demo.example", "--json")
    assert added.json["owner"] == "ana@demo.example"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("server", "show", "srv_999"), 1, "postroom server list"),
        (("server", "change", "relay", "--per-minute", "few"), 2, "none for no limit"),
        (("server", "add", "Acme", "--host", "smtp://x"), 1, "like smtp.example.com"),
        (("server", "add", "Acme", "--host", "x.example", "--from", "nonsense"), 1, "“nonsense”"),
        (("server", "archive", "relay"), 1, "RELAY_URL"),
        (("server", "add", "Acme", "--host", "x.example", "--password-file", "/nowhere"), 1, "/nowhere"),
    ],
)
def test_what_cannot_be_done_says_why(
    postroom: Postroom, people: Cast, arguments: tuple[str, ...], code: int, words: str
) -> None:
    ran = postroom(*arguments)
    assert (ran.exit_code, ran.out) == (code, "")
    assert words in ran.err


def test_an_empty_password_is_refused(
    postroom: Postroom, people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert "The password is empty" in postroom(*ADD, "--user", "ana", "--password").err


def test_the_server_of_a_neighbour_is_not_found(postroom: Postroom, people: Cast) -> None:
    theirs = MailServer.objects.create(workspace=cast("next").workspace, name="Theirs", host="x.example")
    ran = postroom("server", "show", f"srv_{theirs.pk}", "--workspace", "demo")
    assert (ran.exit_code, ran.out) == (1, "")


def test_a_server_that_does_not_answer_fails_the_test_and_names_the_remedy(
    postroom: Postroom, people: Cast
) -> None:
    postroom("server", "add", "Dead", "--host", "127.0.0.1", "--port", "1", "--encryption", "none")
    ran = postroom("server", "test", "Dead")
    assert ran.exit_code == 1
    assert "connect" in ran.out
    assert "The test failed" in ran.err


def test_an_account_at_a_provider_is_added_from_a_file(
    postroom: Postroom, people: Cast, tmp_path: Path
) -> None:
    told = tmp_path / "postmark.json"
    told.write_text('{"server_token": "geheim-4711"}')
    added = postroom(
        "server", "add", "Post", "--provider", "postmark", "--provider-file", str(told), "--json"
    )
    assert fits(added, "server add")
    assert (added.json["esp"], added.json["has_esp_options"]) == ("postmark", True)
    assert "geheim" not in added.out
    told.write_text("[]")
    assert "JSON object" in postroom("server", "change", "Post", "--provider-file", str(told)).err
    changed = postroom("server", "change", "Post", "--host", "smtp.acme.example", "--json")
    assert (changed.json["transport"], changed.json["esp"]) == ("smtp", None)
