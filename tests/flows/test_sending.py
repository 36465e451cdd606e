"""From the queue to the relay and back into the rows."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.utils import timezone

from postroom import engine
from postroom.conversations.models import Notification
from postroom.conversations.models.records import Stream
from postroom.diagnostics.models import Event
from postroom.engine.embedded import Engine
from postroom.flows import sending, writing_back
from postroom.outgoing import claiming, recovering
from postroom.outgoing.models import Attempt, Email, Lane, MailServer
from postroom.web.notice_words import page_of, words_of
from postroom.wire.tokens import ReturnPathToken
from postroom.workspaces import installation, tokens
from tests.outgoing.queued import RelayDoor, queue, relay, tally_adds_up
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see."""
    return cast()


def send(settings: Any, lane_name: str, door: RelayDoor | None = None) -> tuple[RelayDoor, Any]:
    """Drain once against a relay; return it and when the lanes come back."""

    async def story() -> tuple[RelayDoor, Any]:
        async with relay(settings, door) as open_door:
            return open_door, await asyncio.wait_for(sending.drain(lane_name), 20)

    return asyncio.run(story())


def lane_of(email: Email) -> str:
    """The engine's name for where an Email waits."""
    return email.lane.server.engine_lane


def wait_it_out() -> None:
    """The time for which servers are left alone is over."""
    MailServer.objects.exclude(down_until=None).update(down_until=timezone.now())
    Lane.objects.exclude(held_until=None).update(held_until=timezone.now())


def test_what_is_due_is_sent_and_written_down(people: Cast, settings: Any) -> None:
    emails = queue(people.workspace, ["ben@example.org", "carla@example.com"])
    door, next_at = send(settings, lane_of(emails[0]))
    assert next_at is None
    assert sorted(path for mail in door.taken for path in mail.forward_paths) == [
        "ben@example.org",
        "carla@example.com",
    ]
    sent = Email.objects.get(pk=emails[0].pk)
    assert (sent.state, sent.lease, sent.attempt_count, sent.is_listed) == ("sent", "", 1, False)
    assert sent.sent_at is not None
    attempt = Attempt.objects.get(email=sent)
    assert (attempt.outcome, attempt.code, attempt.enhanced, attempt.number) == ("accepted", 250, "2.0.0", 1)
    assert attempt.remote_id.startswith("0000000")
    assert tally_adds_up(emails[0].message)


def test_each_copy_names_its_recipient_and_carries_a_signed_return_path(people: Cast, settings: Any) -> None:
    [email] = queue(people.workspace, ["ben@example.org"])
    door, _ = send(settings, lane_of(email))
    [mail] = door.taken
    assert b"To: Ben Ortiz <ben@example.org>\r\n" in mail.content
    local_part, _, domain = mail.reverse_path.partition("@")
    assert domain == people.domain.domain
    token = tokens.signer(people.workspace.pk).recognise(local_part.removeprefix("bounce+"))
    assert token == ReturnPathToken(email.pk, 1)
    mark = mail.content.split(b"X-Postroom-Copy: ")[1].split(b"\r\n")[0].decode()
    assert tokens.signer(people.workspace.pk).recognise_copy(mark) == email.pk


def test_a_550_turns_the_envelope_red_and_tells_author_responsible_and_operators(
    people: Cast, settings: Any
) -> None:
    [email] = queue(
        people.workspace,
        ["code-550@example.org"],
        message={"record": people.record, "author": people.ana_contact},
    )
    send(settings, lane_of(email))
    email.refresh_from_db()
    assert (email.state, email.failure_kind, email.is_listed) == ("failed", "refused", True)
    assert email.failure_text == "550 5.1.1 as you asked"
    assert email.message.tally.is_red
    told = Notification.objects.filter(message=email.message, kind="failure")
    assert {row.member_id for row in told} == {people.ana.pk, people.olga.pk}


def test_a_450_stays_outgoing_with_a_due_time_and_a_reason(people: Cast, settings: Any) -> None:
    [email] = queue(people.workspace, ["greylist@example.org"])
    _, next_at = send(settings, lane_of(email))
    email.refresh_from_db()
    assert (email.state, email.attempt_count, email.is_listed) == ("outgoing", 1, True)
    assert email.failure_text == "450 4.7.1 come back later"
    assert next_at == email.due_at
    assert timedelta(seconds=50) < email.due_at - timezone.now() < timedelta(seconds=70)
    assert tally_adds_up(email.message)


def test_an_urgent_mail_without_an_answer_is_sent_once_more_and_then_left_to_people(
    people: Cast, settings: Any
) -> None:
    [email] = queue(people.workspace, ["drop@example.org"])
    send(settings, lane_of(email))
    email.refresh_from_db()
    assert (email.state, email.uncertain_count) == ("outgoing", 1)
    Email.objects.update(due_at=timezone.now())
    send(settings, lane_of(email))
    email.refresh_from_db()
    assert (email.state, email.failure_kind, email.uncertain_count) == ("failed", "uncertain", 2)
    assert [row.outcome for row in Attempt.objects.order_by("number")] == ["uncertain", "uncertain"]


