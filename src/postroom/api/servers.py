"""/servers: the outgoing servers of the key's workspace. Secrets are written and never read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import Field

from postroom.api.callers import key_of
from postroom.api.once import once
from postroom.api.paging import DEFAULT_LIMIT, page_of
from postroom.api.problems import Problem, not_found, only_for
from postroom.api.records import READ_PROBLEMS, WRITE_PROBLEMS, Limit
from postroom.api.shapes import Asked
from postroom.flows import esp_settings, mail_servers
from postroom.flows.server_shapes import (
    ConnectionTestShape,
    ServerShape,
    servers_to_show,
    shape_of_test,
    shapes_of,
)
from postroom.flows.showing import number_in
from postroom.flows.testing_connection import test_connection
from postroom.outgoing.models import MailServer
from postroom.wire.address import normalise
from postroom.workspaces.models import Member
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.sealed import SealBroken

router = Router(tags=["servers"])
Figure = Annotated[int, Field(ge=1, le=2_000_000_000)]
Small = Annotated[int, Field(ge=0, le=32_767)]
Pem = Annotated[str, Field(max_length=20_000)]
_NEVER_SHOWN = "Stored encrypted; no answer ever shows it."


class ServerToChange(Asked):
    """What is changed of a server; what is left out stays, secrets too. A limit of null is none."""

    name: str = Field("", max_length=80)
    transport: Literal["smtp", "esp"] = "smtp"
    esp: str = Field("", max_length=40, description="The provider whose API takes the mail; then no host.")
    esp_options: dict[str, Annotated[str, Field(max_length=2000)]] = Field(
        default_factory=dict,
        max_length=20,
        description=f"What the provider wants to know; what is left out stays. {_NEVER_SHOWN}",
    )
    host: str = Field("", max_length=253)
    port: int = Field(0, ge=0, le=65535, description="0: the usual one of the encryption.")
    encryption: Literal["none", "starttls", "tls"] = "starttls"
    is_certificate_checked: bool = True
    authentication: Literal["login", "certificate", "xoauth2"] = "login"
    user: str = Field("", max_length=254)
    password: str = Field("", max_length=20_000, description=_NEVER_SHOWN)
    client_certificate: Pem = Field("", description="PEM.")
    client_key: Pem = Field("", description=f"PEM. {_NEVER_SHOWN}")
    oauth: dict[str, str] = Field(
        default_factory=dict,
        max_length=20,
        description=f"token_url, client_id, client_secret, refresh_token. {_NEVER_SHOWN}",
    )
    from_filter: str = Field("", max_length=20_000, description="Domains and addresses; empty: any.")
    priority: Small = 10
    max_size_megabytes: Annotated[int, Field(ge=1, le=32_767)] | None = None
    connection_limit: Annotated[int, Field(ge=1, le=200)] = 8
    limit_per_minute: Figure | None = None
    limit_per_hour: Figure | None = None
    limit_per_day: Figure | None = None
    is_for_campaigns: bool = False


class ServerToAdd(ServerToChange):
    """A new server. `owner` is the address of the member whose personal server it is; it stays so."""

    name: str = Field(min_length=1, max_length=80)
    owner: str = ""


@dataclass(frozen=True, slots=True)
class ServerPage:
    """Outgoing servers, newest first; `next_cursor` is None on the last page."""

    data: list[ServerShape]
    next_cursor: str | None


@router.get("", response={200: ServerPage, **READ_PROBLEMS})
def list_servers(request: HttpRequest, cursor: str = "", limit: Limit = DEFAULT_LIMIT) -> ServerPage:
    """The shared relay and the servers of the workspace. Only for keys that act as an administrator."""
    by = _admin_of(request)
    rows, next_cursor = page_of(servers_to_show(by), cursor, limit)
    return ServerPage(shapes_of(rows, by), next_cursor)


@router.post("", response={201: ServerShape, **WRITE_PROBLEMS})
def add_server(request: HttpRequest, payload: ServerToAdd) -> HttpResponse:
    """Add a server. Only for keys that act as an administrator."""
    by = _admin_of(request)

    def added() -> ServerShape:
        server = MailServer(workspace=by.workspace, owner=_owner(by, payload.owner))
        return _stored(server, {**payload.dict(), "owner": server.owner}, by)

    return once(request, 201, ServerShape, added)


@router.get("/{server_id}", response={200: ServerShape, **READ_PROBLEMS})
def get_server(request: HttpRequest, server_id: str) -> ServerShape:
    """One server (srv_…). Only for keys that act as an administrator."""
    by = _admin_of(request)
    return _shape(_server(by, server_id), by)


@router.patch("/{server_id}", response={200: ServerShape, **READ_PROBLEMS})
def change_server(request: HttpRequest, server_id: str, payload: ServerToChange) -> ServerShape:
    """Change what is given; what waits is tried with it at once. Only for keys that act as an administrator.

    Of the shared relay operators change the limits, connection_limit and max_size_megabytes.
    """
    by = _admin_of(request)
    return _stored(_server(by, server_id), payload.dict(exclude_unset=True), by)


@router.post("/{server_id}/archive", response={200: ServerShape, **READ_PROBLEMS})
def archive_server(request: HttpRequest, server_id: str) -> ServerShape:
    """Give it no more mail. While something uses it, that is refused, and `errors` names what."""
    by = _admin_of(request)
    server = _server(by, server_id)
    try:
        mail_servers.archive(server, by=by)
    except RequestRefused as refusal:
        uses = [] if server.is_shared else mail_servers.used_by(server)
        named = [{"field": "used_by", "message": words} for words in uses]
        raise Problem("refused", str(refusal), errors=named or None) from refusal
    return _shape(server, by)


@router.post("/{server_id}/unarchive", response={200: ServerShape, **READ_PROBLEMS})
def unarchive_server(request: HttpRequest, server_id: str) -> ServerShape:
    """Give it mail again."""
    by = _admin_of(request)
    server = _server(by, server_id)
    mail_servers.unarchive(server, by=by)
    return _shape(server, by)


@router.delete("/{server_id}", response={200: ServerShape, **READ_PROBLEMS})
def remove_server(request: HttpRequest, server_id: str) -> ServerShape:
    """Remove one that has never carried mail, and answer what it was. Others can be archived."""
    by = _admin_of(request)
    server = _server(by, server_id)
    shape = _shape(server, by)
    mail_servers.delete(server, by=by)
    return shape


@router.post("/{server_id}/test", response={200: ConnectionTestShape, **READ_PROBLEMS})
def try_server(request: HttpRequest, server_id: str) -> ConnectionTestShape:
    """Test the connection up to RCPT TO; nothing is sent. The shared relay is tested by operators only.

    It may take a minute. A good test does not prove that mail arrives.
    """
    by = _admin_of(request)
    return shape_of_test(test_connection(_server(by, server_id), by=by))


def _admin_of(request: HttpRequest) -> Member:
    """To everybody else there are no servers."""
    member = key_of(request).member
    if not member.is_admin:
        raise only_for("an administrator")
    return member


def _server(by: Member, server_id: str) -> MailServer:
    found = servers_to_show(by).filter(pk=number_in(server_id, "srv") or 0).first()
    if found is None:
        raise not_found()
    return found


def _shape(server: MailServer, by: Member) -> ServerShape:
    """As it is in the database now."""
    return shapes_of([servers_to_show(by).get(pk=server.pk)], by)[0]


def _stored(server: MailServer, given: dict[str, Any], by: Member) -> ServerShape:
    options = given.pop("esp_options", {})
    provider = given.pop("esp", "") or (server.esp if options else "")
    for name, value in given.items():
        setattr(server, name, _written(name, value))
    if server.is_shared:
        _refuse_more_than_limits({**given, **({"esp": provider} if provider else {})})
    if provider:
        esp_settings.choose(server, provider, options, by=by)
    try:
        mail_servers.put_server(server, by=by)
    except SealBroken as error:
        raise Problem("refused", f"{error} Send the secret with the request.") from error
    return _shape(server, by)


def _written(name: str, value: Any) -> Any:
    """OAuth 2.0 is stored as the text of its JSON object."""
    if name == "oauth":
        return json.dumps(value) if value else ""
    return value


def _refuse_more_than_limits(given: dict[str, Any]) -> None:
    others = sorted(given.keys() - set(mail_servers.LIMITS))
    if others:
        named = [{"field": name, "message": "This is set by RELAY_URL."} for name in others]
        raise Problem("refused", "Of the shared relay only the limits can be changed here.", errors=named)


def _owner(by: Member, address: str) -> Member | None:
    if not address:
        return None
    members = Member.objects.active().filter(workspace=by.workspace_id)
    member = members.filter(user__email__iexact=normalise(address)).first()
    if member is None:
        where = [{"field": "owner", "message": "This is not the address of a member."}]
        raise Problem("malformed", "The request cannot be read.", errors=where)
    return member
