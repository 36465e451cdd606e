"""Delivery reports, read and written."""

import base64
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.dsn import Action, read_report, write_report
from postroom.wire.reply import EnhancedStatus, Reply
from tests.wire.letters import letter

NOW = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)
ORIGINAL = (
    b"Message-ID: <order-42@demo.example>\r\nX-Postroom-Copy: aedq\r\nFrom: Ana <ana@demo.example>\r\n"
    b"Subject: Your order\r\n\r\nbody\r\n"
)

TWO_RECIPIENTS = b"""From: MAILER-DAEMON@mx.example (Mail Delivery System)
To: bounce+token@demo.example
Content-Type: multipart/report; report-type=delivery-status; boundary="b1"
MIME-Version: 1.0

--b1
Content-Type: text/plain; charset=us-ascii

I'm sorry to have to inform you that your message could not be delivered.

--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example
X-Queue-ID: 4F3A2

Final-Recipient: rfc822; <gone@example.org>
Original-Recipient: rfc822;old@example.org
Action: failed
Status: 5.1.1
Remote-MTA: dns; in.example.org
Diagnostic-Code: smtp; 550 5.1.1 <gone@example.org>: Recipient address rejected:
    User unknown

Final-Recipient: rfc822; slow@example.org
Action: delayed
Status: 4.4.1
Diagnostic-Code: X-Unix; timed out

--b1
Content-Type: message/rfc822

Message-ID: <rewritten@relay.example>
X-Microsoft-Original-Message-ID: <order-42@demo.example>
Subject: Your order

body
--b1--
"""


def test_every_recipient_of_a_report_is_read() -> None:
    report = read_report(TWO_RECIPIENTS)
    assert report is not None
    gone, slow = report.recipients
    assert (gone.final_recipient, gone.original_recipient) == ("gone@example.org", "old@example.org")
    assert (gone.action, str(gone.status), gone.remote_mta) == (Action.FAILED, "5.1.1", "in.example.org")
    assert gone.diagnostic == Reply(
        550, EnhancedStatus(5, 1, 1), "<gone@example.org>: Recipient address rejected: User unknown"
    )
    assert (slow.action, slow.diagnostic, slow.diagnostic_text) == (Action.DELAYED, None, "timed out")
    assert report.reporting_mta == "mx.example"
    assert report.original_message_id == "<order-42@demo.example>"
    assert "could not be delivered" in report.text


def test_a_report_with_crlf_line_ends_reads_the_same() -> None:
    assert read_report(TWO_RECIPIENTS.replace(b"\n", b"\r\n")) == read_report(TWO_RECIPIENTS)


@pytest.mark.parametrize("status", [EnhancedStatus(5, 1, 1), EnhancedStatus(4, 2, 2)])
def test_what_is_written_reads_back(status: EnhancedStatus) -> None:
    diagnostic = Reply(status.klass * 100 + 50, status, "no such user\nat all")
    octets = write_report(
        reporting_mta="target.localhost", recipient="gone@example.org", status=status, diagnostic=diagnostic,
        original=ORIGINAL, to="bounce+token@demo.example", date=NOW, message_id="<1@target.localhost>",
        arrival_date=NOW,
    )  # fmt: skip
    assert b"\n" not in octets.replace(b"\r\n", b"")
    report = read_report(octets)
    assert report is not None
    (recipient,) = report.recipients
    assert recipient.final_recipient == "gone@example.org"
    assert recipient.status == status
    assert recipient.action == (Action.FAILED if status.klass == 5 else Action.DELAYED)
    assert recipient.diagnostic == Reply(diagnostic.code, status, "no such user at all")
    assert report.original_message_id == "<order-42@demo.example>"
    assert report.original_copy_mark == "aedq"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        ORIGINAL,
        b"Content-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n"
        + b"--b\n\nx\n--b--\n",
        b"Content-Type: multipart/report; boundary=b\n\n"
        + b"--b\nContent-Type: multipart/mixed; boundary=b\n\n" * 5000,
    ],
    ids=["nothing", "an ordinary mail", "a read receipt", "a nest of parts"],
)
def test_what_is_no_delivery_report_is_none(octets: bytes) -> None:
    assert read_report(octets) is None


@given(st.binary(max_size=2000), st.integers(0, len(TWO_RECIPIENTS)))
def test_no_octets_make_the_reader_raise(octets: bytes, at: int) -> None:
    read_report(octets)
    read_report(TWO_RECIPIENTS[:at] + octets + TWO_RECIPIENTS[at:])
    read_report(b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n" + octets)


def test_a_report_of_a_letter_is_read_whole() -> None:
    octets = letter("dsn-two-recipients")
    report = read_report(octets)
    assert report is not None
    ben, carla = report.recipients
    assert (ben.final_recipient, ben.original_recipient) == ("ben@example.org", "Ben@example.org")
    assert (carla.action, str(carla.status)) == (Action.DELAYED, "4.4.1")
    assert report.original_message_id == "<own@demo.example>"
    assert report.original_copy_mark == "copymark234567"
    assert "could not\nbe delivered" in report.text


def test_a_report_with_many_dashes_in_the_returned_mail_is_still_read() -> None:
    report = read_report(TWO_RECIPIENTS.replace(b"\nbody\n", b"\n" + b"-- a rule\n--\n" * 2000))
    assert report is not None
    assert len(report.recipients) == 2


def test_encoded_parts_and_returned_headers_alone_are_read() -> None:
    status = base64.encodebytes(
        b"Reporting-MTA: dns;mx.example\n \nFinal-Recipient: ana@demo.example\nStatus: 5.0.0\n"
    )
    octets = (
        b"content-type: MULTIPART/Report;\n\tboundary=b\n\n--b\nContent-Type: text/html\n\n<p>Sorry</p>\n"
        b"--b\nContent-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n"
        + status
        + b"\n--b\nContent-Type: text/rfc822-headers\n\n"
        + b"Message-ID:\n <a@demo.example>\nX-Postroom-Copy: q\n--b--\n"
    )
    report = read_report(octets)
    assert report is not None
    (ana,) = report.recipients
    assert (ana.final_recipient, ana.action, str(ana.status)) == ("ana@demo.example", None, "5.0.0")
    assert (report.original_message_id, report.original_copy_mark) == ("<a@demo.example>", "q")
    assert report.text == "Sorry"


def test_a_report_of_ten_thousand_recipients_is_read_as_far_as_a_thousand() -> None:
    block = b"Final-Recipient: rfc822; a@example.org\nAction: failed\n\n"
    octets = (
        b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n"
        b"Reporting-MTA: dns; mx.example\n\n" + block * 10_000
    )
    started = time.process_time()
    report = read_report(octets)
    assert time.process_time() - started < 2
    assert report is not None
    assert len(report.recipients) == 1000


def test_a_report_attached_to_a_letter_is_no_report() -> None:
    octets = (
        b"Content-Type: multipart/mixed; boundary=out\n\n--out\n\nsee\n--out\n"
        + b"Content-Type: message/rfc822\n\n"
        + TWO_RECIPIENTS
        + b"\n--out--\n"
    )
    assert read_report(octets) is None
