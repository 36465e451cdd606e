"""Access tokens from a provider that is played by a small web server."""

from __future__ import annotations

import gzip
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from postroom.outgoing import oauth_tokens
from postroom.outgoing.models import MailServer
from postroom.smtp.errors import RelayUnreachable
from tests.people import Cast

pytestmark = pytest.mark.django_db(transaction=True)


class Provider:
    """Answers the refresh token grant; `asked` holds what was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self.status, self.answer = 200, {"access_token": "t1", "expires_in": 3600, "token_type": "Bearer"}
        self.url = self.location = ""


@pytest.fixture
def provider() -> Iterator[Provider]:
    played = Provider()

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            octets = self.rfile.read(int(self.headers["Content-Length"]))
            played.asked.append(parse_qs(octets.decode()))
            self.send_response(played.status)
            self.send_header("Content-Type", "application/json")
            if played.location:
                self.send_header("Location", played.location)
            self.end_headers()
            self.wfile.write(json.dumps(played.answer).encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with serving(HTTPServer(("127.0.0.1", 0), Door)) as port:
        played.url = f"http://127.0.0.1:{port}/token"
        yield played


@contextmanager
def serving(server: HTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(people: Cast, provider: Provider) -> Iterator[MailServer]:
    access = {"token_url": provider.url, "client_id": "c", "client_secret": "s", "refresh_token": "r1"}
    made = MailServer.objects.create(
        workspace=people.workspace, name="mail", authentication="xoauth2", oauth=json.dumps(access)
    )
    yield made
    oauth_tokens.forget(made.pk)


def test_a_token_is_asked_for_once_and_kept(server: MailServer, provider: Provider) -> None:
    token = oauth_tokens.token_of(server)
    assert [token(), token(), token()] == ["t1"] * 3
    [asked] = provider.asked
    assert (asked["grant_type"], asked["refresh_token"]) == (["refresh_token"], ["r1"])


def test_a_token_is_asked_for_anew_a_minute_before_it_ends(server: MailServer, provider: Provider) -> None:
    provider.answer["expires_in"] = 59
    token = oauth_tokens.token_of(server)
    assert [token(), token()] == ["t1"] * 2
    assert len(provider.asked) == 2


def test_a_token_that_was_of_no_use_is_forgotten(server: MailServer, provider: Provider) -> None:
    token = oauth_tokens.token_of(server)
    token()
    oauth_tokens.forget(server.pk)
    token()
    assert len(provider.asked) == 2


def test_a_new_refresh_token_is_kept_sealed(server: MailServer, provider: Provider) -> None:
    provider.answer["refresh_token"] = "r2"
    oauth_tokens.token_of(server)()
    server.refresh_from_db()
    assert json.loads(server.oauth)["refresh_token"] == "r2"
    assert json.loads(server.oauth)["client_id"] == "c"
    oauth_tokens.token_of(server)()
    assert len(provider.asked) == 1


def test_a_refusal_names_the_remedy_and_no_secret(server: MailServer, provider: Provider) -> None:
    provider.status, provider.answer = 400, {"error": "invalid_grant", "error_description": "expired r1"}
    with pytest.raises(RelayUnreachable) as caught:
        oauth_tokens.token_of(server)()
    assert (caught.value.step, caught.value.is_permanent) == ("auth", True)
    assert "invalid_grant" in str(caught.value)
    assert "enter the new refresh token" in str(caught.value)
    assert "r1" not in str(caught.value)


@pytest.mark.parametrize("status", [500, 503])
def test_a_provider_in_trouble_is_no_permanent_failure(
    server: MailServer, provider: Provider, status: int
) -> None:
    provider.status, provider.answer = status, {}
    with pytest.raises(RelayUnreachable) as caught:
        oauth_tokens.token_of(server)()
    assert (caught.value.step, caught.value.is_permanent) == ("auth", False)


def test_an_answer_without_a_token_is_told(server: MailServer, provider: Provider) -> None:
    provider.answer = {"token_type": "Bearer"}
    with pytest.raises(RelayUnreachable, match=r"token"):
        oauth_tokens.token_of(server)()


@pytest.mark.parametrize("oauth", ["", "no json", "[]", '{"client_id": "c"}'])
def test_settings_that_are_not_complete_are_told(server: MailServer, oauth: str) -> None:
    server.oauth = oauth
    with pytest.raises(RelayUnreachable, match="needs token_url, client_id and refresh_token"):
        oauth_tokens.token_of(server)()


def test_without_the_library_the_remedy_is_named(server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "authlib.integrations.httpx_client", None)
    with pytest.raises(RelayUnreachable, match=r"postroom\[oauth\]") as caught:
        oauth_tokens.token_of(server)()
    assert caught.value.is_permanent


@contextmanager
def answering(write: Callable[[socket.socket], None]) -> Iterator[str]:
    """A provider that takes one connection after the other and writes whatever it wants."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    visitor, _ = door.accept()
                    with visitor, suppress(OSError):
                        visitor.recv(65536)
                        write(visitor)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}/token"
        door.shutdown(socket.SHUT_RDWR)