def test_a_bulk_mail_without_an_answer_is_never_repeated_by_itself(people: Cast, settings: Any) -> None:
    [email] = queue(people.workspace, ["drop@example.org"], stream=Stream.BULK)
    send(settings, lane_of(email))
    email.refresh_from_db()
    assert (email.state, email.failure_kind) == ("failed", "uncertain")


def test_a_server_that_is_down_holds_its_lanes_and_fails_nobody(people: Cast, settings: Any) -> None:
    [email] = queue(people.workspace, ["ben@example.org"])
    settings.POSTROOM_RELAY_URL = "smtp://127.0.0.1:1"
    first = asyncio.run(sending.drain(lane_of(email)))
    email.refresh_from_db()
    assert (email.state, email.lease, email.attempt_count, email.is_listed) == ("outgoing", "", 0, True)
    lane = Lane.objects.get()
    assert (lane.held_because, lane.held_until) == ("server_unreachable", first)
    wait_it_out()
    second = asyncio.run(sending.drain(lane_of(email)))
    assert first is not None
    assert second is not None
    assert second - timezone.now() > first - timezone.now() + timedelta(seconds=10)
    wait_it_out()
    door, _ = send(settings, lane_of(email))
    assert len(door.taken) == 1
    assert Lane.objects.get().held_until is None


def test_a_relay_out_of_reach_is_one_line_in_the_log_and_one_when_it_is_back(
    people: Cast, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "postroom.sending")
    [email] = queue(people.workspace, ["ben@example.org"])
    settings.POSTROOM_RELAY_URL = "smtp://127.0.0.1:1"
    for _ in range(3):
        wait_it_out()
        asyncio.run(sending.drain(lane_of(email)))
    assert [line.levelname for line in caplog.records] == ["WARNING"]
    assert "waits, and no email fails by it" in caplog.text
    wait_it_out()
    send(settings, lane_of(email))
    assert [line.levelname for line in caplog.records] == ["WARNING", "INFO"]


def test_without_a_relay_the_lane_says_so_and_nothing_is_claimed(people: Cast, settings: Any) -> None:
    [email] = queue(people.workspace, ["ben@example.org"])
    settings.POSTROOM_RELAY_URL = ""
    assert asyncio.run(sending.drain(lane_of(email))) is not None
    assert Lane.objects.get().held_because == "no_server"
    assert Email.objects.listed().get() == email
    assert sending.recover() == 0
    assert Lane.objects.get().held_until is None


def test_a_capturing_workspace_opens_no_socket(people: Cast, settings: Any) -> None:
    emails = queue(people.workspace, [f"person{n}@example.org" for n in range(300)])
    installation.start_capture(workspace=people.workspace)
    settings.POSTROOM_RELAY_URL = "smtp://127.0.0.1:1"
    asyncio.run(sending.drain(lane_of(emails[0])))
    assert Lane.objects.get().held_because == ""
    assert set(Email.objects.values_list("state", "cancelled_because")) == {("cancelled", "captured")}
    assert not Attempt.objects.exists()
    assert sum(event.detail["count"] for event in Event.objects.filter(kind="email.captured")) == 300
    assert tally_adds_up(emails[0].message)


def test_a_text_that_is_gone_fails_its_own_email_only(people: Cast, settings: Any) -> None:
    emails = queue(people.workspace, ["ben@example.org", "carla@example.com"])
    Email.objects.filter(pk=emails[0].pk).update(rendition=None)
    door, _ = send(settings, lane_of(emails[0]))
    assert len(door.taken) == 1
    states = dict(Email.objects.values_list("pk", "state"))
    assert states == {emails[0].pk: "failed", emails[1].pk: "sent"}
    assert tally_adds_up(emails[0].message)


def test_many_claims_go_over_few_connections_and_nothing_is_left(people: Cast, settings: Any) -> None:
    emails = queue(people.workspace, [f"person{n}@example.org" for n in range(450)], stream=Stream.BULK)
    door, next_at = send(settings, lane_of(emails[0]))
    assert next_at is None
    assert len({path for mail in door.taken for path in mail.forward_paths}) == len(door.taken) == 450
    assert not Email.objects.exclude(state="sent", lease="").exists()
    assert Attempt.objects.count() == 450
    assert tally_adds_up(emails[0].message)


def test_an_email_that_is_kept_when_sent_stays_on_the_queue_page(people: Cast, settings: Any) -> None:
    [email] = queue(
        people.workspace, ["ben@example.org"], stream=Stream.BULK, message={"is_auto_deleted": False}
    )
    send(settings, lane_of(email))
    email.refresh_from_db()
    assert (email.state, email.is_listed) == ("sent", True)


