"""What arrived at the built-in target."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from postroom.smtp.target_store import TargetStore
from postroom.web.context import target_url
from tests.people import Cast

LETTER = (
    b"From: a@example.org\r\nTo: ben@example.org\r\nSubject: =?utf-8?q?L=C4=83mpi?=\r\n"
    b'Content-Type: text/html; charset=utf-8\r\n\r\n<p onclick="x()">Monday</p>\r\n'
)


def _arrive(folder: Path) -> None:
    store = TargetStore(folder / "target")
    store.add(
        received_at=datetime(2026, 3, 1, tzinfo=UTC),
        reverse_path="bounce+x@demo.postroom.localhost",
        forward_path="ben@example.org",
        octets=LETTER,
    )
    store.close()


def test_mails_are_listed_and_searched_by_recipient(data_folder: Path, people: Cast, as_olga: Client) -> None:
    """With their subjects in plain letters."""
    _arrive(data_folder)
    assert "Lămpi" in as_olga.get(reverse("target")).content.decode()
    assert "Nothing has arrived" in as_olga.get("/target?address=nobody@example.org").content.decode()


def test_a_mail_is_shown_in_a_sandbox(data_folder: Path, people: Cast, as_olga: Client) -> None:
    """It has a page of its own that runs and loads nothing, but may use its own style."""
    _arrive(data_folder)
    page = as_olga.get(reverse("target_mail", args=["1"])).content.decode()
    path = reverse("target_mail_html", args=["1"])
    assert f'<iframe sandbox src="{path}"' in page
    assert "Subject: =?utf-8?q?L=C4=83mpi?=" in page
    alone = as_olga.get(path)
    assert "Monday" in alone.content.decode()
    policy = alone.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'; style-src 'unsafe-inline';")
    assert "script-src" not in policy
    assert alone.headers["X-Frame-Options"] == "SAMEORIGIN"


def test_a_mail_that_is_not_there_is_not_there(data_folder: Path, people: Cast, as_olga: Client) -> None:
    """Nor is a target without a folder."""
    assert as_olga.get(reverse("target")).status_code == 404
    _arrive(data_folder)
    for number in ("2", "..", "x"):
        for page in ("target_mail", "target_mail_html"):
            assert as_olga.get(reverse(page, args=[number])).status_code == 404


def test_the_demo_is_only_said_where_nothing_can_leave(
    people: Cast, as_olga: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay has to be the target itself; a folder that a demo left behind is not enough."""
    for relay, is_demo in ((target_url(), True), ("smtp://mail.example.net:25", False), ("", False)):
        monkeypatch.setattr(settings, "POSTROOM_RELAY_URL", relay)
        assert ("Demo: every email goes" in as_olga.get("/").content.decode()) is is_demo
