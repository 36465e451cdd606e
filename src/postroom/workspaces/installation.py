"""Which installation this is: the right keys, and no copy that mails the customers of the original."""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, Subquery
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from postroom.workspaces import capture_rules, stations
from postroom.workspaces.capture_rules import ALL, NO_CAPTURE, Capture
from postroom.workspaces.models import Installation, Workspace

COPY = "copy"
BY_HAND = "by_hand"


class KeysDoNotFit(Exception):
    """The secret keys are not those of this database. The message names the remedy."""


class AnotherRuns(Exception):
    """Another instance runs on this very database: this is no copy of it. The message names the remedy."""


def recognise() -> Installation:
    """Make or check the row that names this installation; called at every start, before anything is sent.

    Another instance than the one that wrote the row is a copy or a restore: everything is captured, whatever
    the original did, until an operator of the copy says otherwise. Raises KeysDoNotFit if none of our keys
    is the one that the database was used with, and AnotherRuns while another instance runs on it (then
    capturing would capture that one); in both cases before anything was changed.
    """
    fingerprint = instance()
    with transaction.atomic():
        Installation.objects.get_or_create(
            pk=1, defaults={"instance": fingerprint, "key_check": settings.POSTROOM_KEY_CHECKS[0]}
        )
        row = Installation.objects.select_for_update().get(pk=1)
        _refuse_foreign_keys(row)
        if row.instance != fingerprint:
            _refuse_beside_another(fingerprint)
        row.key_check = settings.POSTROOM_KEY_CHECKS[0]
        if row.instance != fingerprint and row.capture_reason != COPY:
            row.capturing_since, row.capture_reason, row.capture_mode = timezone.now(), COPY, ALL
        row.save(update_fields=["key_check", "capturing_since", "capture_reason", "capture_mode"])
    return row


def _refuse_foreign_keys(row: Installation) -> None:
    if row.key_check not in settings.POSTROOM_KEY_CHECKS:
        raise KeysDoNotFit(
            "The secret key is not the one this database was used with: every signed address and every login "
            "would be worthless. Put the secret.key that belongs to it back into the data folder, "
            "or give it as POSTROOM_SECRET_KEY or POSTROOM_SECRET_KEY_FILE (after a rotation, both lines)."
        )


def _refuse_beside_another(fingerprint: str) -> None:
    """On SQLite nobody else can run on the file; whom a copied file names ran on the original."""
    other = stations.another_instance(fingerprint) if connection.vendor == "postgresql" else ""
    if other:
        raise AnotherRuns(
            "Another Postroom runs on this database, on another machine or another data folder. Nothing was "
            "changed. If this is a copy, give it a database of its own with DATABASE_URL; if that was copied "
            "just now, or the other Postroom ended just now, start again in "
            f"{stations.GONE_AFTER.seconds} seconds. If this is to be a part of the other one, start it with "
            f"its name: POSTROOM_INSTANCE_ID={shlex.quote(other)}."
        )


def instance(database: tuple[str, str] | None = None) -> str:
    """What tells this installation from a copy of it: POSTROOM_INSTANCE_ID, or a digest of where it lives.

    The digest covers the machine, the resolved data folder, the inode of `<data>/instance` and the
    database's host and name. Several machines on one database need POSTROOM_INSTANCE_ID. `database` is the
    host and name of another one than that which is open.
    """
    if settings.POSTROOM_INSTANCE_ID:
        return str(settings.POSTROOM_INSTANCE_ID)[:64]
    place = [_machine(), str(Path(settings.POSTROOM_DATA).resolve()), _inode(), *(database or _database())]
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


def capture_of(workspace_id: int) -> Capture:
    """What happens to the mail of a workspace: the strictest of environment, installation and workspace."""
    return captures_of([workspace_id])[workspace_id]


