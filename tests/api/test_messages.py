"""Messages over the API, each posted once however often it is sent."""

from __future__ import annotations

import base64
import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from postroom.conversations.models import Contact, Message
from postroom.flows import repeating
from postroom.outgoing.models import Email
from postroom.workspaces.models import ApiKey, IdempotentRequest
from tests.api.conftest import RECORD, Program, program_in
from tests.people import cast

pytestmark = pytest.mark.django_db
MESSAGES = f"{RECORD}/messages"


def test_followers_are_told_and_the_answer_names_each_of_them(program: Program) -> None:
    response = program.post(MESSAGES, {"html": "<p>Shipped <b>today</b>.</p>", "subject": "On its way"})
    assert response.status_code == 201
    message = json.loads(response.content)
    assert (message["subject"], message["record"]) == ("On its way", "sale.order/SO042")
    assert [(email["address"], email["state"]) for email in message["recipients"]] == [
        ("ben@example.org", "outgoing")
    ]
    assert message["delivery"]["state"] == "waiting"
    assert message["author"]["address"] == "ana@demo.example"


def test_text_becomes_html_and_never_markup(program: Program) -> None:
    message = json.loads(program.post(MESSAGES, {"text": "1 < 2 <script>"}).content)
    assert "<script>" not in message["html"]
    assert "1 < 2 <script>" in message["text"]


def test_a_message_needs_something_to_say(program: Program) -> None:
    response = program.post(MESSAGES, {"subject": "Nothing"})
    assert (response.status_code, json.loads(response.content)["code"]) == (422, "malformed")
    assert not Message.objects.exists()


def test_a_note_names_an_outsider_only_when_that_is_confirmed(program: Program) -> None:
    body: dict[str, Any] = {"text": "Margin is low", "note": True, "to": ["carla@example.com"]}
    refused = program.post(MESSAGES, body)
    assert (refused.status_code, json.loads(refused.content)["code"]) == (422, "outsiders_named")
    assert json.loads(refused.content)["errors"][0]["message"] == "carla@example.com"
    assert not Message.objects.exists()
    taken = program.post(MESSAGES, {**body, "confirm_outsiders": True})
    assert taken.status_code == 201
    assert [email["address"] for email in json.loads(taken.content)["recipients"]] == ["carla@example.com"]


def test_the_author_has_to_be_a_known_contact(program: Program) -> None:
    taken = program.post(MESSAGES, {"text": "Hello", "author": "ben@example.org"})
    assert json.loads(taken.content)["author"]["address"] == "ben@example.org"
    refused = program.post(MESSAGES, {"text": "Hello", "author": "stranger@example.org"})
    assert (refused.status_code, json.loads(refused.content)["code"]) == (422, "refused")
    assert not Contact.objects.filter(address__addr_spec="stranger@example.org").exists()


def test_files_come_along(program: Program) -> None:
    file = {"name": "note.txt", "content_type": "text/plain", "content": base64.b64encode(b"hello").decode()}
    message = json.loads(program.post(MESSAGES, {"text": "See file", "attachments": [file]}).content)
    assert message["attachments"] == [{"name": "note.txt", "content_type": "text/plain", "size": 5}]
    broken = program.post(MESSAGES, {"text": "x", "attachments": [{"name": "a", "content": "***"}]})
    assert json.loads(broken.content)["errors"][0]["field"] == "attachments.0.content"


def test_the_conversation_shows_the_newest_first_with_every_delivery(program: Program) -> None:
    for text in ("one", "two"):
        program.post(MESSAGES, {"text": text})
    page = json.loads(program.get(MESSAGES).content)
    assert [message["text"].strip() for message in page["data"]] == ["two", "one"]
    assert all(message["delivery"]["total"] == 1 for message in page["data"])
    one = page["data"][0]
    assert json.loads(program.get(f"/messages/{one['id']}").content) == one


def test_the_number_of_queries_does_not_grow_with_the_conversation(
    program: Program, django_assert_max_num_queries: Any
) -> None:
    for number in range(6):
        program.post(MESSAGES, {"text": str(number), "to": [f"p{number}@example.org"]})
    with django_assert_max_num_queries(8):
        program.get(MESSAGES)


def test_the_same_request_under_the_same_key_posts_once_and_answers_the_same(program: Program) -> None:
    first = program.post(MESSAGES, {"text": "Once"}, Idempotency_Key="k-1")
    again = program.post(MESSAGES, {"text": "Once"}, Idempotency_Key="k-1")
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"
    assert Message.objects.count() == 1


