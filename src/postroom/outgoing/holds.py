"""A server in trouble is one update of its lanes, never one of its Emails."""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet

from postroom.outgoing.models import Lane

NO_SERVER = "no_server"
SERVER_UNREACHABLE = "server_unreachable"
SERVER_TROUBLES = (NO_SERVER, SERVER_UNREACHABLE)


def hold(server_id: int, until: datetime, because: str) -> None:
    """Hold every lane of a server that no other reason holds; `because` is one of SERVER_TROUBLES."""
    _held_by_server().filter(server_id=server_id).update(held_until=until, held_because=because)


def reopen(server_id: int) -> None:
    """The server takes mail again: end the holds that its trouble caused."""
    _in_trouble().filter(server_id=server_id).update(held_until=None, held_because="")


def reopen_all() -> None:
    """A new start: every server is worth a try."""
    _in_trouble().update(held_until=None, held_because="")


def reopen_lanes(lane_ids: list[int]) -> None:
    """Somebody asks for these lanes now: end the holds that a server's trouble caused."""
    _in_trouble().filter(pk__in=lane_ids).update(held_until=None, held_because="")


def _held_by_server() -> QuerySet[Lane]:
    return Lane.objects.filter(held_because__in=("", *SERVER_TROUBLES))


def _in_trouble() -> QuerySet[Lane]:
    return Lane.objects.filter(held_because__in=SERVER_TROUBLES)
