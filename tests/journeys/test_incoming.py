"""Mail comes in over a real SMTP session, answered while the sender waits."""

from __future__ import annotations

import shutil
import smtplib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.servers import Server, eventually, running

pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(shutil.which("swaks") is None, reason="swaks is missing: apt-get install swaks"),
]
DOMAIN = "main.postroom.localhost"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("incoming"), "up") as server:
        server.command(
            "workspace", "create", "--name", "Main", "--slug", "main", "--admin", "olga@main.example"
        )
        server.command(
            "record", "put", "sale.order/SO042", "--title", "Lamps", "--follower", "ben@example.org"
        )
        yield server


def swaks(server: Server, *arguments: str) -> tuple[int, str]:
    """One SMTP session; the exit code and the whole conversation."""
    ran = subprocess.run(
        ["swaks", "--server", "127.0.0.1", "--port", str(server.smtp_port), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


def conversation(server: Server) -> list[dict[str, Any]]:
    """What was said on the record, as its emails tell it."""
    return [email for email in server.json("queue", "list")["data"] if email["address"] != "ben@example.org"]


def test_a_reply_that_only_has_references_lands_in_its_conversation_and_is_told_on(up: Server) -> None:
    posted = up.json("message", "post", "--record", "sale.order/SO042", "--body", "Shall we send them?")
    headers = ("--header", f"References: {posted['message_id']}", "--header", "Subject: Re: Lamps")
    envelope = ("--from", "ben@example.org", "--to", f"someone-unknown@{DOMAIN}")
    code, said = swaks(up, *envelope, *headers, "--body", "Yes please.")
    assert code == 0, said
    [line] = eventually(lambda: up.json("inbound", "log", "--state", "posted")["data"])
    assert line["record"] == "sale.order/SO042"
    told = eventually(lambda: conversation(up))
    assert [(email["address"], email["message"]) for email in told] == [
        ("olga@main.example", line["message"])
    ]


def test_an_unknown_address_of_ours_is_refused_in_the_session_and_logged(up: Server) -> None:
    code, said = swaks(up, "--from", "ben@example.org", "--to", f"nobody-here@{DOMAIN}", "--body", "Hello")
    assert code != 0
    assert "550 5.1.1" in said
    refused = up.json("inbound", "log", "--state", "refused")["data"]
    assert [(line["forward_path"], line["reply_code"]) for line in refused] == [
        (f"nobody-here@{DOMAIN}", 550)
    ]


def test_a_foreign_domain_is_not_relayed(up: Server) -> None:
    code, said = swaks(up, "--from", "ben@example.org", "--to", "victim@elsewhere.example", "--body", "Spam")
    assert code != 0
    assert "550 5.7.1" in said


def test_a_from_of_quote_marks_costs_no_time(up: Server) -> None:
    letter = (
        "From: "
        + '"' * 60_000
        + "\r\n <ben@example.org>\r\nSubject: Quotes\r\nMessage-ID: <q@example.org>\r\n\r\nHello\r\n"
    )
    begun = time.monotonic()
    with smtplib.SMTP("127.0.0.1", up.smtp_port, timeout=30) as session:
        session.helo("mail.example.org")
        session.mail("ben@example.org")
        session.rcpt(f"admin@{DOMAIN}")
        code, _said = session.data(letter)
    assert code in (250, 550, 554)
    assert time.monotonic() - begun < 3
    assert up.get("/livez")[0] == 200


def test_the_same_mail_twice_is_posted_once(up: Server, tmp_path: Path) -> None:
    letter = tmp_path / "letter.eml"
    letter.write_text(
        f"From: Carla <carla@example.com>\nTo: admin@{DOMAIN}\nSubject: Once\n"
        "Date: Mon, 02 Nov 2026 09:00:00 +0000\nMessage-ID: <once@example.com>\n\nHello\n"
    )
    for _ in range(2):
        code, said = swaks(
            up, "--from", "carla@example.com", "--to", f"admin@{DOMAIN}", "--data", f"@{letter}"
        )
        assert code == 0, said
    lines = eventually(
        lambda: [
            line
            for line in up.json("inbound", "log")["data"]
            if line["subject"] == "Once" and line["state"] == "posted"
        ]
    )
    assert len(lines) == 1
