import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.automatic import why_automatic
from postroom.wire.parse import scan_headers
from tests.wire.letters import letter

BEN = "ben@example.org"


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("Auto-Submitted: auto-replied (vacation)", "auto-submitted"),
        ("Auto-Submitted: auto-generated; owner-email=x", "auto-submitted"),
        ("X-Autoreply: yes", "auto-reply-header"),
        ("X-Autorespond: Re: hello", "auto-reply-header"),
        ("X-Auto-Response-Suppress: DR, OOF, AutoReply", "response-suppressed"),
        ("X-Auto-Response-Suppress: All", "response-suppressed"),
        ("Precedence: Bulk", "precedence"),
        ("Precedence: auto_reply", "precedence"),
        ("Precedence: list", "precedence"),
        ("List-Id: <news.example.org>", "list"),
        ("Content-Type: multipart/report; boundary=x", "report"),
        ("From: MAILER-DAEMON@mail.example.org (Mail Delivery System)", "robot-sender"),
        ("From: MAILER-DAEMON <>", "robot-sender"),
        ("From: Post <postmaster@example.org>", "robot-sender"),
        ("Auto-Submitted: no", None),
        ("Auto-Submitted: No (a person)", None),
        ("X-Auto-Response-Suppress: RN, NRN", None),
        ("Precedence: normal", None),
        ("From: noreply@example.org", None),
        ("List-Unsubscribe: <mailto:x@example.org>", None),
        ("From: Mailer <ben@example.org>", None),
        ("Subject: Auto-Submitted: yes", None),
    ],
)
def test_each_sign_of_a_robot_has_its_word(header: str, why: str | None) -> None:
    assert why_automatic(scan_headers(f"{header}\r\n\r\nbody".encode()), BEN) == why


@pytest.mark.parametrize("reverse_path", ["", "<>", " "])
def test_a_null_reverse_path_is_a_robots(reverse_path: str) -> None:
    assert why_automatic(scan_headers(letter("plain")), reverse_path) == "null-reverse-path"


def test_a_robot_in_the_envelope_is_seen() -> None:
    assert why_automatic(scan_headers(letter("plain")), "MAILER-DAEMON@mail.example.org") == "robot-sender"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("plain", None),
        ("reply-en", None),
        ("reply-outlook-like", None),
        ("vacation", "auto-submitted"),
        ("dsn-two-recipients", "auto-submitted"),
    ],
)
def test_letters_of_people_and_robots_are_told_apart(name: str, why: str | None) -> None:
    assert why_automatic(scan_headers(letter(name)), BEN) == why


@given(st.binary(), st.text())
def test_any_headers_get_an_answer(octets: bytes, reverse_path: str) -> None:
    why = why_automatic(scan_headers(octets), reverse_path)
    assert why is None or why.replace("-", "").isalpha()
