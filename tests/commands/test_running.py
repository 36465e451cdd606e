"""What runs ends with everything that it began."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import threading

import pytest

from postroom.commands.running import receiving_mail
from postroom_server import config as configuration


def deciding() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("front-door")]


def ask_for(address: str, port: int) -> int:
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as session:
        session.ehlo("mail.example.org")
        session.mail("ben@example.org")
        return session.rcpt(address)[0]


@pytest.mark.django_db(transaction=True)
def test_the_threads_of_the_front_door_end_with_the_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("POSTROOM_SMTP", f"127.0.0.1:{port}")

    async def visit() -> int:
        async with receiving_mail(configuration.load()):
            code = await asyncio.to_thread(ask_for, "carla@example.com", port)
            assert deciding()
        return code

    assert asyncio.run(visit()) == 550
    assert deciding() == []
