"""A mail that was taken comes back seconds later, and the envelope turns red."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys.servers import eventually, running

pytestmark = pytest.mark.journey


def test_a_report_that_comes_after_sent_turns_the_email_to_delivery_failed(tmp_path: Path) -> None:
    with running(tmp_path, "demo") as demo:
        post = ("message", "post", "--record", "sale.order/SO042", "--to", "late-bounce@example.org")
        posted = demo.json(*post, "--subject", "Later", "--body", "Hello")

        def email_in(state: str) -> list[dict[str, object]]:
            emails = demo.json("queue", "list", "--state", state, "--search", "late-bounce@")["data"]
            return [email for email in emails if email["message"] == posted["id"]]

        eventually(lambda: email_in("sent") or email_in("failed"))
        [email] = eventually(lambda: email_in("failed"))
        assert email["failure_kind"] == "bounced"
        assert email["sent_at"] is not None
        assert email["bounced_at"] is not None
        told = demo.json("explain", str(email["id"]))
        assert told["button"]
        report = demo.json("inbound", "log", "--state", "bounce")["data"]
        assert [line["reverse_path"] for line in report] == [""]


def test_an_automatic_reply_is_kept_and_tells_nobody(tmp_path: Path) -> None:
    with running(tmp_path, "demo") as demo:
        demo.command(
            "message",
            "post",
            "--record",
            "sale.order/SO042",
            "--to",
            "auto-reply@example.org",
            "--body",
            "Hi",
        )
        eventually(
            lambda: demo.json("queue", "list", "--search", "auto-reply@")["data"][0]["state"] == "sent"
        )
        before = len(demo.json("queue", "list", "--limit", "1000")["data"])
        [line] = eventually(
            lambda: [
                one
                for one in demo.json("inbound", "log", "--state", "posted")["data"]
                if one["record"] == "sale.order/SO042"
            ]
        )
        assert line["reverse_path"] == ""
        assert len(demo.json("queue", "list", "--limit", "1000")["data"]) == before
