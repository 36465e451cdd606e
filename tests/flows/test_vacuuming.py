"""Auto-Vacuum: what goes, what stays, and what a failure or a crash leaves."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from postroom.conversations.models import Message, Notification, ScheduledMessage
from postroom.diagnostics.events import EventKind
from postroom.diagnostics.models import Event
from postroom.flows import acting, retrying, rounds, vacuuming
from postroom.incoming.models import ReceivedEmail
from postroom.outgoing.bounced import bounce
from postroom.outgoing.models import Attempt, Email, Rendition, State, Tally
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.schedule.work import Run
from postroom.workspaces import parameters
from postroom.workspaces.models import ApiKey, IdempotentRequest, Workspace
from postroom.workspaces.refusals import RequestRefused
from tests.outgoing.queued import queue
from tests.people import Cast, cast

NOW = timezone.now()


def vacuum(workspace: Workspace, *, days_later: int = 0, most_steps: int | None = None) -> Counter[str]:
    """Run it as the lane does: with the row as it is now, and perhaps not to its end."""
    kept: dict[str, Any] = {"interval": 1, "unit": "days", "next_call_at": NOW}
    action, _ = ScheduledAction.objects.get_or_create(workspace=workspace, key="auto_vacuum", defaults=kept)
    counts: Counter[str] = Counter()
    for number, step in enumerate(
        vacuuming.vacuum(Run(action, workspace, timezone.now() + timedelta(days=days_later))), 1
    ):
        counts.update(step)
        if number == most_steps:
            break
    return counts


def ago(days: float) -> Any:
    return timezone.now() - timedelta(days=days)


def sent(workspace: Workspace, address: str = "ben@example.org", *, days: float, **fields: Any) -> Email:
    """One message that was sent so many days ago; `fields` override its Email's."""
    [email] = queue(
        workspace, [address], **{"state": State.SENT, "sent_at": ago(days), "created_at": ago(days), **fields}
    )
    Rendition.objects.filter(emails=email).update(created_at=ago(days))
    state, is_ignored = fields.get("state", State.SENT), fields.get("ignored_at") is not None
    counted = "ignored_count" if is_ignored else f"{state}_count"
    changes = {"outgoing_count": 0, counted: 1}
    Tally.objects.filter(pk=email.message_id).update(**changes)
    return email


def octets(email: Email) -> bytes:
    return bytes(Rendition.objects.get(emails=email).octets)


# The texts as they were mailed.


@pytest.mark.parametrize(
    ("days", "fields", "is_kept"),
    [
        (15, {}, False),
        (13, {}, True),
        (15, {"state": State.OUTGOING}, True),
        (15, {"state": State.FAILED}, True),
        (15, {"state": State.FAILED, "ignored_at": NOW}, True),
        (400, {"state": State.CANCELLED}, True),
    ],
)
def test_the_text_of_a_mail_goes_once_nothing_of_it_can_be_sent_again(
    people: Cast, days: float, fields: dict[str, Any], is_kept: bool
) -> None:
    email = sent(people.workspace, days=days, **fields)
    counts = vacuum(people.workspace)
    assert bool(octets(email)) is is_kept
    assert counts[vacuuming.TEXTS] == (not is_kept)
    assert Email.objects.get(pk=email.pk).rendition_id == email.rendition_id


def test_one_recipient_who_can_be_sent_it_again_keeps_the_text_for_all(people: Cast) -> None:
    one, other = queue(people.workspace, ["ben@example.org", "eva@example.org"], state=State.SENT)
    Email.objects.filter(pk=other.pk).update(state=State.CANCELLED)
    Tally.objects.update(outgoing_count=0, sent_count=1, cancelled_count=1)
    Rendition.objects.update(created_at=ago(100))
    assert vacuum(people.workspace)[vacuuming.TEXTS] == 0
    assert octets(one)


def test_what_was_written_long_before_it_left_keeps_its_text_for_as_long_as_others(people: Cast) -> None:
    email = sent(people.workspace, days=30)
    Message.objects.update(send_at=ago(3))
    vacuum(people.workspace)
    assert octets(email)
    vacuum(people.workspace, days_later=12)
    assert not octets(email)


def test_what_waited_long_before_it_left_keeps_its_text_and_leaves_again_after_a_bounce(people: Cast) -> None:
    email = sent(people.workspace, days=15, sent_at=ago(1 / 24))
    assert vacuum(people.workspace)[vacuuming.TEXTS] == 0
    fail(email)
    assert retrying.retry([email.pk], people.ana) == 1
    assert octets(email)


