"""What every tick tidies up."""

from __future__ import annotations

import asyncio
import errno
import os
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.utils import timezone

from postroom.conversations import storage
from postroom.flows import housekeeping
from postroom.flows.lanes import lane_kinds
from postroom.incoming.models import ReceivedEmail, SpooledMail
from postroom.outgoing.models import Email, Rendition
from postroom.workspaces.models import ApiKey, IdempotentRequest
from tests.outgoing.queued import queue
from tests.people import Cast, cast

OLD = timedelta(days=15)


def test_spooled_octets_move_to_the_storage_once_the_mail_is_posted(people: Cast) -> None:
    posted = SpooledMail.objects.create(workspace=people.workspace, digest="ab12", size=5, octets=b"hello")
    waiting = SpooledMail.objects.create(workspace=people.workspace, digest="cd34", size=5, octets=b"later")
    ReceivedEmail.objects.create(
        workspace=people.workspace, source="smtp", state="posted", identity="1", spooled=posted
    )
    ReceivedEmail.objects.create(
        workspace=people.workspace, source="smtp", state="stored", identity="2", spooled=waiting
    )
    assert housekeeping.move_spooled() == 1
    posted.refresh_from_db()
    waiting.refresh_from_db()
    assert (posted.octets, bytes(waiting.octets or b"")) == (None, b"later")
    with default_storage.open(posted.storage_name) as file:
        assert file.read() == b"hello"


def test_octets_stay_in_the_table_until_a_full_disk_has_room_again(
    people: Cast, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = FileSystemStorage(tmp_path)
    monkeypatch.setattr(storage, "default_storage", files)
    mail = SpooledMail.objects.create(workspace=people.workspace, digest="ab12", size=5, octets=b"hello")
    files.save(mail.storage_name, ContentFile(b"he"))  # what an earlier full disk left
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="No space"):
            housekeeping.move_spooled()
    mail.refresh_from_db()
    assert bytes(mail.octets or b"") == b"hello"
    assert housekeeping.move_spooled() == 1
    mail.refresh_from_db()
    assert mail.octets is None
    with files.open(mail.storage_name) as file:
        assert file.read() == b"hello"


def no_space(number: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("state", "age", "is_kept"),
    [
        ("sent", OLD, False),
        ("cancelled", OLD, False),
        ("sent", timedelta(0), True),
        ("outgoing", OLD, True),
        ("failed", OLD, True),
    ],
)
def test_octets_go_two_weeks_after_nothing_can_need_them(
    people: Cast, state: str, age: timedelta, is_kept: bool
) -> None:
    [email] = queue(people.workspace, ["ben@example.org"], state=state)
    Rendition.objects.update(created_at=timezone.now() - age)
    housekeeping.drop_renditions()
    assert Rendition.objects.exists() is is_kept
    assert (Email.objects.get(pk=email.pk).rendition_id is not None) is is_kept


def test_answers_to_repeated_requests_are_forgotten_after_a_day(people: Cast) -> None:
    key, _ = ApiKey.make(people.ana, "shop")
    for name, age in (("old", timedelta(hours=25)), ("new", timedelta(hours=1))):
        IdempotentRequest.objects.create(
            workspace=people.workspace, api_key=key, key=name, digest="0", created_at=timezone.now() - age
        )
    assert housekeeping.drop_requests() == 1
    assert IdempotentRequest.objects.get().key == "new"


@pytest.mark.django_db(transaction=True)
def test_a_tick_frees_what_a_dead_worker_left(transactional_db: None, data_folder: Path) -> None:
    demo = cast()
    [email] = queue(demo.workspace, ["ben@example.org"])
    Email.objects.update(lease="gone", leased_until=timezone.now() - timedelta(seconds=1))
    [kind] = [kind for kind in lane_kinds() if kind.prefix == "housekeeping:"]
    asyncio.run(asyncio.wait_for(kind.drain(kind.due()[0]), 5))
    email.refresh_from_db()
    assert (email.lease, email.uncertain_count) == ("", 1)
