"""Which replies ask for a slower pace, and which put off one mail only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.reply import EnhancedStatus, Reply, is_throttling

SLOWER = [
    "421 4.7.0 Try again later, closing connection. (EHLO) a1-20020a05 - gsmtp",
    "421 4.7.28 Our system has detected an unusual rate of mail from your address block.",
    "421 4.7.0 [TSS04] Messages from 203.0.113.9 temporarily deferred due to unexpected volume",
    "421 Service not available, closing transmission channel",
    "421 4.3.2 The maximum number of concurrent connections has been reached",
    "421 4.4.5 Too many connections to this host.",
    "450 4.7.1 Error: too much mail from 203.0.113.9",
    "450 4.7.0 Message rate limit exceeded, resume in 60 seconds",
    "450 4.7.28 Too many messages in a short time",
    "450 Requested action not taken: you are sending too fast",
    "451 4.3.2 System not accepting network messages",
    "451 4.3.0 Temporary overload, please try again later",
    "451 4.4.5 System congested",
    "451 4.7.500 Server busy. Please try again later from [203.0.113.9]",
    "451 4.5.3 Hourly sending limit reached for this account",
    "451 Try again later",
    "451 Rate limited, slow down please",
    "452 4.5.3 Too many recipients received this hour",
    "452 Daily message quota of your plan is used up",
    "454 4.7.0 Too many login attempts",
    "454 Throttling failure: Maximum sending rate exceeded.",
    "450 5.7.0 Rate limit exceeded",  # the code decides where the two disagree
]
PER_MAIL = [
    "450 4.2.0 <carla@example.com>: Recipient address rejected: Greylisted, see https://postgrey.example",
    "450 4.7.1 Greylisting in action, please come back later",
    "451 4.7.1 Please try again later",
    "451 4.7.0 Graylisted; too many new senders, try again later",
    "421 4.7.1 Greylisted, try again in 300 seconds",
    "450 4.2.1 The user you are trying to contact is receiving mail too quickly",
    "452 4.2.2 The mailbox is full",
    "452 4.2.2 The recipient is over quota, too many messages",
    "452 Mailbox size limit exceeded",
    "452 4.3.1 Insufficient system storage",
    "450 4.1.1 <carla@example.com>: unverified address, try again later",
    "450 4.1.8 Sender domain not found, try again later",
    "451 4.3.0 Temporary lookup failure",
    "451 4.4.1 No answer from the next host, try again later",
    "451 4.6.0 Content could not be checked, try again later",
    "550 5.7.28 Too many messages from this address",
    "552 5.2.2 Rate limit exceeded",
    "554 5.7.1 Throttled for good",
    "250 2.0.0 Ok, but slow down",
]


def reply_of(text: str) -> Reply:
    return Reply.parse([text.encode()])


@pytest.mark.parametrize("text", SLOWER)
def test_a_server_that_asks_for_less_is_heard(text: str) -> None:
    assert is_throttling(reply_of(text))


@pytest.mark.parametrize("text", PER_MAIL)
def test_what_is_about_one_mail_slows_nothing_down(text: str) -> None:
    assert not is_throttling(reply_of(text))


@given(
    code=st.integers(200, 599),
    status=st.none()
    | st.builds(EnhancedStatus, st.sampled_from((2, 4, 5)), st.integers(0, 9), st.integers(0, 30)),
    text=st.text(max_size=200),
)
def test_only_421_and_some_temporary_codes_can_ask_for_less(
    code: int, status: EnhancedStatus | None, text: str
) -> None:
    if is_throttling(Reply(code, status, text)):
        assert code in (421, 450, 451, 452, 454)