def test_one_that_left_late_keeps_the_text_for_all(people: Cast) -> None:
    one, other = queue(people.workspace, ["ben@example.org", "eva@example.org"], state=State.SENT)
    Email.objects.filter(pk=one.pk).update(sent_at=ago(99))
    Email.objects.filter(pk=other.pk).update(sent_at=ago(2))
    Tally.objects.update(outgoing_count=0, sent_count=2)
    Rendition.objects.update(created_at=ago(100))
    vacuum(people.workspace)
    assert octets(one)
    vacuum(people.workspace, days_later=13)
    assert not octets(one)


def test_retry_refuses_a_text_that_is_gone_with_what_to_do(people: Cast) -> None:
    gone, there = (sent(people.workspace, name, days=15) for name in ("ben@example.org", "eva@example.org"))
    vacuum(people.workspace)
    Rendition.objects.filter(emails=there).update(octets=b"Subject: Lamps")
    fail(gone)
    fail(there)
    with pytest.raises(RequestRefused, match="Write the message again"):
        retrying.retry([gone.pk], people.ana)
    with pytest.raises(RequestRefused, match="no longer stored"):
        retrying.send_and_close(gone.message, people.ana, again={gone.pk: ""})
    done = retrying.retry_what_can([gone.pk, there.pk], people.ana)
    assert (done.count, list(done.left)) == (1, [gone.pk])
    assert Email.objects.get(pk=gone.pk).state == State.FAILED


def fail(email: Email) -> None:
    """A bounce of what was Sent."""
    with transaction.atomic():
        bounce(Email.objects.get(pk=email.pk), attempt=None, recipient="", text="550 full", is_hard=True)


def test_the_days_are_a_parameter_of_the_workspace(people: Cast) -> None:
    parameters.put(people.workspace.pk, "mail.vacuum.sent_days", "60")
    email = sent(people.workspace, days=59)
    vacuum(people.workspace)
    assert octets(email)


def test_what_was_in_use_when_it_grew_old_goes_within_a_week_of_its_end(people: Cast) -> None:
    email = sent(people.workspace, days=20, state=State.FAILED)
    vacuum(people.workspace)
    Email.objects.update(state=State.SENT)
    Tally.objects.update(failed_count=0, sent_count=1)
    vacuum(people.workspace, days_later=1)
    assert octets(email)  # the walk has passed it
    vacuum(people.workspace, days_later=7)
    assert not octets(email)


def test_a_younger_row_in_between_stops_no_walk(people: Cast) -> None:
    """Notices that count up become young again, and so may what comes from another installation."""
    for number, days in enumerate((30, 1, 30)):
        sent(people.workspace, f"ben{number}@example.org", days=days)
    assert vacuum(people.workspace)[vacuuming.TEXTS] == 2


def test_another_workspace_is_left_alone(people: Cast) -> None:
    other = Workspace.objects.create(slug="other", name="Other")
    email = sent(people.workspace, days=100)
    vacuum(other)
    assert octets(email)


# Attempts.


def attempts(email: Email, *days: float) -> list[Attempt]:
    Email.objects.filter(pk=email.pk).update(attempt_count=len(days))
    return [
        Attempt.objects.create(
            workspace_id=email.workspace_id,
            email=email,
            number=number,
            at=ago(each),
            addr_spec="ben@example.org",
            server_name="Relay",
            outcome="deferred",
        )
        for number, each in enumerate(days, 1)
    ]


def test_old_attempts_go_but_the_last_one_which_tells_of_the_delivery(people: Cast) -> None:
    email = sent(people.workspace, days=200)
    *_, last = attempts(email, 200, 199, 198)
    assert vacuum(people.workspace)[vacuuming.ATTEMPTS] == 2
    assert Attempt.objects.get().pk == last.pk


def test_attempts_younger_than_half_a_year_stay(people: Cast) -> None:
    email = sent(people.workspace, days=182)
    attempts(email, 182, 179, 178)
    assert vacuum(people.workspace)[vacuuming.ATTEMPTS] == 1
    assert [attempt.number for attempt in Attempt.objects.order_by("number")] == [2, 3]


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"state": State.OUTGOING}, 2),
        ({"state": State.FAILED}, 2),
        ({"state": State.FAILED, "ignored_at": NOW}, 1),
        ({"state": State.CANCELLED}, 1),
    ],
)
def test_what_waits_or_is_red_keeps_all_its_attempts(people: Cast, fields: dict[str, Any], kept: int) -> None:
    attempts(sent(people.workspace, days=300, **fields), 300, 299)
    vacuum(people.workspace)
    assert Attempt.objects.count() == kept


