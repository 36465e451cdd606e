"""The daily limit where it is kept: in the claim, and exactly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from postroom import engine
from postroom.conversations.models.records import Stream
from postroom.flows import retrying
from postroom.outgoing import admitting, claiming, expiring, recovering, settling
from postroom.outgoing import holds as server_holds
from postroom.outgoing.journal import Journal
from postroom.outgoing.models import Allowance, Email, Lane, MailServer, State
from postroom.outgoing.relays import shared_server
from postroom.wire.reply import Outcome, Reply
from postroom.workspaces import parameters, plans
from tests.outgoing.limited import (
    DUE,
    NOON,
    RESET,
    consumed,
    end,
    holds,
    lane_over,
    limit,
    own_server,
    policy_of,
    take,
    used,
)
from tests.outgoing.queued import queue, tally_adds_up
from tests.people import Cast, cast


def some(count: int, name: str = "p") -> list[str]:
    return [f"{name}{n}@example.org" for n in range(count)]


def test_a_claim_takes_what_is_left_and_the_rest_waits_for_23_utc(people: Cast) -> None:
    limit(people.workspace, 5)
    queue(people.workspace, some(8), due_at=DUE)
    first = take()
    assert (len(first.emails), used(people.workspace), consumed(people.workspace)) == (5, 5, 5)
    assert {email.quota_day for email in first.emails} == {date(2026, 3, 28)}
    second = take()
    assert (second.emails, second.next_at) == ((), RESET)
    assert holds(people.workspace) == {"urgent": ("daily_limit", RESET)}
    assert take(now=RESET - timedelta(seconds=1)).emails == ()
    assert len(take(now=RESET).emails) == 3
    assert (used(people.workspace), used(people.workspace, RESET)) == (5, 3)
    assert holds(people.workspace) == {"urgent": ("", None)}


def test_bulk_mail_leaves_urgent_mail_its_share(people: Cast) -> None:
    limit(people.workspace, 10)
    queue(people.workspace, some(20, "bulk"), stream=Stream.BULK, due_at=DUE)
    assert len(take().emails) == 8
    assert take().next_at == RESET
    assert holds(people.workspace)["bulk"] == ("daily_limit_urgent_share", RESET)
    queue(people.workspace, some(5, "urgent"), due_at=DUE)
    assert len(take().emails) == 2
    assert take().emails == ()
    assert {because for because, _ in holds(people.workspace).values()} == {"daily_limit"}


def test_after_the_reset_urgent_mail_goes_first(people: Cast) -> None:
    limit(people.workspace, 5)
    queue(people.workspace, some(9, "bulk"), stream=Stream.BULK, due_at=DUE)
    queue(people.workspace, some(8, "urgent"), due_at=DUE)
    assert [email.is_urgent for email in take().emails] == [True] * 5
    take()
    assert [email.is_urgent for email in take(now=RESET).emails].count(True) == 3


def test_the_share_is_the_workspaces_own(people: Cast) -> None:
    limit(people.workspace, 10)
    parameters.put(people.workspace.pk, plans.URGENT_SHARE, "0")
    queue(people.workspace, some(20), stream=Stream.BULK, due_at=DUE)
    assert len(take().emails) == 10


@pytest.mark.parametrize(
    ("outcome", "is_used"),
    [
        (Outcome.ACCEPTED, True),
        (Outcome.UNCERTAIN, True),
        (Outcome.DEFERRED, False),
        (Outcome.REFUSED, False),
        (Outcome.UNREACHABLE, False),
    ],
)
def test_only_what_was_taken_or_may_have_been_is_used(people: Cast, outcome: Outcome, is_used: bool) -> None:
    limit(people.workspace, 5)
    queue(people.workspace, some(3), due_at=DUE)
    end(take().emails, outcome)
    assert used(people.workspace) == consumed(people.workspace) == (3 if is_used else 0)


def test_what_is_given_back_lets_waiting_mail_go_and_wakes_the_relay(
    people: Cast, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(engine, "wake", woken.append)
    limit(people.workspace, 5)
    queue(people.workspace, some(8), due_at=DUE)
    got = take()
    take("other")
    assert holds(people.workspace)["urgent"] == ("daily_limit", RESET)
    with django_capture_on_commit_callbacks(execute=True):
        end(got.emails[:2], Outcome.REFUSED)
    assert holds(people.workspace)["urgent"] == ("", None)
    assert woken == [shared_server().engine_lane]
    assert len(take("other").emails) == 2


def given_up(emails: tuple[claiming.Claimed, ...]) -> None:
    settling.give_up("mine", [(email, "cannot be put together") for email in emails])


def captured(emails: tuple[claiming.Claimed, ...]) -> None:
    settling.capture("mine", emails)


def released(emails: tuple[claiming.Claimed, ...]) -> None:
    claiming.release("mine", emails)


@pytest.mark.parametrize("what", [given_up, captured, released])
def test_what_never_left_is_not_used(people: Cast, what: Callable[..., None]) -> None:
    limit(people.workspace, 5)
    queue(people.workspace, some(8), due_at=DUE)
    got = take()
    take("other")
    what(got.emails)
    assert used(people.workspace) == consumed(people.workspace) == 0
    assert len(take("other").emails) == (5 if what is released else 3)


def test_what_does_not_fit_into_memory_is_not_used(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(people.workspace, 5)
    for n in range(3):
        queue(people.workspace, [f"p{n}@example.org"], octets=b"x" * 1000, due_at=DUE)
    monkeypatch.setattr(claiming, "CLAIM_OCTETS", 1500)
    assert len(take().emails) == 1
    assert used(people.workspace) == consumed(people.workspace) == 1


def test_recovery_uses_what_may_have_left_and_gives_the_rest_back(people: Cast, data_folder: Any) -> None:
    limit(people.workspace, 5)
    queue(people.workspace, some(5), due_at=DUE)
    journal = Journal(recovering.journal_folder(), "mine")
    sent, refused, begun, *_ = emails = take().emails
    for email in (sent, refused, begun):
        journal.begun(email.email_id, 1)
    journal.replied(sent.email_id, 1, Reply(250, None, "Ok"))
    journal.replied(refused.email_id, 1, Reply(550, None, "no"))
    journal.close()
    list(recovering.recover(is_alone=True, now=NOON, policy_of=policy_of))
    assert len(emails) == 5
    assert used(people.workspace) == consumed(people.workspace) == 2


def test_what_may_have_arrived_stays_used_when_its_time_is_over(people: Cast) -> None:
    limit(people.workspace, 5)
    queue(people.workspace, ["a@example.org"], due_at=DUE)
    end(take().emails, Outcome.UNCERTAIN)
    later = NOON + timedelta(days=30)
    server_holds.hold_server(shared_server().pk, later, server_holds.SERVER_UNREACHABLE, "no route")
    MailServer.objects.update(failing_since=NOON)
    list(expiring.expire_unreached(MailServer.objects.get(), later, policy_of))
    assert Email.objects.get().failure_kind == "expired"
    assert used(people.workspace) == 1


def test_a_retry_on_a_later_day_uses_that_day(people: Cast) -> None:
    limit(people.workspace, 5)
    (email,) = queue(people.workspace, ["a@example.org"], due_at=DUE)
    end(take().emails, Outcome.ACCEPTED)
    Email.objects.update(state=State.FAILED)
    email.message.tally.__class__.objects.update(sent_count=0, failed_count=1)
    retrying.retry([email.pk], people.ana)
    Email.objects.update(due_at=DUE)
    end(take(now=RESET).emails, Outcome.ACCEPTED, now=RESET)
    assert (used(people.workspace), used(people.workspace, RESET)) == (1, 1)
    assert Email.objects.get().quota_day == date(2026, 3, 29)


# What is counted.


def test_mail_over_an_own_server_is_not_counted_and_not_held(people: Cast) -> None:
    limit(people.workspace, 5)
    server = own_server(people.workspace)
    queue(people.workspace, some(9), due_at=DUE, lane=lane_over(people.workspace, server))
    got = take(server=server)
    assert len(got.emails) == 9
    assert {email.quota_day for email in got.emails} == {None}
    assert not Allowance.objects.exists()


def test_what_counts_is_who_carries_it(people: Cast) -> None:
    limit(people.workspace, 5)
    server = own_server(people.workspace)
    shared, own = lane_over(people.workspace, shared_server()), lane_over(people.workspace, server)
    queue(people.workspace, some(9), due_at=DUE, lane=own)
    Lane.objects.filter(pk=own.pk).update(via=shared_server())
    got = take()
    assert (len(got.emails), {email.server_name for email in got.emails}) == (5, {shared_server().name})
    assert take().emails == ()
    assert holds(people.workspace, server)["urgent"] == ("daily_limit", RESET)
    Lane.objects.filter(pk=own.pk).update(via=None)
    got = take(server=server)
    assert (len(got.emails), {email.server_name for email in got.emails}) == (4, {"own"})
    own.refresh_from_db()
    assert (own.held_because, own.held_until) == ("", None)
    assert shared.held_because == ""


def test_a_hold_of_the_relays_limit_ends_when_the_own_server_is_back(people: Cast) -> None:
    limit(people.workspace, 5)
    server = own_server(people.workspace)
    queue(people.workspace, some(9), due_at=DUE, lane=lane_over(people.workspace, server))
    Lane.objects.filter(server=server).update(via=shared_server())
    take()
    take()
    server_holds.reopen(server.pk)
    assert holds(people.workspace, server)["urgent"] == ("", None)
    assert len(take(server=server).emails) == 4


def test_one_workspaces_limit_holds_no_other(people: Cast) -> None:
    neighbour = cast("neighbour")
    limit(people.workspace, 5)
    queue(people.workspace, some(20), due_at=DUE)
    queue(neighbour.workspace, some(20, "n"), due_at=DUE)
    take()
    take()
    assert consumed(people.workspace) == 5
    assert Email.objects.filter(workspace=neighbour.workspace, lease="mine").count() == 20
    assert holds(neighbour.workspace) == {"urgent": ("", None)}


def test_a_limit_that_was_raised_meanwhile_holds_nothing(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(people.workspace, 5)
    queue(people.workspace, some(20), due_at=DUE)
    take()
    reserve = admitting.Budget.count

    def raised_meanwhile(budget: admitting.Budget, workspace_ids: list[int]) -> Any:
        limit(people.workspace, 50)
        return reserve(budget, workspace_ids)

    monkeypatch.setattr(admitting.Budget, "count", raised_meanwhile)
    got = take()
    assert (got.emails, holds(people.workspace)) == ((), {"urgent": ("", None)})
    assert got.next_at is not None
    assert got.next_at <= NOON


# Warnings.


def test_a_claim_says_when_most_and_when_all_of_a_day_is_used(people: Cast) -> None:
    limit(people.workspace, 10)
    queue(people.workspace, some(20), due_at=DUE)
    said = [[crossing.is_all for crossing in take(limit=size).crossings] for size in (7, 1, 1, 1, 1)]
    assert said == [[], [False], [], [True], []]


# Over the limit, where the workspace wants failures.


def test_without_resuming_what_is_over_fails_and_says_when_retry_works(people: Cast) -> None:
    limit(people.workspace, 5)
    parameters.put(people.workspace.pk, plans.AUTO_RESUME, "off")
    emails = queue(people.workspace, some(8), due_at=DUE)
    end(take().emails, Outcome.ACCEPTED)
    got = take()
    assert got.failed_message_ids == {emails[0].message_id}
    failed = Email.objects.filter(state=State.FAILED, failure_kind="daily_limit", is_listed=True)
    assert failed.count() == 3
    assert {email.failure_text for email in failed} == {
        "The daily limit of 5 emails is used up. "
        "Retry works from 2026-03-28 23:00 UTC, or as soon as the limit is higher."
    }
    assert tally_adds_up(emails[0].message)
    assert holds(people.workspace) == {"urgent": ("", None)}
    assert retrying.retry(failed, people.ana) == 3
    Email.objects.filter(state=State.OUTGOING).update(due_at=DUE)
    assert len(take(now=RESET).emails) == 3


def test_nothing_fails_over_the_limit_unless_it_is_told_in_the_same_transaction(people: Cast) -> None:
    def be_killed(message_ids: frozenset[int]) -> None:
        if message_ids:
            raise RuntimeError("killed")

    limit(people.workspace, 5)
    parameters.put(people.workspace.pk, plans.AUTO_RESUME, "off")
    queue(people.workspace, some(8), due_at=DUE)
    end(take().emails, Outcome.ACCEPTED)
    with pytest.raises(RuntimeError):
        take(tell=be_killed)
    assert not Email.objects.filter(state=State.FAILED).exists()


def test_what_fails_does_so_in_bounded_groups(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admitting, "TURNED_AWAY", 2)
    limit(people.workspace, 5)
    parameters.put(people.workspace.pk, plans.AUTO_RESUME, "off")
    emails = queue(people.workspace, some(10), due_at=DUE)
    take()
    assert [len(take().failed_message_ids) for _ in range(4)] == [1, 1, 1, 0]
    assert Email.objects.filter(state=State.FAILED).count() == 5
    assert tally_adds_up(emails[0].message)


def test_bulk_mail_over_its_part_fails_and_urgent_mail_still_goes(people: Cast) -> None:
    limit(people.workspace, 5)
    parameters.put(people.workspace.pk, plans.AUTO_RESUME, "off")
    queue(people.workspace, some(6), stream=Stream.BULK, due_at=DUE)
    take()
    take()
    assert (
        "Bulk mail may use 4 of the daily limit of 5" in Email.objects.filter(state="failed")[0].failure_text
    )
    queue(people.workspace, ["urgent@example.org"], due_at=DUE)
    assert len(take().emails) == 1


# What it costs.


def statements(captured: CaptureQueriesContext) -> int:
    return sum("SAVEPOINT" not in query["sql"] for query in captured)


def test_no_limit_costs_no_statement_and_a_limit_two_a_claim_and_none_a_settle(people: Cast) -> None:
    counts = {}
    for name, figure in (("none", None), ("some", 100)):
        limit(people.workspace, figure)
        queue(people.workspace, some(4, name), due_at=DUE)
        take(limit=1)  # the first of a day makes its row
        with CaptureQueriesContext(connection) as claimed:
            got = take(limit=2)
        with CaptureQueriesContext(connection) as settled:
            end(got.emails, Outcome.ACCEPTED)
        counts[name] = statements(claimed), statements(settled)
    sets_a_limit_of_waiting = connection.vendor == "postgresql"
    assert counts["some"][0] - counts["none"][0] == 2 + sets_a_limit_of_waiting
    assert counts["some"][1] == counts["none"][1]


# Several workers.


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_never_use_more_than_the_limit() -> None:
    people, neighbour = cast(), cast("neighbour")
    for workspace, figure in ((people.workspace, 40), (neighbour.workspace, 25)):
        limit(workspace, figure)
        queue(workspace, some(80, workspace.slug), due_at=DUE)
        queue(workspace, some(40, f"bulk-{workspace.slug}"), stream=Stream.BULK, due_at=DUE)
    most: list[int] = []
    faults: list[BaseException] = []
    threads = [threading.Thread(target=work, args=(number, people, most, faults)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    assert max(most) <= 40
    for workspace, figure in ((people.workspace, 40), (neighbour.workspace, 25)):
        assert used(workspace) == consumed(workspace) == figure
        sent = Email.objects.filter(workspace=workspace, state=State.SENT)
        assert sent.count() == figure
    assert not Email.objects.exclude(lease="").exists()


def work(number: int, people: Cast, most: list[int], faults: list[BaseException]) -> None:
    """Claim and settle until nothing is left: each address is refused once out of five."""
    lease = f"worker {number}"
    try:
        while emails := take(lease, limit=7).emails:
            most.append(used(people.workspace))
            refused = tuple(email for email in emails if email.email_id % 5 == 0)
            end(tuple(set(emails) - set(refused)), Outcome.ACCEPTED, lease)
            end(refused, Outcome.REFUSED, lease)
    except BaseException as fault:  # a thread's fault must reach the test
        faults.append(fault)
    finally:
        connections.close_all()
