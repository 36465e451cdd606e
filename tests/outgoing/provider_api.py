"""The APIs of two providers on a free port of 127.0.0.1; they do what the recipient's local part says."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from postroom.outgoing.models import MailServer
from tests.people import Cast

TOKEN = "server-token-1"


class ProviderApi(ThreadingHTTPServer):
    """Postmark at /email, Mailgun at /<domain>/messages. `taken` are the mails it accepted, as they came.

    `code-NNN@…` is answered with that status, `inactive@…` as an address that gets no more mail, `drop@…`
    not at all: the connection ends once the request was read. `slow@…` is answered when `gate` is set. With
    `status` every request is answered so. `raw` replaces the body of every answer.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.taken: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.request_count = 0
        self.status = 0
        self.words = "as you asked"
        self.raw = b""
        self.gate = threading.Event()

    @property
    def url(self) -> str:
        """What the option `api_url` is set to."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the game."""


class _Answering(BaseHTTPRequestHandler):
    server: ProviderApi
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep the output of tests clean."""

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.request_count += 1
        is_postmark = "X-Postmark-Server-Token" in self.headers
        if not is_postmark and not self.path.endswith("/messages"):  # another provider's
            return self._say(self.server.status, {"message": self.server.words})
        if is_postmark:
            mail = json.loads(body)
            recipient, is_known = mail["To"], self.headers["X-Postmark-Server-Token"] == TOKEN
        else:
            mail = _form(self.headers["Content-Type"], body)
            recipient, is_known = mail["to"], self.headers["Authorization"] is not None
        mail["path"] = self.path
        recipient = re.sub(r".*<(.*)>", r"\1", recipient)
        self.server.asked.append(recipient)
        if not is_known:
            return self._say(401, {"ErrorCode": 10, "Message": "The server token is not valid."})
        return self._answer(recipient, mail)

    def _answer(self, recipient: str, mail: dict[str, Any]) -> None:
        found = re.match(r"code-(\d{3})", recipient)
        status = self.server.status or (int(found[1]) if found else 0)
        if recipient.startswith("drop"):
            self.close_connection = True
            return None
        if recipient.startswith("slow"):
            self.server.gate.wait(20)
        if recipient.startswith("inactive"):
            words = f"You tried to send to inactive recipients. Found inactive addresses: {recipient}.\n"
            return self._say(422, {"ErrorCode": 406, "Message": words + "Inactive recipients are ones that…"})
        if status:
            return self._say(
                status, {"ErrorCode": 1, "Message": self.server.words, "message": "as you asked"}
            )
        self.server.taken.append(mail)
        return self._say(200, self._receipt(recipient))

    def _receipt(self, recipient: str) -> dict[str, Any]:
        number = f"{len(self.server.taken):08X}"
        if self.path == "/email":
            return {"ErrorCode": 0, "Message": "OK", "MessageID": number, "To": recipient}
        return {"id": f"<{number}@mg.example>", "message": "Queued. Thank you."}

    def _say(self, status: int, answer: dict[str, Any]) -> None:
        body = self.server.raw or json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _form(content_type: str, body: bytes) -> dict[str, Any]:
    """A form as Mailgun gets it, with or without files."""
    if not content_type.startswith("multipart/form-data"):
        return dict(parse_qsl(body.decode()))
    whole: Message = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    fields: dict[str, Any] = {}
    for part in whole.get_payload():
        assert isinstance(part, Message)
        name = str(part.get_param("name", header="content-disposition"))
        octets = part.get_payload(decode=True)
        assert isinstance(octets, bytes)
        file_name = part.get_filename()
        fields[name] = (file_name, octets) if file_name else octets.decode()
    return fields


@contextlib.contextmanager
def provider_api() -> Iterator[ProviderApi]:
    """Serve until the block ends."""
    with ProviderApi() as api:
        thread = threading.Thread(target=api.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield api
        finally:
            api.gate.set()
            api.shutdown()
            thread.join(10)


def esp_server(people: Cast, api_url: str, esp: str = "postmark", **fields: Any) -> MailServer:
    """A server of the workspace that stands for an account at a provider whose API is there."""
    secrets = {
        "postmark": {"server_token": TOKEN},
        "mailgun": {"api_key": "key-1", "sender_domain": "mg.example"},
    }
    options = {"api_url": api_url, **secrets[esp], **fields.pop("options", {})}
    given = {"name": "Provider", "transport": "esp", "esp": esp, "esp_options": json.dumps(options), **fields}
    return MailServer.objects.create(workspace=people.workspace, **given)
