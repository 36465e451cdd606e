"""The worker was thought to be gone, and then it brings the server's answer."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from postroom.conversations.models.records import Stream
from postroom.flows import writing_back
from postroom.outgoing import claiming, recovering
from postroom.outgoing.journal import Journal
from postroom.outgoing.models import Attempt, Email
from postroom.outgoing.relays import shared_server
from postroom.outgoing.settling import Ended, settle
from postroom.wire.reply import EnhancedStatus, Outcome, Reply
from tests.outgoing.queued import queue, tally_adds_up
from tests.people import Cast

TAKEN = Reply(250, EnhancedStatus(2, 0, 0), "Ok: queued as A1B2C3")


def given_up(stream: Stream, people: Cast) -> tuple[str, claiming.Claimed]:
    """An Email whose lease ran out after its content had left; recovery calls that uncertain."""
    queue(people.workspace, ["ben@example.org"], stream=stream)
    lease = uuid.uuid4().hex
    [claimed] = claiming.claim(shared_server().pk, lease).emails
    now = timezone.now()
    settle(lease, [Ended(claimed, Outcome.UNCERTAIN, None)], now=now, policy_of=writing_back.policy_of)
    assert Attempt.objects.get().outcome == "uncertain"
    return lease, claimed


@pytest.mark.django_db
@pytest.mark.parametrize("stream", [Stream.URGENT, Stream.BULK])
def test_a_late_250_resolves_an_uncertain_attempt(people: Cast, stream: Stream) -> None:
    lease, claimed = given_up(stream, people)
    writing_back.write_back(lease, [Ended(claimed, Outcome.ACCEPTED, TAKEN, "", 3.0, True)], [])
    email = Email.objects.get()
    assert (email.state, email.failure_kind, email.failure_text) == ("sent", "", "")
    attempt = Attempt.objects.get()
    assert (attempt.outcome, attempt.code, attempt.remote_id, attempt.is_tls) == (
        "accepted", 250, "A1B2C3", True,
    )  # fmt: skip
    assert tally_adds_up(email.message)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "since",
    [{"lease": "another"}, {"attempt_count": 2}, {"state": "cancelled"}],
    ids=["in hand again", "tried again", "cancelled by a person"],
)
def test_an_email_that_went_on_since_keeps_its_state(people: Cast, since: dict[str, Any]) -> None:
    lease, claimed = given_up(Stream.URGENT, people)
    Email.objects.update(leased_until=timezone.now() + timedelta(hours=1), **since)
    writing_back.write_back(lease, [Ended(claimed, Outcome.ACCEPTED, TAKEN)], [])
    assert Email.objects.get().state == since.get("state", "outgoing")
    assert Attempt.objects.get().outcome == "accepted"


@pytest.mark.django_db
def test_a_late_deferral_changes_nothing(people: Cast) -> None:
    lease, claimed = given_up(Stream.BULK, people)
    writing_back.write_back(lease, [Ended(claimed, Outcome.DEFERRED, Reply(451, None, "Later"))], [])
    assert (Email.objects.get().failure_kind, Attempt.objects.get().outcome) == ("uncertain", "uncertain")


@pytest.mark.django_db
def test_a_machine_that_comes_back_after_its_lease_resolves_what_others_called_uncertain(
    people: Cast, data_folder: Path
) -> None:
    emails = queue(people.workspace, [f"{name}@example.org" for name in "abc"], stream=Stream.BULK)
    lease = uuid.uuid4().hex
    journal = Journal(recovering.journal_folder(), lease)
    claiming.claim(shared_server().pk, lease)
    for email in emails[:2]:
        journal.begun(email.pk, 1)
    journal.replied(emails[0].pk, 1, TAKEN)
    journal.close()
    away = data_folder / "elsewhere"
    recovering.journal_folder().rename(away)
    Email.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert recover_one_of_several() == 3
    assert set(Email.objects.values_list("state", "failure_kind")) == {("failed", "uncertain")}
    away.rename(recovering.journal_folder())
    assert recover_one_of_several() == 1
    states = dict(Email.objects.values_list("address__addr_spec", "state"))
    assert states == {"a@example.org": "sent", "b@example.org": "failed", "c@example.org": "failed"}
    assert Attempt.objects.get(email=emails[0]).remote_id == "A1B2C3"
    assert tally_adds_up(emails[0].message)
    assert not recovering.is_anything_left()


def recover_one_of_several() -> int:
    settled = recovering.recover(is_alone=False, now=timezone.now(), policy_of=writing_back.policy_of)
    return sum(settlement.count for settlement in settled)
