"""What every tick tidies up."""

from __future__ import annotations

import asyncio
import errno
import os
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.sessions.models import Session
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.utils import timezone

from postroom.conversations import storage
from postroom.diagnostics.models import Sample
from postroom.flows import housekeeping
from postroom.flows.lanes import lane_kinds
from postroom.incoming.models import ReceivedEmail, SpooledMail
from postroom.outgoing.models import Email
from tests.outgoing.queued import queue
from tests.people import Cast, cast


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


def test_what_the_charts_no_longer_show_goes_and_the_last_week_stays(db: None) -> None:
    now = timezone.now()
    for age in (timedelta(days=8, minutes=1), timedelta(days=7, hours=23)):
        Sample.objects.create(at=now - age, name="queue", value=1)
    assert housekeeping.drop_samples() == 1
    assert Sample.objects.get().at > now - timedelta(days=8)


def test_logins_that_have_expired_go(db: None) -> None:
    for key, hours in (("gone", -1), ("here", 1)):
        Session.objects.create(
            session_key=key, session_data="", expire_date=timezone.now() + timedelta(hours=hours)
        )
    assert housekeeping.drop_sessions() == 1
    assert Session.objects.get().session_key == "here"


def test_old_refusals_that_belong_to_no_workspace_go(people: Cast) -> None:
    for workspace, days in ((None, 181), (None, 179), (people.workspace, 181)):
        ReceivedEmail.objects.create(
            workspace=workspace,
            source="smtp",
            state="refused",
            received_at=timezone.now() - timedelta(days=days),
        )
    assert housekeeping.drop_refusals() == 1
    assert ReceivedEmail.objects.filter(workspace=None).count() == 1
    assert ReceivedEmail.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_tick_frees_what_a_dead_worker_left(transactional_db: None, data_folder: Path) -> None:
    demo = cast()
    [email] = queue(demo.workspace, ["ben@example.org"])
    Email.objects.update(lease="gone", leased_until=timezone.now() - timedelta(seconds=1))
    [kind] = [kind for kind in lane_kinds() if kind.prefix == "housekeeping:"]
    asyncio.run(asyncio.wait_for(kind.drain(kind.due()[0]), 5))
    email.refresh_from_db()
    assert (email.lease, email.uncertain_count) == ("", 1)