def test_a_key_used_for_another_request_is_a_conflict(program: Program) -> None:
    program.post(MESSAGES, {"text": "Once"}, Idempotency_Key="k-1")
    other = program.post(MESSAGES, {"text": "Other"}, Idempotency_Key="k-1")
    assert (other.status_code, json.loads(other.content)["code"]) == (409, "idempotency_key_reused")
    assert Message.objects.count() == 1


def test_what_is_kept_of_a_request_cannot_be_guessed_at_without_the_api_key(program: Program) -> None:
    """A request may hold a password."""
    body = json.dumps({"text": "Once"}).encode()
    program.post(MESSAGES, {"text": "Once"}, Idempotency_Key="k-1")
    asked = f"POST /api/v1{MESSAGES} application/json".encode()
    kept = IdempotentRequest.objects.get().digest
    assert kept == repeating.digest_of(program.key.encode(), asked, body)
    assert kept != repeating.digest_of(b"", asked, body)
    assert ApiKey.objects.get().digest != program.key


def test_a_request_that_was_refused_leaves_its_key_free(program: Program) -> None:
    assert program.post(MESSAGES, {"subject": "x"}, Idempotency_Key="k-1").status_code == 422
    assert program.post(MESSAGES, {"text": "Now"}, Idempotency_Key="k-1").status_code == 201


def test_the_same_request_at_the_same_moment_is_asked_to_come_back(program: Program) -> None:
    program.post(MESSAGES, {"text": "Once"}, Idempotency_Key="k-1")
    IdempotentRequest.objects.update(status=None, body="")
    second = program.post(MESSAGES, {"text": "Once"}, Idempotency_Key="k-1")
    assert (second.status_code, json.loads(second.content)["code"]) == (409, "request_in_progress")
    assert int(second["Retry-After"]) > 0
    assert Message.objects.count() == 1


def test_a_request_whose_process_died_is_done_when_it_is_sent_again(program: Program) -> None:
    program.post(MESSAGES, {"text": "Once"}, Idempotency_Key="k-1")
    Message.objects.all().delete()
    long_ago = timezone.now() - repeating.STALE_AFTER - timedelta(seconds=1)
    IdempotentRequest.objects.update(status=None, body="", created_at=long_ago)
    assert program.post(MESSAGES, {"text": "Once"}, Idempotency_Key="k-1").status_code == 201
    assert Message.objects.count() == 1


def test_after_a_day_the_key_may_be_used_again(program: Program) -> None:
    program.post(MESSAGES, {"text": "Once"}, Idempotency_Key="k-1")
    IdempotentRequest.objects.update(created_at=timezone.now() - repeating.KEPT_FOR - timedelta(seconds=1))
    assert program.post(MESSAGES, {"text": "Other"}, Idempotency_Key="k-1").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 257, "a\tb"])
def test_what_is_no_idempotency_key_is_refused(program: Program, key: str) -> None:
    response = program.post(MESSAGES, {"text": "x"}, Idempotency_Key=key)
    assert (response.status_code, json.loads(response.content)["code"]) == (422, "idempotency_key_malformed")


def test_two_programs_may_use_the_same_key(program: Program, neighbour: Program) -> None:
    program.post(MESSAGES, {"text": "Ours"}, Idempotency_Key="k-1")
    theirs = neighbour.post(MESSAGES, {"text": "Theirs"}, Idempotency_Key="k-1")
    assert theirs.status_code == 201
    assert json.loads(theirs.content)["text"].strip() == "Theirs"


@pytest.mark.django_db(transaction=True)
def test_ten_equal_requests_at_once_post_one_message() -> None:
    program = program_in(cast())
    statuses: list[int] = []

    def send() -> None:
        try:
            statuses.append(program.post(MESSAGES, {"text": "Once"}, Idempotency_Key="k-1").status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    assert Message.objects.count() == 1
    assert Email.objects.count() == 1


def test_an_answer_that_fails_leaves_neither_message_nor_reservation(program: Program) -> None:
    def fail() -> repeating.Answer:
        Message.objects.create(workspace=program.people.workspace, message_id="<x@example.org>")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        repeating.answer_once(ApiKey.objects.get(), "k", "digest", fail)
    assert not Message.objects.exists()
    assert not IdempotentRequest.objects.exists()


def test_a_request_that_is_too_large_is_said_to_be(program: Program, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    response = program.post(MESSAGES, {"text": "x" * 2000})
    assert (response.status_code, json.loads(response.content)["code"]) == (413, "too_large")
