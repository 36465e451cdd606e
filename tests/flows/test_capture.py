"""Capture mode: what leaves, to whom, and what is said of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from postroom.conversations.models import Address
from postroom.diagnostics.models import Event
from postroom.diagnostics.trail import trail
from postroom.flows import capture, sending
from postroom.flows.bouncing import take_report
from postroom.outgoing.models import Attempt, Email
from postroom.wire.dsn import read_report
from postroom.wire.tokens import ReturnPathToken
from postroom.workspaces import installation
from postroom.workspaces.models import Installation
from postroom.workspaces.refusals import RequestRefused
from tests.outgoing.queued import queue, tally_adds_up
from tests.people import Cast, cast
from tests.smtp.scripted import ScriptedRelay

pytestmark = pytest.mark.django_db(transaction=True)
BOTH = ["ben@example.org", "carla@example.com"]
REPORT = b"""\
Content-Type: multipart/report; report-type=delivery-status; boundary=x

--x
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example

Final-Recipient: rfc822; me@test.example
Action: failed
Status: 5.1.1

--x--
"""


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see, of an installation that has started."""
    installation.recognise()
    return cast()


def send(settings: Any, emails: list[Email], **answers: Any) -> ScriptedRelay:
    """Drain once against a relay that writes down every line it is told."""

    lane = emails[0].lane.server.engine_lane

    async def story() -> ScriptedRelay:
        script = ScriptedRelay(answers=answers)
        async with script.serve():
            settings.POSTROOM_RELAY_URL = f"smtp://127.0.0.1:{script.port}"
            await asyncio.wait_for(sending.drain(lane), 20)
            return script

    return asyncio.run(story())


def recipients(script: ScriptedRelay) -> list[str]:
    return sorted(
        line.decode().partition("<")[2].partition(">")[0] for line in script.lines if line.startswith(b"RCPT")
    )


def states() -> list[tuple[str, str, str]]:
    rows = Email.objects.order_by("address__addr_spec")
    return [(row.state, row.cancelled_because, row.redirected_to) for row in rows]


def test_redirected_mail_never_names_its_recipient_to_a_server(people: Cast, settings: Any) -> None:
    emails = queue(people.workspace, BOTH)
    capture.switch_on(people.workspace, mode="redirect", to="Me@Test.example")
    script = send(settings, emails)
    assert recipients(script) == ["me@test.example", "me@test.example"]
    assert not any(address.encode() in line for address in BOTH for line in script.lines)
    originals = sorted(content.split(b"\r\n")[0] for content in script.contents)
    assert originals == [f"X-Postroom-Original-Recipient: {address}".encode() for address in BOTH]
    assert states() == [("sent", "", "me@test.example")] * 2
    assert set(Attempt.objects.values_list("addr_spec", flat=True)) == {"me@test.example"}
    assert tally_adds_up(emails[0].message)


def test_the_trail_says_who_got_it_instead(people: Cast, settings: Any) -> None:
    emails = queue(people.workspace, BOTH[:1])
    capture.switch_on(people.workspace, mode="redirect", to="me@test.example")
    send(settings, emails)
    told = trail(emails[0].message, BOTH[0])
    assert "me@test.example instead of ben@example.org" in told.verdict
    assert any("me@test.example" in step.detail for step in told.steps)


def test_only_what_the_list_names_leaves(people: Cast, settings: Any) -> None:
    emails = queue(people.workspace, [*BOTH, "dana@elsewhere.example"])
    capture.switch_on(None, mode="allow", allowed="example.org, carla@example.com")
    assert recipients(send(settings, emails)) == BOTH
    assert states() == [("sent", "", ""), ("sent", "", ""), ("cancelled", "captured", "")]
    [event] = Event.objects.filter(kind="email.captured")
    assert event.detail == {"count": 1, "mode": "allow", "level": "installation"}
    assert tally_adds_up(emails[0].message)


def test_the_environment_holds_whatever_the_pages_say(people: Cast, settings: Any) -> None:
    settings.POSTROOM_CAPTURE = "redirect:dev@test.example"
    emails = queue(people.workspace, BOTH)
    capture.switch_on(people.workspace, mode="redirect", to="me@test.example")
    capture.switch_off(people.workspace)
    assert recipients(send(settings, emails)) == ["dev@test.example"] * 2
    assert installation.capture_of(people.workspace.pk).level == "environment"