def leading_to(server: MailServer, url: str) -> Callable[[], str]:
    server.oauth = json.dumps({**json.loads(server.oauth), "token_url": url})
    return oauth_tokens.token_of(server)


def dripping(head: bytes) -> Callable[[socket.socket], None]:
    def write(visitor: socket.socket) -> None:
        visitor.sendall(head)
        for _ in range(200):
            visitor.sendall(b" ")
            time.sleep(0.05)

    return write


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Long: "])
def test_an_answer_that_drips_in_is_not_awaited_for_ever(
    server: MailServer, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setattr(oauth_tokens, "TIMEOUT_SECONDS", 0.5)
    with answering(dripping(head)) as url:
        began_at = time.monotonic()
        with pytest.raises(RelayUnreachable, match="TimeoutError"):
            leading_to(server, url)()
        assert time.monotonic() - began_at < 3


def test_no_more_is_read_of_an_answer_than_a_token_needs(server: MailServer) -> None:
    written = 0

    def endless(visitor: socket.socket) -> None:
        nonlocal written
        visitor.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        for _ in range(100):
            visitor.sendall(b" " * 1_000_000)
            written += 1

    with answering(endless) as url, pytest.raises(RelayUnreachable, match="No access token"):
        leading_to(server, url)()
    assert written < 20


def test_an_answer_that_is_packed_is_not_unpacked(server: MailServer) -> None:
    packed = gzip.compress(json.dumps({"access_token": "t1"}).encode())
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with (
        answering(lambda visitor: visitor.sendall(head + packed)) as url,
        pytest.raises(RelayUnreachable, match="No access token"),
    ):
        leading_to(server, url)()


@pytest.mark.parametrize(
    "answer",
    [
        [1],
        "text",
        None,
        {"access_token": {"a": 1}},
        {"access_token": "\ud800"},
        {"access_token": "a\r\nb"},
        {"error": "\x1b]0;x\x07\nA LINE OF ITS OWN" + "x" * 5000},
    ],
)
def test_whatever_a_provider_answers_says_in_one_short_line_that_nobody_logged_in(
    server: MailServer, provider: Provider, answer: Any
) -> None:
    provider.answer = answer
    with pytest.raises(RelayUnreachable) as caught:
        oauth_tokens.token_of(server)()
    assert caught.value.step == "auth"
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 500


@pytest.mark.parametrize("lasts", ["soon", {}, "1e999", -5])
def test_a_token_is_of_use_however_long_it_is_said_to_last(
    server: MailServer, provider: Provider, lasts: Any
) -> None:
    provider.answer = {"access_token": "t1", "expires_in": lasts}
    with suppress(RelayUnreachable):
        assert oauth_tokens.token_of(server)() == "t1"


def test_what_was_entered_meanwhile_is_not_overwritten_by_a_late_refresh(
    server: MailServer, provider: Provider
) -> None:
    token = oauth_tokens.token_of(server)
    assert server.oauth  # as it is when the drain begins
    entered = json.dumps({"token_url": "https://new.example/t", "client_id": "n", "refresh_token": "new"})
    MailServer.objects.filter(pk=server.pk).update(oauth=entered)
    provider.answer["refresh_token"] = "r2"
    assert token() == "t1"
    assert MailServer.objects.get(pk=server.pk).oauth == entered


def test_no_provider_in_our_own_network_is_asked(
    server: MailServer, provider: Provider, settings: Any
) -> None:
    settings.POSTROOM_PRIVATE_NETWORKS = ""
    with pytest.raises(RelayUnreachable, match="POSTROOM_PRIVATE_NETWORKS") as failure:
        oauth_tokens.token_of(server)()
    assert failure.value.is_permanent
    assert provider.asked == []


def test_a_provider_is_asked_at_the_address_that_was_checked(
    server: MailServer, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that means another host a moment later leads nowhere else: it is looked up once."""
    looked_up: list[str] = []

    def addresses_of(host: str, port: int, **_: Any) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"]

    monkeypatch.setattr("postroom.outgoing.reach.addresses_of", addresses_of)
    server.oauth = server.oauth.replace("127.0.0.1", "login.invalid")
    assert oauth_tokens.token_of(server)() == "t1"
    assert "login.invalid" in looked_up


def test_a_provider_that_sends_us_elsewhere_is_not_followed(server: MailServer, provider: Provider) -> None:
    provider.status, provider.location, provider.answer = 307, provider.url, {}
    with pytest.raises(RelayUnreachable):
        oauth_tokens.token_of(server)()
    assert len(provider.asked) == 1
