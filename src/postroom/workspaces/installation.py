"""Which installation this is: the right keys, and no copy that mails the customers of the original."""

from __future__ import annotations

import hashlib
import os
import secrets
import uuid
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from postroom.workspaces.models import Installation, Workspace

COPY = "copy"
BY_HAND = "by_hand"


class KeysDoNotFit(Exception):
    """The secret keys are not those of this database. The message names the remedy."""


def recognise() -> Installation:
    """Make or check the row that names this installation; called at every start, before anything is sent.

    Another instance than the one that wrote the row is a copy or a restore: capture starts, and lasts until
    an operator stops it. Raises KeysDoNotFit, before anything was changed, if none of our keys is the one
    that the database was used with.
    """
    fingerprint = instance()
    with transaction.atomic():
        Installation.objects.get_or_create(
            pk=1, defaults={"instance": fingerprint, "key_check": settings.POSTROOM_KEY_CHECKS[0]}
        )
        row = Installation.objects.select_for_update().get(pk=1)
        _refuse_foreign_keys(row)
        row.key_check = settings.POSTROOM_KEY_CHECKS[0]
        if row.instance != fingerprint and row.capturing_since is None:
            row.capturing_since, row.capture_reason = timezone.now(), COPY
        row.save(update_fields=["key_check", "capturing_since", "capture_reason"])
    return row


def _refuse_foreign_keys(row: Installation) -> None:
    if row.key_check not in settings.POSTROOM_KEY_CHECKS:
        raise KeysDoNotFit(
            "The secret key is not the one this database was used with: every signed address and every login "
            "would be worthless. Put the secret.key that belongs to it back into the data folder, "
            "or give it as POSTROOM_SECRET_KEY or POSTROOM_SECRET_KEY_FILE (after a rotation, both lines)."
        )


def instance() -> str:
    """What tells this installation from a copy of it: POSTROOM_INSTANCE_ID, or a digest of where it lives.

    The digest covers the machine, the resolved data folder, the inode of `<data>/instance` and the
    database's host and name. Several machines on one database need POSTROOM_INSTANCE_ID.
    """
    if settings.POSTROOM_INSTANCE_ID:
        return str(settings.POSTROOM_INSTANCE_ID)[:64]
    place = [_machine(), str(Path(settings.POSTROOM_DATA).resolve()), _inode(), *_database()]
    return hashlib.sha256("\0".join(place).encode()).hexdigest()


def _machine() -> str:
    try:
        return Path("/etc/machine-id").read_text("ascii").strip()
    except OSError:
        node = uuid.getnode()
        return "" if node >> 40 & 1 else str(node)  # with this bit the number is random and changes


def _inode() -> str:
    path = Path(settings.POSTROOM_DATA) / "instance"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return str(path.stat().st_ino)
    with os.fdopen(descriptor, "w") as file:
        file.write(
            "Tells this folder from a copy of it. Do not copy or remove.\n" + secrets.token_hex(8) + "\n"
        )
    return str(path.stat().st_ino)


def _database() -> tuple[str, str]:
    named = connection.settings_dict
    name = str(named["NAME"])
    return str(named.get("HOST", "")), str(Path(name).resolve()) if connection.vendor == "sqlite" else name


def is_capturing(workspace: Workspace | int) -> bool:
    """Does nothing leave, in this workspace or in the whole installation?"""
    key = workspace if isinstance(workspace, int) else workspace.pk
    return (
        Installation.objects.filter(capturing_since__isnull=False).exists()
        or Workspace.objects.filter(pk=key, is_capturing=True).exists()
    )


def start_capture(reason: str = BY_HAND, *, workspace: Workspace | None = None) -> None:
    """From now on nothing leaves: of one workspace, or (None) of the installation."""
    if workspace is not None:
        Workspace.objects.filter(pk=workspace.pk).update(is_capturing=True)
        return
    Installation.objects.filter(pk=1, capturing_since=None).update(
        capturing_since=Now(), capture_reason=reason
    )


def stop_capture(*, workspace: Workspace | None = None) -> None:
    """Let mail leave again. For the installation (None) it also says: this is no copy but the original."""
    if workspace is not None:
        Workspace.objects.filter(pk=workspace.pk).update(is_capturing=False)
        return
    Installation.objects.filter(pk=1).update(capturing_since=None, capture_reason="", instance=instance())


def heartbeat() -> None:
    """Note that an engine is running; the pages warn when this is long ago."""
    Installation.objects.filter(pk=1).update(engine_seen_at=Now())
