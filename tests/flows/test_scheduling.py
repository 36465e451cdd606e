"""What is said later is said once, by somebody who still may, or its writer is told why not."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import connections
from django.utils import timezone

from postroom.conversations.models import Contact, Message, Notification, ScheduledMessage
from postroom.conversations.storage import Upload
from postroom.diagnostics.models import Event
from postroom.engine.embedded import Engine
from postroom.flows import scheduling
from postroom.flows.drafts import Draft, OutsidersNamed, PostRefused
from postroom.outgoing.models import Email
from postroom.workspaces.models import Member
from postroom.workspaces.refusals import AcrossTheWall, RequestRefused
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see."""
    return cast()


def in_hours(hours: float) -> Any:
    return timezone.now() + timedelta(hours=hours)


def said(people: Cast, **changes: Any) -> Draft:
    return Draft(
        **{
            "workspace": people.workspace,
            "record": people.record,
            "member": people.ana,
            "author": people.ana_contact,
            "text": "Monday is fine.",
            **changes,
        }
    )


def waiting(people: Cast, **changes: Any) -> ScheduledMessage:
    return scheduling.schedule(said(people, **changes), in_hours(1))


def make_due() -> None:
    ScheduledMessage.objects.update(post_at=timezone.now() - timedelta(seconds=1))


def posted() -> list[Message]:
    return list(Message.objects.filter(kind="comment"))


def alone(act: Callable[..., Any], *arguments: Any) -> Any:
    """In a thread, whose connection is closed again."""
    try:
        return act(*arguments)
    finally:
        connections.close_all()


def test_nothing_is_said_before_its_time_and_then_once(people: Cast) -> None:
    row = waiting(people)
    scheduling.post_due()
    assert posted() == []
    make_due()
    scheduling.post_due()
    scheduling.post_due()
    [message] = posted()
    row.refresh_from_db()
    assert (row.state, row.message) == ("posted", message)
    assert (message.author, message.text.strip()) == (people.ana_contact, "Monday is fine.")
    assert [email.contact for email in Email.objects.filter(message=message)] == [people.ben]
    assert Event.objects.filter(message=message, kind="message.scheduled", member=people.ana).exists()


def test_the_engine_posts_at_the_very_time(people: Cast, data_folder: Path) -> None:
    async def story() -> None:
        engine = Engine(data_folder, [scheduling.KIND], tick_seconds=30)
        await engine.start()
        try:
            at = timezone.now() + timedelta(seconds=0.6)
            await asyncio.to_thread(alone, scheduling.schedule, draft, at)
            for _ in range(100):
                await asyncio.sleep(0.05)
                if await asyncio.to_thread(alone, posted):
                    assert at <= timezone.now() < at + timedelta(seconds=3)
                    return
            pytest.fail("It was not posted.")
        finally:
            await engine.stop()

    draft = said(people)
    asyncio.run(story())


def test_an_engine_that_starts_finds_what_waits_and_when(people: Cast) -> None:
    assert scheduling.due() == []
    row = waiting(people)
    assert scheduling.due() == ["scheduled:"]
    assert asyncio.run(scheduling.drain("scheduled:")) == row.post_at


def test_files_wait_in_the_storage_and_go_along(people: Cast) -> None:
    waiting(people, attachments=[Upload("list.txt", "text/plain", b"lamps")])
    make_due()
    scheduling.post_due()
    [file] = posted()[0].attachments.all()
    assert (file.name, file.content_type, file.size) == ("list.txt", "text/plain", 5)


def test_a_file_that_is_gone_fails_it_and_names_the_file(people: Cast) -> None:
    row = waiting(people, attachments=[Upload("list.txt", "text/plain", b"lamps")])
    [file] = row.files
    default_storage.delete(f"{people.workspace.pk}/{file['digest'][:2]}/{file['digest']}")
    assert "list.txt" in failure_of(people, row)


def failure_of(people: Cast, row: ScheduledMessage) -> str:
    """Let it come due; it fails, nothing is said, nothing is lost."""
    make_due()
    scheduling.post_due()
    row.refresh_from_db()
    assert (row.state, row.text, posted()) == ("failed", "Monday is fine.", [])
    return row.failure_text


def leave(people: Cast) -> None:
    Member.objects.filter(pk=people.ana.pk).update(is_active=False)


def remove_record(people: Cast) -> None:
    people.record.followers.all().delete()
    people.record.delete()


def retire_carla(people: Cast) -> None:
    Contact.objects.filter(pk=people.carla.pk).update(is_active=False)


@pytest.mark.parametrize(
    ("happens", "words", "is_writer_told"),
    [
        (leave, "may no longer log in", False),
        (remove_record, "no longer there", True),
        (retire_carla, "Carla Stan", True),
    ],
)
def test_rights_are_checked_again_and_a_failure_is_told_with_a_link(
    people: Cast, happens: Callable[[Cast], None], words: str, is_writer_told: bool
) -> None:
    row = waiting(people, named=[people.carla])
    happens(people)
    assert words in failure_of(people, row)
    [notice] = Notification.objects.filter(scheduled=row)
    assert notice.member == (people.ana if is_writer_told else people.olga)
    assert (notice.kind, notice.reason, notice.read_at) == ("notice", "scheduled_failed", None)


def test_an_outsider_by_now_does_not_get_a_note_unasked(people: Cast) -> None:
    row = waiting(people, subtype_key="note", named=[people.olga_contact])
    Contact.objects.filter(pk=people.olga_contact.pk).update(member=None)
    assert "mailed outside" in failure_of(people, row)


