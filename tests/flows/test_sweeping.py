"""Files that nothing refers to go, and no file that anything refers to."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, InMemoryStorage, Storage
from django.db import connection, connections, transaction
from django.utils import timezone

from postroom.conversations import storage
from postroom.conversations.models import Attachment, Message, ScheduledMessage, UnusedFile
from postroom.conversations.storage import Upload
from postroom.flows import rounds, sweeping
from postroom.flows.rounds import Rounds
from postroom.incoming.models import SpooledMail
from postroom.schedule.models import ScheduledAction
from postroom.schedule.work import Run
from postroom.workspaces.models import Workspace
from tests.people import Cast, cast

LAMP = Upload("lamp.pdf", "application/pdf", b"A lamp.")


@pytest.fixture(params=["files", "other storage"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A storage for this test alone: a folder, or one that can only list, save and delete."""
    own: Storage = FileSystemStorage(tmp_path) if request.param == "files" else InMemoryStorage()
    monkeypatch.setattr(storage, "default_storage", own)
    return own


def sweep(workspace: Workspace, *, days_later: float = 0, most_steps: int | None = None) -> int:
    """How many files went."""
    kept: dict[str, Any] = {"interval": 1, "unit": "days", "next_call_at": timezone.now()}
    action, _ = ScheduledAction.objects.get_or_create(workspace=workspace, key="auto_vacuum", defaults=kept)
    run = Run(action, workspace, timezone.now() + timedelta(days=days_later))
    counts: Counter[str] = Counter()
    for number, step in enumerate(sweeping.sweep(run, Rounds(run)), 1):
        counts.update(step)
        if number == most_steps:
            break
    return counts[sweeping.FILES]


def said(workspace: Workspace, attachment: Attachment) -> Attachment:
    """The row is committed with a message."""
    attachment.message = Message.objects.create(workspace=workspace, message_id="<lamp@demo.example>")
    attachment.save()
    return attachment


def test_a_file_that_nothing_refers_to_for_a_day_goes(people: Cast, store: Storage) -> None:
    name = storage.keep(people.workspace.pk, LAMP).storage_name
    assert [sweep(people.workspace, days_later=days) for days in (0, 0.9)] == [0, 0]
    assert store.exists(name)
    assert sweep(people.workspace, days_later=1.01) == 1
    assert not store.exists(name)
    assert not UnusedFile.objects.exists()


def test_what_a_message_refers_to_stays(people: Cast, store: Storage) -> None:
    file = said(people.workspace, storage.keep(people.workspace.pk, LAMP))
    assert [sweep(people.workspace, days_later=days) for days in (0, 2, 4)] == [0, 0, 0]
    assert store.exists(file.storage_name)


def test_what_waits_to_be_said_keeps_its_files(people: Cast, store: Storage) -> None:
    kept = storage.put_aside(people.workspace.pk, LAMP)
    ScheduledMessage.objects.create(
        workspace=people.workspace,
        member=people.ana,
        subtype_key="note",
        post_at=timezone.now(),
        files=[{"name": kept.name, "digest": kept.digest}],
    )
    assert [sweep(people.workspace, days_later=days) for days in (0, 2, 4)] == [0, 0, 0]
    ScheduledMessage.objects.all().delete()
    assert [sweep(people.workspace, days_later=days) for days in (6, 8)] == [0, 1]


def test_the_octets_of_a_received_mail_stay_with_it(people: Cast, store: Storage) -> None:
    mail = SpooledMail.objects.create(workspace=people.workspace, digest="ab" * 32, size=5)
    storage.put(mail.storage_name, b"hello")
    assert [sweep(people.workspace, days_later=days) for days in (0, 2)] == [0, 0]
    mail.delete()
    assert [sweep(people.workspace, days_later=days) for days in (4, 6)] == [0, 1]


def test_a_file_of_the_same_name_as_a_mail_is_another_one(people: Cast, store: Storage) -> None:
    mail = SpooledMail.objects.create(workspace=people.workspace, digest="ab" * 32, size=5)
    store.save(mail.storage_name.removesuffix(".eml"), ContentFile(b"hello"))
    assert [sweep(people.workspace, days_later=days) for days in (0, 2)] == [0, 1]


def test_what_is_referred_to_again_in_the_meantime_stays(people: Cast, store: Storage) -> None:
    storage.keep(people.workspace.pk, LAMP)
    sweep(people.workspace)
    file = said(people.workspace, storage.keep(people.workspace.pk, LAMP))
    assert not UnusedFile.objects.exists()
    assert sweep(people.workspace, days_later=2) == 0
    assert store.exists(file.storage_name)


def test_a_note_that_was_overtaken_removes_nothing(people: Cast, store: Storage) -> None:
    """The second look counts, not the first."""
    file = said(people.workspace, storage.keep(people.workspace.pk, LAMP))
    UnusedFile.objects.create(
        workspace=people.workspace, name=file.storage_name, noted_at=timezone.now() - timedelta(days=3)
    )
    assert sweep(people.workspace) == 0
    assert store.exists(file.storage_name)
    assert not UnusedFile.objects.exists()


