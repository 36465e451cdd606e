"""Django's mail goes through Postroom: `EMAIL_BACKEND = "postroom.django.EmailBackend"`.

Where `postroom` is in INSTALLED_APPS the mail is handed over inside the process, to the workspace that the
From domain belongs to, else to the one POSTROOM_WORKSPACE names, else to the first. Everywhere else it goes
over HTTP, with the settings POSTROOM_URL and POSTROOM_API_KEY, and none of Postroom's tables is needed.

A header `X-Postroom-Record: model/id` puts a mail into the conversation of that record; it is not sent.
`X-Postroom-Stream: bulk` lets it leave with the bulk.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

if TYPE_CHECKING:
    from httpx import Response

    from postroom.conversations.models import Record
    from postroom.workspaces.models import Member, Workspace

RECORD_HEADER = "X-Postroom-Record"
STREAM_HEADER = "X-Postroom-Stream"
TIMEOUT_SECONDS = 30.0
TRY_COUNT = 3


class NotHandedOver(Exception):
    """Postroom did not take a mail; the message says why."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail ready to be handed over: octets with CRLF and without our own headers, and its envelope."""

    octets: bytes
    recipients: tuple[str, ...]
    from_domain: str
    record: str
    stream: str


class EmailBackend(BaseEmailBackend):
    """Hands Django's mail to Postroom, which keeps it, sends it and says what became of it."""

    def __init__(self, fail_silently: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.fail_silently = fail_silently  # Django no longer keeps it for us from 6.1 on

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Hand the mails over and return how many were taken; mails without recipients are passed over.

        Raises NotHandedOver unless `fail_silently`. What was taken is not lost and need not be sent again.
        """
        hand_over = _here if "postroom" in settings.INSTALLED_APPS else _over_http
        letters = [letter_of(message) for message in email_messages if message.recipients()]
        return sum(self._taken(hand_over, letter) for letter in letters)

    def _taken(self, hand_over: Callable[[Letter], None], letter: Letter) -> bool:
        try:
            hand_over(letter)
        except NotHandedOver:
            if not self.fail_silently:
                raise
            return False
        return True


def letter_of(message: EmailMessage) -> Letter:
    """What Django composed, as it goes over the wire."""
    composed = message.message()
    record, stream = str(composed.get(RECORD_HEADER, "")), str(composed.get(STREAM_HEADER, "urgent"))
    del composed[RECORD_HEADER]
    del composed[STREAM_HEADER]
    octets = composed.as_bytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    domain = str(message.from_email or "").rpartition("@")[2].rstrip("> ").lower()
    return Letter(
        octets, tuple(_bare(address) for address in message.recipients()), domain, record.strip(), stream
    )


def _bare(address: str) -> str:
    from email.utils import parseaddr

    return parseaddr(address)[1] or address


def _here(letter: Letter) -> None:
    """Hand over inside this process."""
    from django.db import DatabaseError

    from postroom.flows import posting
    from postroom.wire.address import AddressError
    from postroom.workspaces.refusals import RequestRefused

    workspace = _workspace_for(letter.from_domain)
    try:
        posting.submit(
            workspace,
            letter.octets,
            reverse_path="",
            forward_paths=letter.recipients,
            member=_member_in(workspace),
            record=_record_in(workspace, letter.record),
            stream=letter.stream,
        )
    except (RequestRefused, AddressError, DatabaseError) as error:
        raise NotHandedOver(str(error)) from error


def _workspace_for(domain: str) -> Workspace:
    from postroom.workspaces.models import Workspace

    wanted = getattr(settings, "POSTROOM_WORKSPACE", None)
    workspace = (
        Workspace.objects.filter(mail_domains__domain=domain).first()
        or (Workspace.objects.filter(slug=wanted).first() if wanted else None)
        or Workspace.objects.order_by("pk").first()
    )
    if workspace is None:
        raise NotHandedOver("There is no workspace yet. Make one with `postroom workspace create`.")
    return workspace


def _member_in(workspace: Workspace) -> Member:
    from postroom.workspaces.answering import administrator_of

    member = administrator_of(workspace)
    if member is None:
        raise NotHandedOver(f"{workspace} has no administrator to answer for this mail.")
    return member


def _record_in(workspace: Workspace, key: str) -> Record | None:
    if not key:
        return None
    from postroom.conversations.models import Record

    model, _, external_id = key.partition("/")
    record = Record.objects.filter(workspace=workspace, model=model, external_id=external_id).first()
    if record is None:
        raise NotHandedOver(f"{RECORD_HEADER} names {key}, and there is no such record. Put it first.")
    return record


def _over_http(letter: Letter) -> None:
    """Hand over through the API; a lost answer is asked for again under the same Idempotency-Key."""
    import httpx

    url, key = _address_and_key()
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "message/rfc822",
        "Idempotency-Key": str(uuid.uuid4()),
    }
    envelope: dict[str, Any] = {"recipient": list(letter.recipients), "stream": letter.stream}
    if letter.record:
        envelope["record"] = letter.record
    with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        response = _post(lambda: client.post(url, params=envelope, headers=headers, content=letter.octets))
    if response.status_code >= 300:
        raise NotHandedOver(f"Postroom answered {response.status_code}: {_detail(response)}")


def _post(attempt: Callable[[], Response]) -> Response:
    """Try a few times; a first try that is still being worked on is waited for."""
    import httpx

    for number in range(1, TRY_COUNT + 1):
        try:
            response = attempt()
        except httpx.TransportError as error:
            if number == TRY_COUNT:
                where = getattr(settings, "POSTROOM_URL", "")
                raise NotHandedOver(f"Postroom at {where} cannot be reached: {error}") from error
            continue
        if response.status_code != 409 or "Retry-After" not in response.headers:
            return response
        time.sleep(float(response.headers["Retry-After"]))
    raise NotHandedOver("Postroom is still working on this mail; whether it was taken is not known yet.")


def _address_and_key() -> tuple[str, str]:
    url, key = getattr(settings, "POSTROOM_URL", ""), getattr(settings, "POSTROOM_API_KEY", "")
    if not url or not key:
        raise ImproperlyConfigured(
            "Set POSTROOM_URL and POSTROOM_API_KEY (made with `postroom key create`), "
            "or add postroom to INSTALLED_APPS."
        )
    return f"{url.rstrip('/')}/api/v1/emails/raw", key


def _detail(response: Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return str(response.text)[:200]
