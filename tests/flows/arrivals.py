"""Mails as they come in from outside, for the people of `tests/people.py`."""

from __future__ import annotations

from typing import Any

from postroom.conversations.models import Alias, Message
from postroom.flows.posting import Draft, post
from postroom.flows.receiving import Arrival
from postroom.incoming.models import ReceivedEmail
from postroom.workspaces import tokens
from tests.people import Cast

DOMAIN = "demo.postroom.localhost"
BEN = "Ben Ortiz <ben@example.org>"


def alias(people: Cast, local_part: str, model: str, **fields: Any) -> Alias:
    return Alias.objects.create(
        workspace=people.workspace, mail_domain=people.domain, local_part=local_part, model=model, **fields
    )


def letter(
    body: str = "Good morning", *, sender: str = BEN, to: str = f"sales@{DOMAIN}", **headers: str
) -> bytes:
    fields = {
        "From": sender,
        "To": to,
        "Subject": "Desk lamps",
        "Date": "Mon, 02 Mar 2026 12:00:00 +0000",
        "Message-ID": "<first@example.org>",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value]
    return "\r\n".join([*lines, "", body, ""]).encode()


def brought(octets: bytes, *forward_paths: str, reverse_path: str = "ben@example.org") -> Arrival:
    return Arrival(
        source="smtp",
        peer="192.0.2.1",
        helo="mail.example.org",
        reverse_path=reverse_path,
        forward_paths=forward_paths or (f"sales@{DOMAIN}",),
        octets=octets,
    )


def reply_address(people: Cast) -> str:
    return f"catchall+{tokens.signer(people.workspace.pk).reply(people.record.pk)}@{DOMAIN}"


def said(people: Cast, **fields: Any) -> Message:
    return post(
        Draft(
            workspace=people.workspace,
            record=people.record,
            author=people.ana_contact,
            member=people.ana,
            text="The lamps are here.",
            **fields,
        )
    )


def states() -> list[str]:
    return list(ReceivedEmail.objects.order_by("pk").values_list("state", flat=True))
