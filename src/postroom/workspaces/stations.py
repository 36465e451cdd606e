"""Which parts of the installation run, where, and since when; each notes for itself that it is there.

All times are the database's, so that machines need not agree on theirs.
"""

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from importlib.metadata import version
from pathlib import Path

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from postroom.workspaces.models import Station

BEAT_SECONDS = 10.0
GONE_AFTER = timedelta(seconds=35)
FORGOTTEN_AFTER = timedelta(days=1)
DRAINING = (Station.Role.UP, Station.Role.WORKER)

_here = ""
_place = (0, 1)


def come(role: str, name: str = "", instance: str = "") -> Station:
    """Note that this process does its part from now on; `name` is kept by one whose row was forgotten.

    `instance` is what the process takes itself for (`installation.instance`).
    Rows of processes that are gone are forgotten: those of this system at once, those of another with our
    host name after 35 seconds, and any that were not seen for a day.
    """
    global _here
    host, pid = socket.gethostname()[:120], os.getpid()
    with transaction.atomic():
        _forget_gone(host, role, name)
        station, _ = Station.objects.update_or_create(
            name=name or f"{_system()}{uuid.uuid4().hex}"[:32],
            defaults={
                "role": role,
                "host": host,
                "pid": pid,
                "instance": instance,
                "version": version("postroom")[:40],
                "is_draining": role in DRAINING,
                "seen_at": Now(),
            },
        )
    _here = station.name
    return station


def _forget_gone(host: str, role: str, name: str) -> None:
    """Only of processes whose numbers (pid) mean the same as ours do we see whether they are there.

    Containers may share a host name, each with numbers of its own: their rows go when they are not seen.
    """
    Station.objects.filter(seen_at__lt=Now() - FORGOTTEN_AFTER).delete()
    rows = Station.objects.filter(host=host, role=role).exclude(name=name)
    rows.filter(seen_at__lt=Now() - GONE_AFTER).delete()
    if _system():
        beside = rows.filter(name__startswith=_system()).values_list("pk", "pid")
        gone = [pk for pk, pid in beside if pid == os.getpid() or not _is_alive(pid)]
        Station.objects.filter(pk__in=gone).delete()


@cache
def _system() -> str:
    """What the names of all stations begin with that run under this kernel and see the same processes.

    Empty where the kernel does not tell.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
        told = f"{boot}{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, but alive
    return True


def beat(name: str) -> bool:
    """Note that it is still there; False if its row was forgotten meanwhile: then it has to `come` again."""
    return bool(Station.objects.filter(name=name).update(seen_at=Now()))


def leave(name: str) -> None:
    """It ends: what it had a share of belongs to the others at once."""
    global _here
    Station.objects.filter(name=name).delete()
    _here = "" if name == _here else _here


def present(roles: Iterable[str] = Station.Role.values) -> list[Station]:
    """Those seen within 35 seconds, in the order in which they came."""
    return list(_present().filter(role__in=list(roles)))


def _present() -> QuerySet[Station]:
    return Station.objects.filter(seen_at__gt=Now() - GONE_AFTER).order_by("pk")


def another_instance(instance: str) -> str:
    """What a process that runs takes itself for, if that is another instance than this one; else empty."""
    others = _present().exclude(instance__in=("", instance))
    return others.values_list("instance", flat=True).first() or ""


def is_any_draining() -> bool:
    """Does any engine of the installation run?"""
    return _present().filter(is_draining=True).exists()


def place_among(name: str) -> tuple[int, int]:
    """Its rank, from 0, among those that drain, and how many they are.

    One that is not among them, because it could not beat for a while, stands behind the others.
    """
    names = list(_present().filter(is_draining=True).values_list("name", flat=True))
    names = names if name in names else [*names, name]
    return names.index(name), len(names)


def look_around() -> bool:
    """Read the place of this process anew, for `place`; True if it is another than before."""
    global _place
    before, _place = _place, place_among(_here) if _here else (0, 1)
    return _place != before


def place() -> tuple[int, int]:
    """The rank of this process among those that drain, and their number, at the last look; (0, 1) alone."""
    return _place


def share_of(limit: int, server_id: int, place: tuple[int, int]) -> int:
    """How many of a server's connections belong to the station at this place; over all places they add up.

    What cannot be divided goes to another station at the next server: small limits do not all meet at one.
    """
    rank, count = place
    turned = (rank + server_id) % count
    return limit // count + (turned < limit % count)