def test_files_of_others_and_of_another_workspace_are_left_alone(people: Cast, store: Storage) -> None:
    other = Workspace.objects.create(slug="other", name="Other")
    names = [f"{people.workspace.pk}/ab/README.txt", storage.keep(other.pk, LAMP).storage_name]
    store.save(names[0], ContentFile(b"Do not remove."))
    assert [sweep(people.workspace, days_later=days) for days in (0, 2)] == [0, 0]
    assert all(map(store.exists, names))


def test_what_a_dying_process_left_half_written_goes(people: Cast, store: Storage) -> None:
    name = f"{people.workspace.pk}/ab/.{'ab' * 32}.k3j2h1"
    store.save(name, ContentFile(b"he"))
    assert [sweep(people.workspace, days_later=days) for days in (0, 2)] == [0, 1]


def test_a_file_that_cannot_be_removed_keeps_no_other_one(
    people: Cast, store: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted(
        storage.keep(people.workspace.pk, Upload("a", "text/plain", octets)).storage_name
        for octets in (b"1", b"2", b"3")
    )
    sweep(people.workspace)
    delete = store.delete

    def stubborn(name: str) -> None:
        if name == names[0]:
            raise PermissionError(name)
        delete(name)

    with monkeypatch.context() as patch:
        patch.setattr(store, "delete", stubborn)
        assert sweep(people.workspace, days_later=1.01) == 2
    assert [store.exists(name) for name in names] == [True, False, False]
    assert sweep(people.workspace, days_later=2.1) == 1


def test_an_interrupted_walk_goes_on_with_the_next_bucket(
    people: Cast, store: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "STEP", 2)
    for number in range(40):
        storage.keep(people.workspace.pk, Upload("a", "text/plain", b"%d" % number))
    most = 15
    listed: list[str] = []
    names_in = storage.names_in

    def noted(workspace_id: int, bucket: str) -> list[str]:
        listed.append(bucket)
        return names_in(workspace_id, bucket)

    monkeypatch.setattr(storage, "names_in", noted)
    sweep(people.workspace, most_steps=most)
    first = list(listed)
    sweep(people.workspace)
    assert listed[len(first)] in (first[-1], *storage.buckets_of(people.workspace.pk)[len(first) :])
    assert len(listed) <= len(storage.buckets_of(people.workspace.pk)) + 1
    assert UnusedFile.objects.count() == 40


def test_files_are_looked_up_by_an_index(people: Cast, store: Storage) -> None:
    plan = Attachment.objects.filter(workspace=people.workspace, digest__in=["ab" * 32, "cd" * 32])
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
    assert "attachment_by_digest" in plan.values("digest").explain()


# Somebody posts the same file in the very moment in which it is removed.


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_in_transaction", [False, True])
def test_a_file_that_is_posted_again_while_it_is_removed_is_there_afterwards(
    transactional_db: None, store: Storage, monkeypatch: pytest.MonkeyPatch, is_in_transaction: bool
) -> None:
    demo = cast()
    name = storage.keep(demo.workspace.pk, LAMP).storage_name
    sweep(demo.workspace)
    is_removing, may_go_on = threading.Event(), threading.Event()
    remove = storage.remove

    def slowly(name: str) -> None:
        is_removing.set()
        may_go_on.wait(0.5)  # the poster has all the time it wants, and cannot use it
        remove(name)

    def post() -> None:
        is_removing.wait(10)
        if is_in_transaction:
            with transaction.atomic():
                said(demo.workspace, storage.keep(demo.workspace.pk, LAMP))
        else:
            said(demo.workspace, storage.keep(demo.workspace.pk, LAMP))
        may_go_on.set()

    monkeypatch.setattr(storage, "remove", slowly)
    poster = started(post)
    assert sweep(demo.workspace, days_later=1.01) == 1
    poster.join(10)
    assert Attachment.objects.get().storage_name == name
    with store.open(name) as file:
        assert file.read() == LAMP.content


@pytest.mark.django_db(transaction=True)
def test_posting_and_removing_at_once_loses_no_file_whoever_is_first(
    transactional_db: None, store: Storage
) -> None:
    demo = cast()
    for _ in range(15):
        Attachment.objects.all().delete()
        storage.keep(demo.workspace.pk, LAMP)
        sweep(demo.workspace)
        both = threading.Barrier(2, timeout=10)

        def post(both: threading.Barrier = both) -> None:
            both.wait()
            said(demo.workspace, storage.keep(demo.workspace.pk, LAMP))

        poster = started(post)
        both.wait()
        sweep(demo.workspace, days_later=1.01)
        poster.join(10)
        assert store.exists(Attachment.objects.get().storage_name)


def started(work: Callable[[], None]) -> threading.Thread:
    """In a thread with connections of its own."""

    def whole() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=whole)
    thread.start()
    return thread