def test_what_failed_can_be_posted_once_its_cause_is_gone(people: Cast) -> None:
    row = waiting(people, named=[people.carla])
    retire_carla(people)
    failure_of(people, row)
    Contact.objects.filter(pk=people.carla.pk).update(is_active=True)
    scheduling.post_now(row, people.ana)
    assert len(posted()) == 1
    assert not Notification.objects.filter(scheduled=row, read_at=None).exists()


def test_one_that_cannot_be_read_keeps_no_other_waiting_and_fails_in_the_end(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = waiting(people, text="bad"), waiting(people, text="good")
    draft_of = scheduling.draft_of

    def fall_over(row: ScheduledMessage) -> Draft:
        if row.pk == bad.pk:
            raise OSError("the storage is away")
        return draft_of(row)

    monkeypatch.setattr(scheduling, "draft_of", fall_over)
    make_due()
    assert scheduling.post_due() == [bad.pk]
    assert [message.text.strip() for message in posted()] == ["good"]
    again = asyncio.run(scheduling.drain("scheduled:"))
    assert again is not None
    assert timedelta(seconds=50) < again - timezone.now() < timedelta(seconds=70)
    ScheduledMessage.objects.filter(pk=bad.pk).update(post_at=timezone.now() - timedelta(hours=2))
    assert scheduling.post_due() == []
    bad.refresh_from_db()
    good.refresh_from_db()
    assert (bad.state, good.state) == ("failed", "posted")


def test_a_worker_that_is_killed_in_the_middle_says_it_neither_twice_nor_never(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = waiting(people)
    make_due()
    connections.close_all()
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(scheduling, "_settle", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        scheduling.post_due()
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert posted() == []
    scheduling.post_due()
    row.refresh_from_db()
    assert (row.state, len(posted())) == ("posted", 1)


def test_one_workspace_with_many_delays_nobody_elses_by_more_than_one(people: Cast) -> None:
    other = cast("other")
    for number in range(5):
        waiting(people, text=f"No. {number}")
    make_due()
    scheduling.schedule(said(other, text="Mine"), in_hours(1), is_undo_window=True)
    ScheduledMessage.objects.filter(workspace=other.workspace).update(post_at=timezone.now())
    scheduling.post_due()
    order = [message.text.strip() for message in Message.objects.filter(kind="comment").order_by("pk")]
    assert order == ["No. 0", "Mine", *(f"No. {number}" for number in range(1, 5))]


def test_two_workers_post_each_once(people: Cast) -> None:
    for number in range(12):
        waiting(people, text=f"No. {number}")
    make_due()
    start = threading.Barrier(2)

    def work() -> None:
        start.wait()
        try:
            scheduling.post_due()
        finally:
            connections.close_all()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(message.text.strip() for message in posted()) == sorted(f"No. {n}" for n in range(12))


def test_it_is_moved_called_off_and_rewritten(people: Cast) -> None:
    row = waiting(people)
    later = in_hours(5)
    assert scheduling.reschedule(row, later, people.ana) is None
    scheduling.rewrite(row, people.ana, text="Tuesday is better.")
    row.refresh_from_db()
    assert (row.post_at, row.text) == (later, "Tuesday is better.")
    scheduling.cancel(row, people.ana)
    make_due()
    scheduling.post_due()
    assert posted() == []
    with pytest.raises(RequestRefused, match="called off"):
        scheduling.reschedule(row, later, people.ana)


def test_a_time_that_has_passed_is_at_once(people: Cast) -> None:
    message = scheduling.reschedule(waiting(people), in_hours(-1), people.ana)
    assert posted() == [message]


def test_what_was_posted_can_no_longer_be_called_off(people: Cast) -> None:
    row = waiting(people)
    make_due()
    scheduling.post_due()
    with pytest.raises(RequestRefused, match="posted already"):
        scheduling.cancel(row, people.ana)


def test_an_administrator_may_call_it_off_but_not_put_words_in_its_writers_mouth(people: Cast) -> None:
    row = waiting(people)
    with pytest.raises(RequestRefused, match="Only who wrote this"):
        scheduling.rewrite(row, people.olga, text="Something else.")
    scheduling.cancel(row, people.olga)


def test_another_member_may_not_touch_it_and_another_workspace_cannot(people: Cast) -> None:
    row = waiting(people, author=people.olga_contact, member=people.olga)
    with pytest.raises(RequestRefused, match="administrator"):
        scheduling.cancel(row, people.ana)
    with pytest.raises(AcrossTheWall):
        scheduling.cancel(row, cast("neighbour").olga)


def test_what_could_not_be_said_now_is_refused_now(people: Cast) -> None:
    for changes in ({"text": " "}, {"subtype_key": "nonsense"}, {"member": None}):
        with pytest.raises(PostRefused):
            waiting(people, **changes)
    with pytest.raises(OutsidersNamed):
        waiting(people, subtype_key="note", named=[people.carla])
    for hours in (-1, 24 * 400):
        with pytest.raises(PostRefused):
            scheduling.schedule(said(people), in_hours(hours))
    assert not ScheduledMessage.objects.exists()


def test_its_emails_may_leave_later_still(people: Cast) -> None:
    send_at = in_hours(30)
    waiting(people, send_at=send_at)
    make_due()
    scheduling.post_due()
    assert Email.objects.get().due_at == send_at


def test_what_is_settled_is_forgotten_and_what_waits_is_not(people: Cast) -> None:
    old, waits = waiting(people), waiting(people)
    scheduling.cancel(old, people.ana)
    ScheduledMessage.objects.update(post_at=timezone.now() - timedelta(days=20))
    assert scheduling.settled_long_ago(people.workspace.pk).delete()[0] == 1
    assert [row.pk for row in ScheduledMessage.objects.all()] == [waits.pk]