def test_a_retry_in_the_same_moment_keeps_the_attempts(people: Cast) -> None:
    """Between the look at the Emails and the lock on them."""
    email = sent(people.workspace, days=300, state=State.CANCELLED)
    attempts(email, 300, 299)
    settled = Email.objects.filter(state=State.CANCELLED)
    Email.objects.update(state=State.OUTGOING)
    assert vacuuming._thin_out(settled, [email.pk], ago(180)) == 0
    assert Attempt.objects.count() == 2


# Events, notifications and the rest.


def event(email: Email, kind: EventKind, days: float) -> Event:
    return Event.objects.create(
        workspace_id=email.workspace_id, message_id=email.message_id, kind=kind, at=ago(days)
    )


def test_how_a_message_went_out_goes_after_a_year_and_what_answers_a_question_stays(people: Cast) -> None:
    email = sent(people.workspace, days=400)
    for kind in (EventKind.ROUTE, EventKind.BOUNCED, EventKind.NOT_TOLD, EventKind.CANCELLED):
        event(email, kind, 400)
    Event.objects.create(workspace=people.workspace, kind=EventKind.LIMIT_SET, at=ago(4000))
    event(email, EventKind.ROUTE, 300)
    assert vacuum(people.workspace)[vacuuming.EVENTS] == 2
    assert Event.objects.filter(at__lt=ago(365)).exclude(kind=EventKind.LIMIT_SET).count() == 2
    assert Event.objects.filter(kind__in=(EventKind.ROUTE, EventKind.LIMIT_SET)).count() == 2


@pytest.mark.parametrize("state", [State.FAILED, State.OUTGOING])
def test_events_of_a_message_that_is_not_settled_stay(people: Cast, state: State) -> None:
    event(sent(people.workspace, days=400, state=state), EventKind.ROUTE, 400)
    assert vacuum(people.workspace)[vacuuming.EVENTS] == 0
    assert Event.objects.filter(kind=EventKind.ROUTE).exists()


@pytest.mark.parametrize(
    ("fields", "is_kept"),
    [
        ({"state": State.CANCELLED}, True),
        ({"state": State.FAILED, "ignored_at": NOW}, True),
        ({"state": State.SENT}, False),
    ],
)
def test_that_a_server_was_named_is_known_as_long_as_something_can_be_sent_again(
    people: Cast, fields: dict[str, Any], is_kept: bool
) -> None:
    email = sent(people.workspace, days=400, **fields)
    named = event(email, EventKind.ROUTE, 400)
    Event.objects.filter(pk=named.pk).update(detail={"rule": "fixed"})
    vacuum(people.workspace)
    assert Event.objects.filter(pk=named.pk).exists() is is_kept
    plain = sent(people.workspace, "eva@example.org", days=400, **fields)
    chosen = event(plain, EventKind.ROUTE, 400)
    vacuum(people.workspace, days_later=8)
    assert not Event.objects.filter(pk=chosen.pk).exists()


def test_what_was_read_half_a_year_ago_goes_and_what_is_unread_stays(people: Cast) -> None:
    for created_days, read_days in ((300, 181), (300, 100), (300, None), (10, 5)):
        Notification.objects.create(
            workspace=people.workspace,
            member=people.ana,
            kind="notice",
            created_at=ago(created_days),
            read_at=None if read_days is None else ago(read_days),
        )
    assert vacuum(people.workspace)[vacuuming.NOTICES] == 1
    assert Notification.objects.count() == 3


def test_answers_to_repeated_requests_are_forgotten_after_a_day(people: Cast) -> None:
    key, _ = ApiKey.make(people.ana, "shop")
    for name, days in (("old", 1.1), ("new", 0.9)):
        IdempotentRequest.objects.create(
            workspace=people.workspace, api_key=key, key=name, digest="0", created_at=ago(days)
        )
    assert vacuum(people.workspace)[vacuuming.REQUESTS] == 1
    assert IdempotentRequest.objects.get().key == "new"


