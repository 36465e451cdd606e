"""What the answers of an API mean, in plain values."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.outgoing import esp_answers
from postroom.outgoing.esp import PROVIDERS
from postroom.wire.reply import Outcome, is_throttling

POSTMARK, MANDRILL = PROVIDERS["postmark"], PROVIDERS["mandrill"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["message", "errors", "Error", "code", "x"]) | st.text(), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.UNCERTAIN),
        (302, Outcome.UNREACHABLE),
        (400, Outcome.REFUSED),
        (401, Outcome.UNREACHABLE),
        (402, Outcome.UNREACHABLE),
        (403, Outcome.UNREACHABLE),
        (404, Outcome.REFUSED),
        (408, Outcome.DEFERRED),
        (413, Outcome.REFUSED),
        (422, Outcome.REFUSED),
        (429, Outcome.DEFERRED),
        (500, Outcome.DEFERRED),
        (503, Outcome.DEFERRED),
        (504, Outcome.UNCERTAIN),
    ],
)
def test_a_status_means_an_outcome(status: int, outcome: Outcome) -> None:
    answer = esp_answers.by_status(POSTMARK, status, {"Message": "no"})
    assert answer.outcome is outcome
    assert (answer.trouble is not None) == (outcome is Outcome.UNREACHABLE)
    assert answer.reply is not None
    assert is_throttling(answer.reply) == (status == 429)


@given(st.integers(200, 599), json_values)
def test_whatever_an_api_says_is_one_outcome_and_one_line(status: int, body: Any) -> None:
    answer = esp_answers.by_status(POSTMARK, status, body)
    assert answer.outcome is not Outcome.ACCEPTED
    assert answer.reply is not None
    assert answer.reply.text.splitlines() == [answer.reply.text]
    assert len(answer.reply.text) <= 500
    if answer.outcome in (Outcome.DEFERRED, Outcome.REFUSED):
        assert answer.reply.outcome is answer.outcome  # as the journal is read after a crash


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"message": "'to' parameter is not valid"}, "'to' parameter is not valid"),
        ({"errors": [{"message": "Invalid type", "field": "from"}]}, "Invalid type"),
        (
            {"errors": {"from.email": ["The domain must be verified. #MS42207"]}},
            "The domain must be verified.",
        ),
        ({"ErrorMessage": "no", "StatusCode": 400}, "no"),
        (
            {"error": {"Code": "MessageRejected", "Message": "Address is not verified"}},
            "Address is not verified",
        ),
        ({"status": "error", "data": {"message": "inner"}}, "inner"),
    ],
)
def test_the_words_are_found_wherever_a_provider_puts_them(body: object, words: str) -> None:
    answer = esp_answers.by_status(POSTMARK, 400, body)
    assert answer.reply is not None
    assert words in answer.reply.text


def test_a_page_for_people_is_not_quoted() -> None:
    body = esp_answers.body_of("<!doctype html><html><body>Bad gateway</body></html>")
    answer = esp_answers.by_status(POSTMARK, 502, body)
    assert answer.reply is not None
    assert answer.reply.text == "Postmark answered 502 Bad Gateway."


@pytest.mark.parametrize(
    ("provider", "status", "body"),
    [
        (MANDRILL, 500, {"status": "error", "code": -1, "name": "Invalid_Key", "message": "Invalid API key"}),
        (POSTMARK, 422, {"ErrorCode": 405, "Message": "Your account has run out of credits."}),
    ],
)
def test_what_is_about_the_account_fails_no_mail_under_whatever_status(
    provider: Any, status: int, body: object
) -> None:
    answer = esp_answers.by_status(provider, status, body)
    assert answer.outcome is Outcome.UNREACHABLE
    assert answer.trouble is not None
    assert answer.trouble.is_permanent


class NewConnectionError(Exception):
    """As urllib3 calls it when nobody listens."""


@pytest.mark.parametrize(
    ("inner", "outcome"),
    [
        (NewConnectionError("refused"), Outcome.UNREACHABLE),
        (ssl.SSLCertVerificationError("self-signed"), Outcome.UNREACHABLE),
        (ssl.SSLEOFError("ended"), Outcome.UNCERTAIN),
        (ConnectionResetError(104, "Connection reset by peer"), Outcome.UNCERTAIN),
        (TimeoutError("timed out"), Outcome.UNCERTAIN),
        (ValueError("odd"), Outcome.UNCERTAIN),
    ],
)
def test_only_what_certainly_did_not_leave_is_unreachable(inner: Exception, outcome: Outcome) -> None:
    outer = RuntimeError("Error posting to the API")
    outer.__cause__ = OSError(inner)
    assert esp_answers.by_failure(POSTMARK, outer).outcome is outcome
