"""Outgoing servers as they are shown: rows whose secrets stay sealed, their use, and shapes for programs.

The same shapes on the command line (`--json`) and in the API. Times are aware and in UTC; a limit of None is
none. No secret is part of any shape: `has_password` and its like only say whether there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from django.db.models import BooleanField, ExpressionWrapper, F, Q, QuerySet
from django.utils import timezone

from postroom.flows.testing_connection import Step, is_good, verdict
from postroom.outgoing import allowances, relays
from postroom.outgoing.models import Allowance, MailServer
from postroom.workspaces.models import Member

ServerState = Literal["in_use", "left_alone", "archived"]
Unit = Allowance.Unit


@dataclass(frozen=True, slots=True)
class UseShape:
    """How much of one limit its running period has used; `unit` is minute, hour or day (UTC)."""

    unit: str
    used: int
    limit: int
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class ServerShape:
    """An outgoing server.

    `is_shared`: the relay of the installation, set by RELAY_URL; its address, and the `last_failure`, which
    may name that, are shown to operators only.
    `state`: in_use, left_alone (until `down_until`, because of `down_because`), archived. `owner` is the
    address of the member whose personal server it is. `esp` names the provider whose API takes the mail if
    `transport` is esp; then there is no host.
    """

    id: str
    name: str
    is_shared: bool
    transport: str
    esp: str | None
    has_esp_options: bool
    host: str | None
    port: int | None
    encryption: str | None
    is_certificate_checked: bool
    authentication: str
    user: str | None
    has_password: bool
    has_client_key: bool
    has_oauth: bool
    client_certificate: str | None
    from_filter: str
    priority: int
    max_size_megabytes: int | None
    connection_limit: int
    limit_per_minute: int | None
    limit_per_hour: int | None
    limit_per_day: int | None
    uses: list[UseShape]
    owner: str | None
    is_for_campaigns: bool
    state: ServerState
    down_until: datetime | None
    down_because: str | None
    last_failure: str | None
    last_reached_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StepShape:
    """One step of a connection test; `remedy` is None if there is nothing to do."""

    key: str
    state: str
    words: str
    remedy: str | None
    said: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class ConnectionTestShape:
    """A connection test: the whole, and its steps in the order in which they were taken."""

    is_good: bool
    verdict: str
    steps: list[StepShape]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is reached: `host` is empty if that is not set, or set so that it cannot be read."""

    host: str = ""
    port: int = 0
    encryption: str = ""
    user: str = ""
    is_certificate_checked: bool = True


def server_id(server: MailServer) -> str:
    """How programs name an outgoing server."""
    return f"srv_{server.pk}"


def servers_to_show(member: Member) -> QuerySet[MailServer]:
    """The shared relay first, then the servers of the member's workspace in their order, archived ones last.

    Administrators see all of them, others their own one. The secrets stay unread: `is_password_set`,
    `is_client_key_set`, `is_oauth_set` and `is_esp_options_set` tell whether there is one.
    """
    relays.shared_server()  # its row is made if there is none
    seen = Q(workspace=None) | Q(workspace=member.workspace_id) if member.is_admin else Q(owner=member)
    return (
        MailServer.objects.filter(seen)
        .defer(*relays.SECRETS)
        .select_related("owner__user", "workspace")
        .annotate(
            is_password_set=_is_set("password"),
            is_client_key_set=_is_set("client_key"),
            is_oauth_set=_is_set("oauth"),
            is_esp_options_set=_is_set("esp_options"),
        )
        .order_by(F("workspace").asc(nulls_first=True), "-is_active", "priority", "name", "pk")
    )


def place_of(server: MailServer) -> Place:
    """Where a server is reached; that of the shared relay is in RELAY_URL. An API is at no place of ours."""
    if server.transport == MailServer.Transport.ESP:
        return Place()
    if not server.is_shared:
        return Place(server.host, server.port, server.encryption, server.user, server.is_certificate_checked)
    try:
        relay = relays.relay_of(server)
    except ValueError:
        return Place()
    if relay is None:
        return Place()
    return Place(relay.host, relay.port, str(relay.security), relay.user, relay.verify_certificate)


