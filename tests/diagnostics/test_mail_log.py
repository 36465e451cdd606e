"""One line per action, written by the flows that do it."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.conversations.models import Alias, Message
from postroom.diagnostics import log_lines, mail_log
from postroom.diagnostics.events import EventKind
from postroom.diagnostics.log_search import Looked, Wanted, search
from postroom.flows import action_settings, capture, posting, retrying, writing_back
from postroom.flows.filing import post_stored
from postroom.flows.receiving import Arrival, receive
from postroom.incoming.models import ReceivedEmail
from postroom.outgoing import claiming
from postroom.outgoing.models import Email
from postroom.outgoing.settling import Ended
from postroom.schedule.models import ScheduledAction
from postroom.wire.reply import EnhancedStatus, Outcome, Reply
from postroom.workspaces.capture_rules import Capture
from tests.outgoing.queued import queue
from tests.people import Cast

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(params=["human", "json"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    mail_log.open_log(tmp_path, log_format=request.param, tidies=False)
    yield tmp_path
    mail_log.close_log()


def lines(folder: Path, event: str) -> list[dict[str, Any]]:
    found = search(folder, Wanted(), Looked())
    return [dict(each.fields) for each in found if each.fields.get("event") == event]


def ended(people: Cast, outcome: Outcome, reply: Reply | None) -> tuple[str, list[Ended], list[Email]]:
    emails = queue(people.workspace, ["ben@example.org"])
    claimed = claiming.claim(emails[0].lane.server_id, "lease").emails
    return "lease", [Ended(each, outcome, reply, seconds=0.25) for each in claimed], emails


def test_an_attempt_that_was_taken_has_a_line_with_all_that_finds_it(people: Cast, log: Path) -> None:
    lease, some, emails = ended(people, Outcome.ACCEPTED, Reply(250, EnhancedStatus(2, 0, 0), "ok as 7F2"))
    writing_back.write_back(lease, some, [])
    (line,) = lines(log, "sent")
    wanted = Wanted(message_id=emails[0].message.message_id, keys=mail_log.tag_keys())
    assert [each.fields for each in search(log, wanted, Looked())] == [line]
    assert (str(line["email"]), line["workspace"], str(line["try"])) == (str(emails[0].pk), "demo", "1")
    assert line["to"].startswith("b****@example.org~")
    assert line["reply"] == "250 2.0.0 ok as 7F2"
    assert "ben@" not in (log / "postroom.log").read_text()


def test_a_deferral_says_when_the_next_try_is(people: Cast, log: Path) -> None:
    lease, some, _ = ended(people, Outcome.DEFERRED, Reply(451, None, "later"))
    writing_back.write_back(lease, some, [])
    (line,) = lines(log, "deferred")
    assert line["next"].endswith("Z")


def test_a_refusal_is_a_warning_and_says_that_it_is_final(people: Cast, log: Path) -> None:
    lease, some, _ = ended(
        people, Outcome.REFUSED, Reply(550, EnhancedStatus(5, 1, 1), "nobody ben@example.org")
    )
    writing_back.write_back(lease, some, [])
    (line,) = lines(log, "failed")
    assert (line["level"], line["final"]) == ("warning", "refused")
    assert line["reply"].startswith("550 5.1.1 nobody b****@example.org~")
    found = search(log, Wanted(address="ben@example.org", keys=mail_log.tag_keys()), Looked())
    assert len(list(found)) == 1


def test_nobody_knows_what_became_of_it_has_a_line_too(people: Cast, log: Path) -> None:
    lease, some, _ = ended(people, Outcome.UNCERTAIN, None)
    writing_back.write_back(lease, some, [])
    assert len(lines(log, "uncertain")) == 1


def test_what_capture_keeps_in_has_a_line(people: Cast, log: Path) -> None:
    lease, some, _ = ended(people, Outcome.ACCEPTED, None)
    capturing = Capture(mode="all", level="workspace")
    assert not writing_back.without_captured(lease, [some[0].email], {people.workspace.pk: capturing})
    (line,) = lines(log, "captured")
    assert line["mode"] == "all"


@pytest.mark.django_db(transaction=True)
def test_what_is_posted_and_who_came_to_know_it_has_a_line(people: Cast, log: Path) -> None:
    draft = posting.Draft(
        workspace=people.workspace, record=people.record, member=people.ana, body="Hello", named=[people.ben]
    )
    message = posting.post(draft)
    (line,) = lines(log, "posted")
    assert (line["message"], line["record"]) == (message.message_id, "sale.order/SO042")
    assert str(line["emails"]) == "1"
    assert line["by"].startswith("a****@demo.example~")
    assert lines(log, "route.chosen")[0]["message"] == message.message_id


@pytest.mark.django_db(transaction=True)
def test_what_people_do_about_emails_has_a_line_each_and_says_who(people: Cast, log: Path) -> None:
    emails = queue(people.workspace, ["ben@example.org", "carla@example.com"])
    retrying.cancel([each.pk for each in emails], people.olga)
    retrying.retry([emails[0].pk], people.ana)
    cancelled, retried = lines(log, "email.cancelled"), lines(log, "email.retried")
    assert [str(line["email"]) for line in cancelled] == [str(each.pk) for each in emails]
    assert {line["by"].partition("~")[0] for line in cancelled} == {"o****@demo.example"}
    assert [line["by"].partition("~")[0] for line in retried] == ["a****@demo.example"]


@pytest.mark.django_db(transaction=True)
def test_a_setting_that_was_changed_has_a_line(people: Cast, log: Path) -> None:
    capture.switch_on(workspace=people.workspace, by=people.olga)
    (line,) = lines(log, "capture.on")
    assert line["by"].startswith("o****@demo.example~")


@pytest.mark.django_db(transaction=True)
def test_a_mail_that_came_in_has_a_line_for_its_arrival_and_one_for_its_place(
    people: Cast, log: Path
) -> None:
    octets = b"From: Carla <carla@example.com>\r\nTo: x\r\nMessage-ID: <in@example.com>\r\n\r\nHi\r\n"
    to = f"info@{people.domain.domain}"
    Alias.objects.create(
        workspace=people.workspace, mail_domain=people.domain, local_part="info", model="lead"
    )
    reply = receive(
        Arrival(source="feed", reverse_path="carla@example.com", forward_paths=(to,), octets=octets)
    )
    assert reply.code == 250
    (line,) = lines(log, "received")
    assert line["id"].startswith("<i****@example.com~")
    assert line["from"].startswith("c****@example.com~")
    asyncio.run(post_stored("inbound:"))
    (filed,) = lines(log, "filed")
    assert Message.objects.filter(message_id="<in@example.com>").exists()
    assert (filed["message"], filed["id"]) == (line["id"], line["id"])
    wanted = Wanted(message_id="<in@example.com>", keys=mail_log.tag_keys())
    assert {"received", "filed"} <= {each.fields["event"] for each in search(log, wanted, Looked())}
    assert str(filed["received"]) == str(ReceivedEmail.objects.get().pk)


@pytest.mark.django_db(transaction=True)
def test_a_refusal_at_the_door_has_a_line_with_the_reply(people: Cast, log: Path) -> None:
    receive(
        Arrival(
            source="feed", reverse_path="x@example.com", forward_paths=("y@foreign.example",), octets=b"\r\n"
        )
    )
    (line,) = lines(log, "refused")
    assert line["reply"].startswith("550 5.7.1")


def test_without_a_log_nothing_is_written_and_nothing_fails(people: Cast) -> None:
    mail_log.close_log()
    lease, some, _ = ended(people, Outcome.ACCEPTED, Reply(250, None, "ok"))
    writing_back.write_back(lease, some, [])
    assert Email.objects.get().state == "sent"


@given(
    local_part=st.text('abzAZ09.+_-é"~@ ', min_size=1, max_size=12),
    domain=st.sampled_from(["example.org", "[192.0.2.1]", "bücher.example", "a b", "example.org~01234567"]),
    dialect=st.sampled_from(["human", "json"]),
    is_off=st.booleans(),
)
def test_the_fast_way_to_write_an_address_says_the_same_as_the_slow_one(
    local_part: str, domain: str, dialect: str, is_off: bool
) -> None:
    addr_spec = f"{local_part}@{domain}".lower()
    cover, form = log_lines.Cover(b"k" * 32, is_off=is_off), log_lines.DIALECTS[dialect]
    assert mail_log.recipients(form, cover)(addr_spec) == form.text("to", cover.written(addr_spec))


@given(st.text(max_size=60), st.sampled_from(["human", "json"]))
def test_the_fast_way_to_write_a_reply_says_the_same_as_the_slow_one(text: str, dialect: str) -> None:
    cover, form = log_lines.Cover(b"k" * 32), log_lines.DIALECTS[dialect]
    reply = Reply(250, None, text)
    assert mail_log.replies(form, cover)(reply) == form.text("reply", cover.foreign(f"250 {text}"))


@pytest.mark.django_db(transaction=True)
def test_what_a_command_did_names_no_person_who_did_not(people: Cast, log: Path) -> None:
    """It acts in the name of an operator, whom only the tables need."""
    people.olga.is_command = True
    action = ScheduledAction.objects.get(workspace=people.workspace, key="dns_check")
    action_settings.change(action, people.olga, interval=10)
    (line,) = lines(log, "action.changed")
    assert line["by"] == "command"
    assert (line["before"], line["after"]) == ("interval 60", "interval 10") or (
        line["after"].startswith("interval 10, next_call_at ")
    )
    capture.switch_on(people.workspace, mode="all")
    capture.switch_off(people.workspace)
    capture.switch_off(people.workspace, by=people.olga)
    people.olga.is_command = False
    capture.switch_off(None, by=people.olga)
    assert [line["by"][:7] for line in lines(log, "capture.off")] == ["command", "command", "o****@d"]


def events_in_code() -> set[str]:
    """Every event that the code names: where it is said, and what an Event may be."""
    said = {"told", "told_all", "said_now", "arrived", "_say"}
    found = {str(kind) for kind in EventKind} - {EventKind.NOT_TOLD, EventKind.CAPTURED}
    found |= {event for _, event in mail_log._SAID_OF.values()}
    for path in (ROOT / "src" / "postroom").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            words = [each for each in constants(call.args) if re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", each)]
            if name in ("note", "_note"):
                found |= {each for each in words if "." in each}
            elif name in said:
                found |= set(words) & set(constants([each for each in call.args[:2] if is_word(each)]))
    return found | {"captured", "limit_near", "limit_reached", "log_opened", "log_gap"}


def is_word(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant)


def constants(nodes: list[ast.expr]) -> list[str]:
    inner = [each for node in nodes for each in ast.walk(node)]
    return [each.value for each in inner if isinstance(each, ast.Constant) and isinstance(each.value, str)]


def test_the_reference_names_every_event_and_no_other() -> None:
    page = (ROOT / "docs" / "reference" / "log-lines.md").read_text("utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)}
    fields = {"message", "workspace", "email", "record", "by", "received", "contact", "to", "from"}
    assert events_in_code() - documented == set(), "describe them in docs/reference/log-lines.md"
    assert documented - events_in_code() - fields == set(), "nothing says these any more"


def test_the_fields_of_a_line_of_an_attempt_are_described(people: Cast, log: Path) -> None:
    lease, some, _ = ended(people, Outcome.REFUSED, Reply(550, None, "no"))
    writing_back.write_back(lease, some, [])
    (line,) = lines(log, "failed")
    page = (ROOT / "docs" / "reference" / "log-lines.md").read_text("utf-8")
    assert {name for name in line if f"`{name}`" not in page} <= {"timestamp", "level", "event"}
