"""Files that nothing refers to are noted, and removed if that is still so a day later.

Whoever stores octets takes the note away before it looks whether they are there, so that a removal and a
message with the same file never miss each other: either the removal finds the note gone, or the message finds
the file gone and writes it anew. It needs nothing of the storage but listing and deleting.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta

from django.db import transaction

from postroom.conversations import storage
from postroom.conversations.models import Attachment, ScheduledMessage, UnusedFile
from postroom.flows.rounds import STEP, Rounds
from postroom.incoming.models import SpooledMail
from postroom.schedule.work import Run

log = logging.getLogger("postroom.sweeping")
FILES = "unused files removed"
UNUSED_FOR = timedelta(days=1)
AT_ONCE = 20  # so many files are removed under one lock
_STORED = re.compile(r"(?P<digest>[0-9a-f]{64})(?P<mail>\.eml)?")
_HALF_WRITTEN = re.compile(rf"\.{_STORED.pattern}\..+")


def sweep(run: Run, rounds: Rounds) -> Iterator[Mapping[str, int]]:
    """Remove what was noted a day ago, then note what nothing refers to now.

    Goes through the whole storage of the workspace, bucket by bucket, over as many runs as that takes. Other
    people's files that lie between ours are left alone.
    """
    yield from _remove(run)
    for bucket in storage.buckets_of(run.workspace.pk):
        if bucket > (rounds.at("files") or ""):
            for names in _groups(storage.names_in(run.workspace.pk, bucket)):
                _note_unused(run, names)
                yield {}
            rounds.note("files", bucket)
    rounds.note("files", None)


def _groups(names: list[str]) -> Iterator[list[str]]:
    ours = [name for name in names if _is_ours(name)]
    for start in range(0, len(ours), STEP):
        yield ours[start : start + STEP]


def _is_ours(name: str) -> bool:
    bare = name.rpartition("/")[2]
    return bool(_STORED.fullmatch(bare) or _HALF_WRITTEN.fullmatch(bare))


def _remove(run: Run) -> Iterator[Mapping[str, int]]:
    """What cannot be removed is left for tomorrow."""
    noted = UnusedFile.objects.filter(workspace=run.workspace, noted_at__lte=run.now - UNUSED_FOR)
    while True:
        with transaction.atomic():  # the files go under the lock: see `storage.want`
            locked = noted.select_for_update(skip_locked=True).order_by("pk")
            names = list(locked.values_list("name", flat=True)[:AT_ONCE])
            unused = set(names) - _in_use(run.workspace.pk, names)
            stuck = {name for name in unused if not _is_removed(name)}
            rows = UnusedFile.objects.filter(name__in=names)
            rows.filter(name__in=stuck).update(noted_at=run.now)
            rows.exclude(name__in=stuck).delete()
        yield {FILES: len(unused - stuck)} if unused - stuck else {}
        if len(names) < AT_ONCE:
            return


def _is_removed(name: str) -> bool:
    try:
        storage.remove(name)
    except Exception:  # storages raise what they like, and one file must not keep the others
        log.exception("Could not remove the unused file %s", name)
        return False
    return True


def _note_unused(run: Run, names: list[str]) -> None:
    unused = set(names) - _in_use(run.workspace.pk, names)
    known = UnusedFile.objects.filter(name__in=unused).values_list("name", flat=True)
    UnusedFile.objects.bulk_create(
        [
            UnusedFile(workspace=run.workspace, name=name, noted_at=run.now)
            for name in sorted(unused.difference(known))
        ],
        ignore_conflicts=True,
    )


def _in_use(workspace_id: int, names: Collection[str]) -> set[str]:
    """Those that a message, a scheduled message or a received mail refers to."""
    stored = {name: found for name in names if (found := _STORED.fullmatch(name.rpartition("/")[2]))}
    files = {found["digest"]: name for name, found in stored.items() if not found["mail"]}
    mails = {found["digest"]: name for name, found in stored.items() if found["mail"]}
    attached = Attachment.objects.filter(workspace_id=workspace_id, digest__in=list(files))
    received = SpooledMail.objects.filter(workspace_id=workspace_id, digest__in=list(mails))
    used = set(attached.values_list("digest", flat=True)) | (_said_later(workspace_id) & set(files))
    return {files[digest] for digest in used} | {
        mails[digest] for digest in received.values_list("digest", flat=True)
    }


def _said_later(workspace_id: int) -> set[str]:
    rows = ScheduledMessage.objects.filter(workspace_id=workspace_id).exclude(files=[])
    return {file["digest"] for files in rows.values_list("files", flat=True).iterator() for file in files}