def test_refusals_leave_the_incoming_log_after_half_a_year_and_what_was_taken_stays(people: Cast) -> None:
    for state, days in (("refused", 181), ("duplicate", 181), ("refused", 179), ("posted", 400)):
        ReceivedEmail.objects.create(
            workspace=people.workspace, source="smtp", state=state, received_at=ago(days)
        )
    assert vacuum(people.workspace)[vacuuming.REFUSALS] == 2
    assert sorted(ReceivedEmail.objects.values_list("state", flat=True)) == ["posted", "refused"]


def test_settled_scheduled_messages_and_stale_triggers_go(people: Cast) -> None:
    for state in ("posted", "waiting"):
        ScheduledMessage.objects.create(
            workspace=people.workspace,
            member=people.ana,
            subtype_key="note",
            post_at=ago(15),
            state=state,
        )
    kept: dict[str, Any] = {"interval": 1, "unit": "days", "next_call_at": NOW}
    action, _ = ScheduledAction.objects.get_or_create(
        workspace=people.workspace, key="fetchmail", defaults=kept
    )
    for days in (8, 6, -6):
        Trigger.objects.create(action=action, at=ago(days))
    counts = vacuum(people.workspace)
    assert (counts[vacuuming.SCHEDULED], counts[vacuuming.TRIGGERS]) == (1, 1)
    assert (ScheduledMessage.objects.get().state, Trigger.objects.count()) == ("waiting", 2)


# Steps.


def test_a_step_that_fails_is_named_and_the_others_are_done(
    people: Cast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    email = sent(people.workspace, days=400)
    attempts(email, 400, 399)

    def broken(*_: object) -> int:
        raise OSError("The disk is on fire.")

    monkeypatch.setattr(vacuuming, "_empty", broken)
    with pytest.raises(vacuuming.StepsFailed, match=r"^Could not empty renditions; the log"):
        vacuum(people.workspace)
    assert Attempt.objects.count() == 1
    assert "The disk is on fire." in caplog.text


def test_no_step_touches_more_rows_than_it_may_and_the_next_run_goes_on(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "STEP", 2)
    emails = [sent(people.workspace, f"ben{number}@example.org", days=20) for number in range(5)]
    assert vacuum(people.workspace, most_steps=2)[vacuuming.TEXTS] == 4
    assert vacuum(people.workspace)[vacuuming.TEXTS] == 1
    assert not any(octets(email) for email in emails)


def test_a_second_run_reads_nothing_that_the_first_one_has_seen(people: Cast) -> None:
    """The cost of a day is that of what grew old in it, not that of everything that was ever sent."""
    for number in range(20):
        attempts(sent(people.workspace, f"ben{number}@example.org", days=300), 300, 299)
    vacuum(people.workspace)
    with CaptureQueriesContext(
        connection,
    ) as caught:
        vacuum(people.workspace, days_later=1)
    walks = [each["sql"] for each in caught if "postroom_email" in each["sql"]]
    assert walks
    last = Email.objects.order_by("-pk").values_list("pk", flat=True)[0]
    assert any(f'"id" > {last}' in sql for sql in walks)
    assert not any("postroom_attempt" in each["sql"] for each in caught)


# As the lane runs it.


@pytest.mark.django_db(transaction=True)
def test_the_lane_runs_it_and_keeps_what_it_did(transactional_db: None, data_folder: Path) -> None:
    people = cast()
    email = sent(people.workspace, days=20)
    rows = ScheduledAction.objects.filter(workspace=people.workspace, key="auto_vacuum")
    ScheduledAction.objects.update(next_call_at=timezone.now() + timedelta(days=1))
    rows.update(next_call_at=timezone.now() - timedelta(minutes=1))
    assert acting.run_due() == 1
    action = rows.get()
    assert (action.last_result, action.last_counts) == ("done", {vacuuming.TEXTS: 1})
    assert not octets(email)
    assert action.positions["renditions"]


def test_a_run_that_is_killed_between_two_steps_leaves_nothing_half_removed(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a step had begun is as it was, what was committed stays, and the next run does the rest."""
    email = sent(people.workspace, days=300)
    attempts(email, 300, 299, 298)

    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(vacuuming, "_delete", killed)
        with pytest.raises(KeyboardInterrupt), transaction.atomic():
            vacuum(people.workspace)
    assert Attempt.objects.count() == 3
    assert vacuum(people.workspace)[vacuuming.ATTEMPTS] == 2
