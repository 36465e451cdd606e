"""Emails and ready-made mails over the API."""

from __future__ import annotations

import base64
import json

import pytest
from django.test import Client

from postroom.conversations.models import Message
from postroom.outgoing.models import Email, Rendition, State
from tests.api.conftest import RECORD, Program

pytestmark = pytest.mark.django_db
RAW = b"""From: Ana <ana@demo.example>\r
To: ben@example.org\r
Subject: Invoice 12\r
Message-ID: <invoice-12@erp.example>\r
Date: Mon, 02 Nov 2026 09:00:00 +0000\r
\r
Please find the invoice.\r
"""


def test_a_ready_made_mail_becomes_one_email_per_recipient(program: Program) -> None:
    body = {
        "raw": base64.b64encode(RAW).decode(),
        "recipients": ["ben@example.org", "hidden@example.org"],
        "record": "sale.order/SO042",
    }
    response = program.post("/emails/raw", body)
    assert response.status_code == 202
    message = json.loads(response.content)
    assert (message["subject"], message["record"]) == ("Invoice 12", "sale.order/SO042")
    assert sorted(email["address"] for email in message["recipients"]) == [
        "ben@example.org",
        "hidden@example.org",
    ]
    assert b"Please find the invoice." in bytes(Rendition.objects.get().octets)


def test_the_mail_may_be_the_body_itself_with_the_envelope_in_the_query(program: Program) -> None:
    response = Client().post(
        "/api/v1/emails/raw?recipient=ben@example.org&recipient=dora@example.org&stream=bulk",
        data=RAW,
        content_type="message/rfc822",
        headers={"Authorization": f"Bearer {program.key}"},
    )
    assert response.status_code == 202
    message = json.loads(response.content)
    assert (message["stream"], message["delivery"]["total"]) == ("bulk", 2)


def test_the_same_submission_twice_is_one_mail(program: Program) -> None:
    body = {"raw": base64.b64encode(RAW).decode(), "recipients": ["ben@example.org"]}
    first = program.post("/emails/raw", body, Idempotency_Key="i-12")
    again = program.post("/emails/raw", body, Idempotency_Key="i-12")
    assert first.content == again.content
    assert Email.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"recipients": ["ben@example.org"]}, "malformed"),
        ({"raw": "eA==", "recipients": []}, "malformed"),
        ({"raw": "***", "recipients": ["ben@example.org"]}, "malformed"),
        ({"raw": "eA==", "recipients": ["nobody"]}, "address_malformed"),
    ],
)
def test_a_submission_that_cannot_be_read_stores_nothing(program: Program, body: object, code: str) -> None:
    response = program.post("/emails/raw", body)
    assert (response.status_code, json.loads(response.content)["code"]) == (422, code)
    assert not Message.objects.exists()


def test_an_email_is_cancelled_and_retried(program: Program) -> None:
    program.post(f"{RECORD}/messages", {"text": "Hello"})
    email_id = f"em_{Email.objects.get().pk}"
    cancelled = program.post(f"/emails/{email_id}/cancel", {})
    assert json.loads(cancelled.content)["state"] == "cancelled"
    refused = program.post(f"/emails/{email_id}/cancel", {})
    assert (refused.status_code, json.loads(refused.content)["code"]) == (409, "not_in_this_state")
    retried = program.post(f"/emails/{email_id}/retry", {})
    assert json.loads(retried.content)["state"] == "outgoing"
    assert program.post(f"/emails/{email_id}/send-now", {}).status_code == 200
    shown = json.loads(program.get(f"/emails/{email_id}").content)
    assert shown["attempts"] == []
    assert shown["email"]["due_at"].endswith("Z")


def test_emails_are_found_by_state_and_by_address(program: Program) -> None:
    program.post(f"{RECORD}/messages", {"text": "Hello", "to": ["dora@example.org"]})
    Email.objects.filter(address__addr_spec="dora@example.org").update(state=State.SENT)
    sent = json.loads(program.get("/emails?state=sent").content)["data"]
    assert [email["address"] for email in sent] == ["dora@example.org"]
    found = json.loads(program.get("/emails?search=BEN@").content)["data"]
    assert [email["address"] for email in found] == ["ben@example.org"]
    assert program.get("/emails?state=nonsense").status_code == 422


@pytest.mark.parametrize("text", ["em_0", "em_x", "msg_1", "1", "em_", "em_99999999999999999999", "em_١"])
def test_what_is_no_email_is_not_found(program: Program, text: str) -> None:
    assert program.get(f"/emails/{text}").status_code == 404
