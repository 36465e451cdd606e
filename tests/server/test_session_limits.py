"""What sessions of PostgreSQL start with."""

from __future__ import annotations

from typing import Any

import pytest

from postroom_server import settings as product


class Config(dict[str, str]):
    """A configuration on PostgreSQL."""

    has_postgres = True


def configured(monkeypatch: pytest.MonkeyPatch, url: str, listen_url: str = "") -> dict[str, Any]:
    """The options of the database under these two settings."""
    monkeypatch.setattr(product, "CONFIG", Config(DATABASE_URL=url, POSTROOM_LISTEN_URL=listen_url))
    options: dict[str, Any] = product._database()["OPTIONS"]
    return options


def test_the_server_frees_what_a_frozen_session_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    options = configured(monkeypatch, "postgresql://post@db.example/post")
    assert "-c idle_in_transaction_session_timeout=30s" in options["options"]
    assert options["connect_timeout"] == 10


def test_what_the_url_says_comes_last_and_so_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = "-c%20idle_in_transaction_session_timeout%3D90s"
    url = f"postgresql://post@db.example/post?options={theirs}&connect_timeout=3"
    options = configured(monkeypatch, url)
    assert options["options"].endswith("-c idle_in_transaction_session_timeout=90s")
    assert "-c tcp_user_timeout=30s" in options["options"]
    assert int(options["connect_timeout"]) == 3


def test_a_pooler_is_sent_none(monkeypatch: pytest.MonkeyPatch) -> None:
    options = configured(
        monkeypatch, "postgresql://post@pooler.example/post", "postgresql://post@db.example/post"
    )
    assert "options" not in options
