"""Django's mail through Postroom: inside the process, and over HTTP."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage, EmailMultiAlternatives

from postroom.conversations.models import Message
from postroom.django import EmailBackend, NotHandedOver
from postroom.outgoing.models import Email, Rendition
from tests.people import Cast, cast


def mail(**changes: Any) -> EmailMessage:
    wanted = {
        "subject": "Hello",
        "body": "Text",
        "from_email": "Ana <ana@demo.example>",
        "to": ["ben@example.org"],
    }
    return EmailMessage(**{**wanted, **changes})


def send(message: EmailMessage) -> int:
    """As `message.send()` does, in words that every version of Django knows."""
    return EmailBackend().send_messages([message])


@pytest.fixture
def people(db: None) -> Cast:
    return cast()


def test_a_mail_becomes_a_message_with_an_email_for_everybody(people: Cast) -> None:
    assert send(mail(cc=["carla@example.com"], bcc=["hidden@example.org"])) == 1
    message = Message.objects.get()
    assert (message.workspace, message.subject) == (people.workspace, "Hello")
    told = set(Email.objects.values_list("address__addr_spec", flat=True))
    assert told == {"ben@example.org", "carla@example.com", "hidden@example.org"}
    assert b"hidden@" not in bytes(Rendition.objects.get().octets)


def test_the_record_header_puts_it_into_the_conversation_and_is_not_sent(people: Cast) -> None:
    headers = {"X-Postroom-Record": "sale.order/SO042", "X-Postroom-Stream": "bulk"}
    assert send(mail(headers=headers)) == 1
    message = Message.objects.get()
    assert (message.record, message.stream) == (people.record, "bulk")
    assert b"X-Postroom-Record" not in bytes(Rendition.objects.get().octets)


def test_the_workspace_is_the_one_the_from_domain_belongs_to(people: Cast) -> None:
    other = cast("next")
    send(mail(from_email=f"shop@{other.domain.domain}"))
    assert Message.objects.get().workspace == other.workspace


def test_the_setting_names_the_workspace_of_a_foreign_from(people: Cast, settings: Any) -> None:
    other = cast("next")
    settings.POSTROOM_WORKSPACE = "next"
    send(mail(from_email="shop@somewhere.example"))
    assert Message.objects.get().workspace == other.workspace


def test_two_parts_both_arrive(people: Cast) -> None:
    both = EmailMultiAlternatives("Hello", "Text", "ana@demo.example", ["ben@example.org"])
    both.attach_alternative("<p>Rich</p>", "text/html")
    assert send(both) == 1
    assert "Rich" in Message.objects.get().body


def test_a_mail_to_nobody_is_not_counted(people: Cast) -> None:
    assert EmailBackend().send_messages([mail(to=[])]) == 0


def test_a_record_that_does_not_exist_is_an_error_unless_it_may_fail_silently(people: Cast) -> None:
    with pytest.raises(NotHandedOver, match=r"sale\.order/none"):
        send(mail(headers={"X-Postroom-Record": "sale.order/none"}))
    silent = EmailBackend(fail_silently=True)
    wrong, right = mail(headers={"X-Postroom-Record": "sale.order/none"}), mail()
    assert silent.send_messages([wrong, right]) == 1
    assert Message.objects.count() == 1


def test_without_a_workspace_it_says_how_to_make_one(db: None) -> None:
    with pytest.raises(NotHandedOver, match="postroom workspace create"):
        send(mail())


# Over HTTP.


@dataclass
class Remote:
    """A server that answers as the API would; the first `cut_count` requests lose their answer."""

    url: str = ""
    status: int = 202
    cut_count: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def remote(settings: Any) -> Iterator[Remote]:
    state = Remote()

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.requests.append((self.path, dict(self.headers), body))
            if len(state.requests) <= state.cut_count:
                self.close_connection = True
                return
            said = json.dumps({"detail": "No such record."}).encode()
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            """Stay quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        settings.POSTROOM_URL, settings.POSTROOM_API_KEY = state.url, "pr_key"
        settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "postroom"]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


def test_elsewhere_the_mail_goes_over_http_with_its_envelope(remote: Remote) -> None:
    sent = send(mail(bcc=["hidden@example.org"], headers={"X-Postroom-Record": "sale.order/SO042"}))
    assert sent == 1
    path, headers, body = remote.requests[0]
    envelope = parse_qs(urlsplit(path).query)
    assert envelope["recipient"] == ["ben@example.org", "hidden@example.org"]
    assert envelope["record"] == ["sale.order/SO042"]
    assert headers["Authorization"] == "Bearer pr_key"
    assert b"\r\nSubject: Hello\r\n" in b"\r\n" + body
    assert b"X-Postroom-Record" not in body


def test_a_lost_answer_is_asked_for_again_under_the_same_key(remote: Remote) -> None:
    remote.cut_count = 2
    assert send(mail()) == 1
    keys = [headers["Idempotency-Key"] for _, headers, _ in remote.requests]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_a_refusal_says_what_postroom_said(remote: Remote) -> None:
    remote.status = 404
    with pytest.raises(NotHandedOver, match=r"404: No such record\."):
        send(mail())


def test_a_server_that_cannot_be_reached_is_named(remote: Remote) -> None:
    remote.cut_count = 99
    with pytest.raises(NotHandedOver, match=r"127\.0\.0\.1"):
        send(mail())
    assert len(remote.requests) == 3


def test_without_url_and_key_it_says_which_settings_are_missing(remote: Remote, settings: Any) -> None:
    settings.POSTROOM_API_KEY = ""
    with pytest.raises(ImproperlyConfigured, match="POSTROOM_API_KEY"):
        send(mail())


def test_over_http_none_of_our_tables_are_imported() -> None:
    program = """
import sys
from django.conf import settings
settings.configure(EMAIL_BACKEND="postroom.django.EmailBackend", INSTALLED_APPS=[],
                   POSTROOM_URL="http://127.0.0.1:9", POSTROOM_API_KEY="k")
import django; django.setup()
from django.core.mail import EmailMessage
try:
    EmailMessage("s", "b", "a@b.example", ["c@d.example"]).send()
except Exception as error:
    print(type(error).__name__)
print([name for name in sys.modules if name.startswith("postroom") and "models" in name])
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.split("\n")[:2] == ["NotHandedOver", "[]"]