def captures_of(workspace_ids: Iterable[int]) -> dict[int, Capture]:
    """The same for several workspaces, in one question to the database."""
    wanted = list(workspace_ids)
    environment = of_environment()
    if environment.mode == ALL:
        return dict.fromkeys(wanted, environment)
    rows = Workspace.objects.filter(pk__in=wanted).annotate(
        **{f"all_{name}": Subquery(Installation.objects.values(name)[:1]) for name in _FIELDS}
    )
    columns = ("pk", "is_capturing", *_FIELDS[1:], *(f"all_{name}" for name in _FIELDS))
    found = {
        pk: _strictest(environment, values[4:], values[:4]) for pk, *values in rows.values_list(*columns)
    }
    return {pk: found.get(pk, environment) for pk in wanted}


_FIELDS = ("capturing_since", "capture_mode", "capture_to", "capture_allowed")


def capture_in(workspace: Workspace, row: Installation | None) -> Capture:
    """The same from rows that are at hand; `row` is None before the first start."""
    here = [workspace.is_capturing, *_set_in(workspace)]
    everywhere = [row.capturing_since, *_set_in(row)] if row else []
    return _strictest(of_environment(), everywhere, here)


def of_environment() -> Capture:
    """What POSTROOM_CAPTURE says: it holds for everybody, and no page or command changes it."""
    return capture_rules.of_environment(getattr(settings, "POSTROOM_CAPTURE", ""))


def of_installation(row: Installation | None) -> Capture:
    """What the installation's own switch says."""
    return _level([row.capturing_since, *_set_in(row)], capture_rules.INSTALLATION) if row else NO_CAPTURE


def of_workspace(workspace: Workspace) -> Capture:
    """What the workspace's own switch says."""
    return _level([workspace.is_capturing, *_set_in(workspace)], capture_rules.WORKSPACE)


def _set_in(row: Installation | Workspace) -> list[str]:
    return [row.capture_mode, row.capture_to, row.capture_allowed]


def _strictest(environment: Capture, everywhere: list[Any], here: list[Any]) -> Capture:
    levels = [_level(everywhere, capture_rules.INSTALLATION), _level(here, capture_rules.WORKSPACE)]
    return capture_rules.strictest([environment, *levels])


def _level(values: list[Any], level: str) -> Capture:
    """A switch (anything true is on), mode, address and list; or nothing at all."""
    if not values or not values[0]:
        return NO_CAPTURE
    _is_on, mode, to, allowed = values
    return capture_rules.stored(mode, to=to, allowed=allowed, level=level)


def is_capturing(workspace: Workspace | int) -> bool:
    """Is any mail of this workspace kept in or redirected?"""
    return capture_of(workspace if isinstance(workspace, int) else workspace.pk).mode != ""


def is_anything_captured() -> bool:
    """Is any mail of any workspace kept in or redirected?"""
    row = Installation.objects.first()
    everywhere = of_environment().mode or of_installation(row).mode
    return bool(everywhere) or Workspace.objects.filter(is_capturing=True).exists()


def start_capture(
    reason: str = BY_HAND,
    *,
    workspace: Workspace | None = None,
    mode: str = ALL,
    to: str = "",
    allowed: str = "",
) -> None:
    """From now on capture the mail of one workspace, or (None) of the installation; or change how.

    A copy stays one, whatever is chosen for it.
    """
    chosen = {"capture_mode": mode, "capture_to": to, "capture_allowed": allowed}
    if workspace is not None:
        Workspace.objects.filter(pk=workspace.pk).update(is_capturing=True, **chosen)
        return
    row = Installation.objects.filter(pk=1)
    row.filter(Q(capturing_since=None) | ~Q(capture_reason=COPY)).update(capture_reason=reason)
    row.update(capturing_since=Coalesce("capturing_since", Now()), **chosen)


def stop_capture(*, workspace: Workspace | None = None) -> None:
    """Let mail leave again. For the installation (None) it also says: this is no copy but the original."""
    if workspace is not None:
        Workspace.objects.filter(pk=workspace.pk).update(is_capturing=False)
        return
    Installation.objects.filter(pk=1).update(capturing_since=None, capture_reason="", instance=instance())


def heartbeat() -> None:
    """Note that an engine is running; the pages warn when this is long ago."""
    Installation.objects.filter(pk=1).update(engine_seen_at=Now())
