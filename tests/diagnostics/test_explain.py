import pytest
from django.utils.translation import override
from hypothesis import given
from hypothesis import strategies as st

from postroom.diagnostics.explain import explain, explain_hold
from postroom.diagnostics.reasons import BY_ID, REASONS
from postroom.diagnostics.rules import RULES

REPLIES = [
    (550, "5.1.1", "Recipient address rejected: User unknown in the table", "user_unknown"),
    (550, "", "No such user here", "user_unknown"),
    (550, "", "Requested action not taken: mailbox unavailable", "user_unknown"),
    (550, "5.1.2", "Bad destination system address", "domain_unknown"),
    (556, "5.1.10", "Recipient domain has a null MX", "domain_unknown"),
    (501, "5.1.3", "Bad recipient address syntax", "address_invalid"),
    (550, "5.6.7", "Address outside ASCII", "no_smtputf8"),
    (550, "5.1.6", "Mailbox has moved", "mailbox_moved"),
    (550, "5.1.8", "Sender address rejected: Domain not found", "sender_invalid"),
    (450, "4.2.0", "Greylisted, please come back in 300 seconds", "greylisted"),
    (451, "4.7.1", "Greylisting in action, please come back later", "greylisted"),
    (452, "4.2.2", "The email account that you tried to reach is over quota", "mailbox_full"),
    (552, "", "Mailbox is full", "mailbox_full"),
    (550, "5.2.1", "The account is switched off", "mailbox_disabled"),
    (554, "", "30 Sorry, it cannot be delivered. This mailbox is disabled (554.30).", "mailbox_disabled"),
    (554, "5.7.1", "<ben@example.org>: Relay access denied", "relay_denied"),
    (550, "5.7.26", "This mail is unauthenticated; the sender must pass SPF or DKIM", "unauthenticated"),
    (550, "5.7.23", "SPF validation failed", "spf_failed"),
    (550, "5.7.20", "No passing DKIM signature found", "dkim_failed"),
    (550, "5.7.1", "Rejected by the DMARC policy of demo.example", "dmarc_failed"),
    (550, "5.7.1", "Our system has detected that this message is likely unsolicited mail", "spam"),
    (550, "", "The from address does not match a verified Sender Identity.", "sender_not_verified"),
    (554, "", "Message rejected: Email address is not verified.", "sender_not_verified"),
    (552, "5.3.4", "Message size exceeds fixed maximum message size", "too_big"),
    (421, "4.7.28", "Unusual rate of mail from your address", "rate_limited"),
    (454, "", "Throttling failure: Maximum sending rate exceeded", "rate_limited"),
    (454, "", "Throttling failure: Daily message quota exceeded", "relay_quota"),
    (421, "4.3.2", "Service shutting down", "server_busy"),
    (450, "4.4.1", "Connection to the next server timed out", "recipient_unreachable"),
    (535, "5.7.8", "Authentication credentials invalid", "auth_failed"),
    (530, "5.7.0", "Must issue a STARTTLS command first", "tls_required"),
    (530, "5.7.0", "Authentication required", "auth_required"),
    (554, "5.7.1", "Client host [192.0.2.1] blocked using zen.spamhaus.org", "blocklisted"),
    (550, "5.7.25", "The sending address has no name", "reverse_dns"),
    (554, "5.4.6", "Too many hops", "mail_loop"),
    (550, "5.7.1", "Not here", "policy"),
    (250, "2.0.0", "Ok: queued as 4F3A", "accepted"),
    (451, "", "Something odd", "unknown_temporary"),
    (554, "", "Something odd", "unknown"),
    (None, "5.1.1", "", "user_unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "enhanced", "text", "reason"), REPLIES)
def test_a_reply_seen_in_the_wild_has_its_reason(
    code: int | None, enhanced: str, text: str, reason: str
) -> None:
    assert explain(code=code, enhanced=enhanced, text=text).reason == reason


@pytest.mark.parametrize("kind", ["uncertain", "captured", "no_server", "server_unreachable", "daily_limit"])
def test_what_no_server_said_is_its_own_reason(kind: str) -> None:
    assert explain(failure_kind=kind).reason == kind


@pytest.mark.parametrize(
    ("because", "reason"),
    [
        ("daily_limit", "daily_limit_waits"),
        ("daily_limit_urgent_share", "daily_limit_waits"),
        ("rate_limit", "own_rate_limit"),
    ],
)
def test_what_is_held_by_a_limit_asks_nothing_of_anybody(because: str, reason: str) -> None:
    told = explain_hold(because)
    assert (told.reason, told.who_must_act) == (reason, "Nobody")


def test_what_is_held_otherwise_is_explained_as_its_failure() -> None:
    assert explain_hold("server_unreachable") == explain(failure_kind="server_unreachable")


def test_an_expired_mail_is_explained_by_what_the_server_said_all_the_time() -> None:
    assert explain(code=452, enhanced="4.2.2", text="full", failure_kind="expired").reason == "mailbox_full"
    assert explain(code=451, text="no", failure_kind="expired").reason == "expired"


def test_every_temporary_refusal_is_worth_a_retry() -> None:
    assert explain(code=450, enhanced="4.1.1", text="address could not be verified").is_retry_useful
    assert not explain(code=550, enhanced="5.1.1", text="unknown").is_retry_useful


def test_every_reason_has_words_and_every_rule_a_reason() -> None:
    assert len(BY_ID) == len(REASONS) >= 25
    assert {rule.reason for rule in RULES} <= set(BY_ID)
    assert all(str(reason.what_happened) and str(reason.next_step) for reason in REASONS)


def test_words_follow_the_active_language() -> None:
    with override("en"):
        assert explain(code=552, enhanced="5.2.2").what_happened == "The recipient's mailbox is full."


@given(st.none() | st.integers(0, 999), st.text(max_size=12), st.text(max_size=300), st.text(max_size=12))
def test_any_reply_has_an_explanation(code: int | None, enhanced: str, text: str, kind: str) -> None:
    told = explain(code=code, enhanced=enhanced, text=text, failure_kind=kind)
    assert told.reason in BY_ID
    assert told.what_happened


def test_a_long_reply_is_explained_as_quickly_as_a_short_one() -> None:
    assert explain(code=550, text="sender ip dkim " * 100_000).reason in BY_ID