def filter_words_of(server: MailServer) -> str:
    """From where it lets us send, as it is written; that of the shared relay is RELAY_FROM_FILTER."""
    try:
        return str(relays.filter_of(server))
    except ValueError:
        return server.from_filter


def state_of(server: MailServer, now: datetime) -> ServerState:
    """Whether mail is given to it."""
    if not server.is_active:
        return "archived"
    return "left_alone" if server.down_until is not None and server.down_until > now else "in_use"


def uses_of(servers: Sequence[MailServer], now: datetime) -> Mapping[int, list[UseShape]]:
    """By the server's id: how much of each of its limits the running minute, hour and day have used."""
    starts = {unit: allowances.window_start(unit, now) for unit in (Unit.MINUTE, Unit.HOUR, Unit.DAY)}
    running = Q()
    for unit, starts_at in starts.items():
        running |= Q(unit=unit, starts_at=starts_at)
    rows = Allowance.objects.filter(running, workspace=None, server__in=[each.pk for each in servers])
    used = {(row.server_id, row.unit): row.used_count for row in rows}
    return {
        server.pk: [
            UseShape(unit.value, used.get((server.pk, unit.value), 0), limit, _end(unit, now))
            for unit, limit in _limits(server).items()
            if limit is not None
        ]
        for server in servers
    }


def shapes_of(servers: Sequence[MailServer], member: Member) -> list[ServerShape]:
    """Servers from `servers_to_show`, as this member may see them."""
    now = timezone.now()
    uses = uses_of(servers, now)
    return [_shape(server, member, uses[server.pk], now) for server in servers]


def shape_of_test(steps: Sequence[Step]) -> ConnectionTestShape:
    """A test as programs are shown it."""
    shown = [
        StepShape(step.key, step.state, step.words, step.remedy or None, step.said or None, step.seconds)
        for step in steps
    ]
    return ConnectionTestShape(is_good(steps), verdict(steps), shown)


def _is_set(name: str) -> Any:
    return ExpressionWrapper(~Q(**{name: ""}), output_field=BooleanField())


def _limits(server: MailServer) -> dict[Unit, int | None]:
    return {
        Unit.MINUTE: server.limit_per_minute,
        Unit.HOUR: server.limit_per_hour,
        Unit.DAY: server.limit_per_day,
    }


def _end(unit: Unit, now: datetime) -> datetime:
    return allowances.window_end(unit, now)


def _shape(server: MailServer, member: Member, uses: list[UseShape], now: datetime) -> ServerShape:
    is_hidden = server.is_shared and not member.is_operator
    place = Place() if is_hidden else place_of(server)
    state = state_of(server, now)
    is_down = state == "left_alone"
    return ServerShape(
        id=server_id(server),
        name=server.name,
        is_shared=server.is_shared,
        transport=server.transport,
        esp=server.esp or None,
        has_esp_options=_has(server, "is_esp_options_set"),
        host=place.host or None,
        port=place.port or None,
        encryption=place.encryption or None,
        is_certificate_checked=place.is_certificate_checked,
        authentication=server.authentication,
        user=place.user or None,
        has_password=_has(server, "is_password_set"),
        has_client_key=_has(server, "is_client_key_set"),
        has_oauth=_has(server, "is_oauth_set"),
        client_certificate=server.client_certificate or None,
        from_filter=filter_words_of(server),
        priority=server.priority,
        max_size_megabytes=server.max_size_megabytes,
        connection_limit=server.connection_limit,
        limit_per_minute=server.limit_per_minute,
        limit_per_hour=server.limit_per_hour,
        limit_per_day=server.limit_per_day,
        uses=uses,
        owner=_address(server.owner),
        is_for_campaigns=server.is_for_campaigns,
        state=state,
        down_until=server.down_until if is_down else None,
        down_because=server.down_because or None if is_down else None,
        last_failure=(server.last_failure or None) if is_down and not is_hidden else None,
        last_reached_at=server.last_reached_at,
        created_at=server.created_at,
    )


def _has(server: MailServer, name: str) -> bool:
    return cast(bool, getattr(server, name))


def _address(owner: Member | None) -> str | None:
    return owner.user.email if owner else None
