"""What is asked and taken before anything runs."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import typer
from django.db import connection, connections

from postroom.commands import asking, demo_words, endpoints, opening, roles, serve
from postroom.commands.calling import as_called, line_for
from postroom.commands.failures import Stopped
from postroom.workspaces.models import Installation, Member, Workspace
from postroom_server import config as configuration


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_port_0_becomes_the_port_that_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTROOM_HTTP", "127.0.0.1:0")
    with endpoints.take(configuration.load(), "POSTROOM_HTTP") as taken:
        assert os.environ["POSTROOM_HTTP"] == f"127.0.0.1:{taken.getsockname()[1]}"
        assert configuration.load().endpoint("POSTROOM_HTTP") == taken.getsockname()


def test_an_address_that_is_taken_names_its_setting(monkeypatch: pytest.MonkeyPatch, listening: str) -> None:
    monkeypatch.setenv("POSTROOM_SMTP", listening)
    with pytest.raises(Stopped, match=r"is taken by another program\. Choose another with POSTROOM_SMTP"):
        endpoints.find(configuration.load(), "POSTROOM_SMTP")


def test_of_two_parts_that_start_at_once_on_one_address_the_second_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing else tells them apart before they say that they are ready."""
    monkeypatch.setenv("POSTROOM_HTTP", "127.0.0.1:0")
    told = pytest.raises(Stopped, match=r"is taken by .* a POSTROOM_HTTP and a POSTROOM_SMTP of its own")
    with endpoints.take(configuration.load(), "POSTROOM_HTTP"), told:
        endpoints.take(configuration.load(), "POSTROOM_HTTP")


def test_the_port_suggested_is_not_one_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTROOM_SMTP", "127.0.0.1:2525")
    monkeypatch.setenv("POSTROOM_TARGET", "127.0.0.1:2527")
    taken = OSError(errno.EADDRINUSE, "taken")
    said = str(endpoints.cannot_listen("POSTROOM_SMTP", "127.0.0.1", 2525, taken))
    assert "for example POSTROOM_SMTP=127.0.0.1:2528." in said  # 2526 is the target's default


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"UV": "/usr/bin/uv"}, "uv run postroom queue list"),
        ({"PATH": "/nowhere"}, ".venv/bin/postroom queue list"),
        ({"UV": "/usr/bin/uv", "POSTROOM_DATA": "a b"}, "POSTROOM_DATA='a b' uv run postroom queue list"),
    ],
)
def test_what_is_suggested_can_be_pasted(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], line: str
) -> None:
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.delenv("POSTROOM_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", [".venv/bin/postroom", "demo"])
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert line_for("queue list") == line


def test_what_a_refusal_tells_to_start_is_called_as_this_process_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("POSTROOM_DATA", raising=False)
    monkeypatch.setenv("UV", "/usr/bin/uv")
    told = "Start `uv run postroom up` once, in postroom's folder."
    assert as_called("Start `postroom up` once, in postroom's folder.") == told
    assert as_called(told) == told


@pytest.mark.parametrize("role", ["web", "smtp", "worker"])
def test_every_part_says_that_there_is_no_workspace_yet(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever starts first, its operator reads what to do."""
    said: list[str] = []
    for name in ("take_endpoints", "engine_of", "make_ready"):
        monkeypatch.setattr(serve, name, lambda *_: configuration.load())
    monkeypatch.setattr(endpoints, "find", lambda *_: None)
    monkeypatch.setattr(roles, "_load", lambda _: configuration.load())
    monkeypatch.setattr(serve, "say_no_workspace", lambda: said.append("no workspace"))
    monkeypatch.setattr(serve, "run", lambda *_, **__: said.append("runs"))
    roles.worker(has_http=False) if role == "worker" else getattr(roles, role)()
    assert said == ["no workspace", "runs"]


def test_an_address_of_another_machine_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTROOM_SMTP", "192.0.2.1:2525")
    with pytest.raises(Stopped, match="is not an address of this machine"):
        endpoints.find(configuration.load(), "POSTROOM_SMTP")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Casa Verde S.A.", "casa-verde-s-a"),
        ("Librăria Țară", "libraria-tara"),
        ("東京", "main"),
        ("-" * 60, "main"),
        ("a" * 60, "a" * 40),
    ],
)
def test_a_short_name_is_made_from_the_name(name: str, slug: str) -> None:
    assert asking.slug_of(name) == slug


@pytest.mark.django_db
def test_the_first_start_asks_only_for_the_wrong_answer_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter(["Casa", "no address", "mia@casa.example", "short", "correct horse"])
    asked: list[str] = []

    def prompt(question: str, **_: object) -> str:
        asked.append(question.split()[0])
        return next(answers)

    monkeypatch.setattr(typer, "prompt", prompt)
    asking.ask_for_workspace()
    assert asked == ["Name", "Address", "Address", "Password", "Password"]
    assert Workspace.objects.get().slug == "casa"
    assert Member.objects.get().user.check_password("correct horse")
    assert "Log in as mia@casa.example" in capsys.readouterr().out


def test_the_demo_writes_to_nobody_who_could_exist() -> None:
    people = [address for scene in demo_words.SCENES for _, address in scene.followers]
    assert all(address.endswith((".example", "@example.org", "@example.com")) for address in people)


@pytest.mark.django_db
def test_a_copy_is_said_to_capture_where_its_start_is_watched(caplog: pytest.LogCaptureFixture) -> None:
    serve.say_capture(Installation(capturing_since=datetime(2026, 11, 21, tzinfo=UTC), capture_reason="copy"))
    assert "looks like a copy of another installation: nothing leaves" in caplog.text
    assert "postroom capture off" in caplog.text


def test_an_installation_that_mails_has_nothing_to_say(caplog: pytest.LogCaptureFixture) -> None:
    serve.say_capture(Installation(capturing_since=None))
    assert caplog.text == ""


@pytest.mark.django_db(transaction=True)
def test_of_two_machines_that_start_at_once_one_waits_until_the_other_has_made_the_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("on SQLite the lock of the data folder keeps a second one away")
    made: list[str] = []
    monkeypatch.setattr("django.core.management.call_command", lambda *_, **__: made.append("here"))

    def start() -> None:
        opening.make_tables()
        connections.close_all()

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [opening.TABLES_LOCK])
        other = threading.Thread(target=start)
        other.start()
        other.join(0.3)
        assert (other.is_alive(), made) == (True, [])
        cursor.execute("SELECT pg_advisory_unlock(%s)", [opening.TABLES_LOCK])
    other.join(10)
    assert (other.is_alive(), made) == (False, ["here"])