def test_urgent_mail_overtakes_bulk_that_waits_for_a_slow_answer(
    people: Cast, settings: Any, data_folder: Path
) -> None:
    queue(people.workspace, [f"slow{n}@example.org" for n in range(600)], stream=Stream.BULK)
    door = RelayDoor()

    def post() -> None:
        [email] = queue(people.workspace, ["ben@example.org"])
        engine.wake(lane_of(email))
        connections.close_all()

    async def story() -> None:
        async with relay(settings, door):
            started = Engine(data_folder, [sending.KIND])
            await started.start()
            while len(door.taken) < 6:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(post)
            while "ben@example.org" not in (path for mail in door.taken for path in mail.forward_paths):
                await asyncio.sleep(0.01)
            assert len(door.taken) < 10
            door.gate.set()
            await started.stop(5)

    asyncio.run(asyncio.wait_for(story(), 15))
    assert set(Email.objects.values_list("lease", flat=True)) == {""}


def test_outcomes_that_could_not_be_written_are_recovered_from_the_journal(
    people: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    emails = queue(people.workspace, [f"person{n}@example.org" for n in range(30)])
    write_back = writing_back.write_back

    def fail_once(*_: Any) -> None:
        monkeypatch.setattr(writing_back, "write_back", write_back)
        raise OperationalError("disk full")

    monkeypatch.setattr(writing_back, "write_back", fail_once)
    door = RelayDoor()
    with pytest.raises(OperationalError):
        send(settings, lane_of(emails[0]), door)
    assert door.taken
    send(settings, lane_of(emails[0]), door)
    assert len({path for mail in door.taken for path in mail.forward_paths}) == len(door.taken) == 30
    assert set(Email.objects.values_list("state", "lease", "attempt_count")) == {("sent", "", 1)}
    assert set(Attempt.objects.values_list("outcome", "code")) == {("accepted", 250)}
    assert tally_adds_up(emails[0].message)


@pytest.mark.parametrize(
    ("to", "fields"),
    [("code-550@example.org", {}), ("ben@example.org", {"rendition": None})],
    ids=["refused", "cannot be put together"],
)
def test_an_email_never_fails_without_somebody_being_told_in_the_same_transaction(
    people: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch, to: str, fields: dict[str, Any]
) -> None:
    [email] = queue(people.workspace, [to], **fields)

    def be_killed(*_: Any) -> None:
        raise OperationalError("killed")

    with monkeypatch.context() as until_killed:
        until_killed.setattr(writing_back, "tell_failures", be_killed)
        with pytest.raises(OperationalError):
            send(settings, lane_of(email))
    assert Email.objects.get().state == "outgoing"
    send(settings, lane_of(email))
    assert Email.objects.get().state == "failed"
    assert Notification.objects.filter(kind="failure", message=email.message).exists()
    assert tally_adds_up(email.message)


def test_what_is_claimed_and_not_sent_is_given_back_when_the_drain_is_cancelled(
    people: Cast, settings: Any
) -> None:
    slow = queue(people.workspace, [f"slow{n}@example.org" for n in range(60)])
    name = lane_of(slow[0])

    async def story() -> None:
        async with relay(settings) as door:
            draining = asyncio.create_task(sending.drain(name))
            while len(door.taken) < 8:
                await asyncio.sleep(0.01)
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)

    asyncio.run(story())
    assert not Email.objects.exclude(lease="").exists()
    outcomes = list(Attempt.objects.values_list("outcome", flat=True))
    assert set(outcomes) == {"uncertain"}
    assert Email.objects.filter(attempt_count=0, state="outgoing").count() == 60 - len(outcomes)
    assert tally_adds_up(slow[0].message)


@pytest.mark.parametrize("notes", [b'{"lease": "gone"}\n', b'{"lease": "gone", "boot": ""}\nB one 1\n'])
def test_a_journal_that_cannot_be_settled_is_set_aside_and_operators_are_told(
    people: Cast, data_folder: Path, caplog: pytest.LogCaptureFixture, notes: bytes
) -> None:
    [email] = queue(people.workspace, ["ben@example.org"])
    claiming.claim(email.lane.server_id, "gone")
    folder = recovering.journal_folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gone.journal").write_bytes(notes)
    count = sending.recover()
    if connection.vendor == "sqlite":  # elsewhere its time has to be over first
        assert count == 1
    assert not recovering.is_anything_left()
    assert (folder / "gone.journal.set-aside").read_bytes() == notes
    [line] = [line.getMessage() for line in caplog.records if line.levelname == "ERROR"]
    assert "gone.journal.set-aside cannot be settled" in line
    [notice] = Notification.objects.filter(reason=sending.JOURNAL_NOTICE)
    assert notice.member == people.olga
    assert "Notes of a worker that ended could not be read" in words_of(notice.reason)
    assert page_of(notice.reason)