def test_a_workspace_cannot_redirect_to_where_the_environment_lets_nothing_go(
    people: Cast, settings: Any
) -> None:
    settings.POSTROOM_CAPTURE = "allow:example.org"
    emails = queue(people.workspace, BOTH)
    capture.switch_on(people.workspace, mode="redirect", to="me@test.example")
    assert send(settings, emails).lines == []
    assert [row[:2] for row in states()] == [("cancelled", "captured")] * 2


def test_one_workspace_redirects_and_its_neighbour_does_not(people: Cast, settings: Any) -> None:
    neighbour = cast("neighbour")
    capture.switch_on(people.workspace, mode="redirect", to="me@test.example")
    emails = queue(people.workspace, BOTH[:1]) + queue(neighbour.workspace, BOTH[1:])
    assert recipients(send(settings, emails)) == ["carla@example.com", "me@test.example"]


def test_a_password_link_is_kept_in_and_never_redirected(people: Cast, settings: Any) -> None:
    [secret] = queue(people.workspace, BOTH[:1])
    assert secret.rendition is not None
    secret.rendition.layout = "secret"
    secret.rendition.save()
    [other] = queue(people.workspace, BOTH[1:])
    capture.switch_on(people.workspace, mode="redirect", to="me@test.example")
    script = send(settings, [secret, other])
    assert recipients(script) == ["me@test.example"]
    assert states()[0] == ("cancelled", "captured", "")


def test_a_bounce_of_a_redirected_copy_is_not_counted_against_the_recipient(
    people: Cast, settings: Any
) -> None:
    [email] = queue(people.workspace, BOTH[:1])
    capture.switch_on(people.workspace, mode="redirect", to="me@test.example")
    send(settings, [email])
    report = read_report(REPORT)
    with transaction.atomic():
        taken = take_report(report, ReturnPathToken(email.pk, 1), workspace=people.workspace)
    assert taken.reason == "failed"
    assert Email.objects.get().state == "failed"
    assert Address.objects.get(addr_spec=BOTH[0]).bounce_score == 0


def test_what_is_tried_again_after_capture_mode_goes_to_its_recipient(people: Cast, settings: Any) -> None:
    emails = queue(people.workspace, BOTH[:1])
    capture.switch_on(people.workspace, mode="redirect", to="me@test.example")
    send(settings, emails, RCPT=b"450 4.7.1 later\r\n")
    assert states() == [("outgoing", "", "me@test.example")]
    capture.switch_off(people.workspace)
    Email.objects.update(due_at=people.workspace.created_at)
    assert recipients(send(settings, emails)) == BOTH[:1]
    assert states() == [("sent", "", "")]


def test_a_claim_asks_once_however_many_workspaces_it_holds(people: Cast, settings: Any) -> None:
    keys = [people.workspace.pk, cast("neighbour").workspace.pk, cast("third").workspace.pk]
    with CaptureQueriesContext(connection) as asked:
        assert set(installation.captures_of(keys)) == set(keys)
    assert len(asked) == 1


def test_a_copy_of_a_redirecting_installation_keeps_everything_in(people: Cast, settings: Any) -> None:
    capture.switch_on(None, mode="redirect", to="me@test.example")
    settings.POSTROOM_INSTANCE_ID = "elsewhere"
    row = installation.recognise()
    assert (row.capture_reason, row.capture_mode) == ("copy", "all")
    assert installation.capture_of(people.workspace.pk).mode == "all"


def test_an_operator_of_a_copy_may_redirect_and_it_stays_a_copy(people: Cast, settings: Any) -> None:
    settings.POSTROOM_INSTANCE_ID = "elsewhere"
    installation.recognise()
    capture.switch_on(None, mode="redirect", to="me@test.example")
    installation.recognise()
    row = Installation.objects.get()
    assert (row.capture_reason, row.capture_mode) == ("copy", "redirect")


@pytest.mark.parametrize(
    ("mode", "to", "allowed"),
    [
        ("redirect", "", ""),
        ("redirect", "nobody", ""),
        ("allow", "", " "),
        ("allow", "", "a b c@"),
        ("x", "", ""),
    ],
)
def test_half_a_choice_is_refused_and_changes_nothing(people: Cast, mode: str, to: str, allowed: str) -> None:
    with pytest.raises(RequestRefused):
        capture.switch_on(people.workspace, mode=mode, to=to, allowed=allowed)
    assert not installation.is_capturing(people.workspace)


def test_nothing_is_redirected_to_an_address_that_leads_back_here(people: Cast) -> None:
    with pytest.raises(RequestRefused, match="leads back here"):
        capture.switch_on(None, mode="redirect", to=f"sales@{people.domain.domain}")
