"""`postroom server …`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postroom.commands.output import AsJson, InWorkspace, cell, print_json, print_list, print_one, print_words

if TYPE_CHECKING:
    from postroom.flows.server_shapes import ConnectionTestShape, ServerShape
    from postroom.outgoing.models import MailServer
    from postroom.workspaces.models import Member

app = typer.Typer(help="Outgoing servers: which of them takes which mail.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="ID", help="An id such as srv_3, or the server's name.")]
_NONE = "none"

# Each field that can be written, as its option. None means that it stays what it is.
Host = Annotated[str | None, typer.Option(help="The server's name, such as smtp.example.com.")]
Port = Annotated[
    int | None, typer.Option(help="The port; usual for the encryption if left out: 587, 465 or 25.")
]
Encryption = Annotated[str | None, typer.Option(help="none, starttls or tls.")]
Check = Annotated[
    bool | None, typer.Option("--check-certificate/--any-certificate", help="Insist on a good certificate.")
]
User = Annotated[str | None, typer.Option(help="The username.")]
Filter = Annotated[
    str | None, typer.Option("--from", metavar="FILTER", help="Domains and addresses it lets us send from.")
]
Priority = Annotated[int | None, typer.Option(help="Which one is asked first: the lower number.")]
Connections = Annotated[int | None, typer.Option(help="How many connections at the same time.")]
PerMinute = Annotated[str | None, typer.Option(help="Emails a minute, or none.")]
PerHour = Annotated[str | None, typer.Option(help="Emails an hour, or none.")]
PerDay = Annotated[str | None, typer.Option(help="Emails a day, or none.")]
MaxSize = Annotated[str | None, typer.Option(help="Largest email in MB, or none for what it tells itself.")]
Campaigns = Annotated[bool | None, typer.Option("--campaigns/--no-campaigns", help="It carries campaigns.")]
AskPassword = Annotated[bool, typer.Option("--password", help="Ask for the password, or read it from stdin.")]
PasswordFile = Annotated[Path | None, typer.Option(help="A file whose first line is the password.")]
Certificate = Annotated[Path | None, typer.Option(help="PEM file of a certificate to log in with.")]
CertificateKey = Annotated[Path | None, typer.Option(help="PEM file of its private key.")]
Provider = Annotated[
    str | None, typer.Option(help="The email service provider whose API takes the mail, such as postmark.")
]
ProviderFile = Annotated[
    Path | None, typer.Option(help="JSON file of what the provider wants to know, such as its API key.")
]
OAuthFile = Annotated[Path | None, typer.Option(help="JSON file of an OAuth 2.0 access to log in with.")]


@app.command("list", epilog="Example: postroom server list --json")
def list_servers(workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """List the outgoing servers, the shared relay first."""
    from postroom.commands.opening import member_acting, open_installation, workspace_of

    open_installation()
    from postroom.flows.server_shapes import servers_to_show, shapes_of

    by = member_acting(workspace_of(workspace))
    columns = ("id", "name", "host", "port", "encryption", "from_filter", "priority", "state")
    print_list(shapes_of(list(servers_to_show(by)), by), columns, as_json=as_json)


@app.command("show", epilog="Example: postroom server show srv_3")
def show(server: Id, workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """Show all that is set for a server, except its secrets."""
    by = _acting(workspace)
    _print(_found(server, by), by, as_json=as_json)


@app.command(
    "add",
    epilog="Example: postroom server add Acme --host smtp.acme.example --user ana --password "
    "--from acme.example",
)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What you call it.")],
    *,
    host: Host = None,
    port: Port = None,
    encryption: Encryption = None,
    check_certificate: Check = None,
    user: User = None,
    from_filter: Filter = None,
    priority: Priority = None,
    connections: Connections = None,
    per_minute: PerMinute = None,
    per_hour: PerHour = None,
    per_day: PerDay = None,
    max_size: MaxSize = None,
    campaigns: Campaigns = None,
    personal: Annotated[str, typer.Option(metavar="ADDRESS", help="Whose personal server it is.")] = "",
    password: AskPassword = False,
    password_file: PasswordFile = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    oauth_file: OAuthFile = None,
    provider: Provider = None,
    provider_file: ProviderFile = None,
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Add an outgoing server. Secrets come from a prompt, from stdin or from files, never from the line."""
    given = dict(locals())
    by = _acting(workspace)
    from postroom.commands.opening import member_acting
    from postroom.outgoing.models import MailServer

    owner = member_acting(by.workspace, personal) if personal else None
    server = MailServer(name=name, port=0, owner=owner)
    _put(server, given, by, as_json=as_json)


@app.command("change", epilog="Example: postroom server change srv_3 --per-minute 30 --priority 5")
def change(
    server: Id,
    *,
    name: Annotated[str | None, typer.Option(help="What you call it.")] = None,
    host: Host = None,
    port: Port = None,
    encryption: Encryption = None,
    check_certificate: Check = None,
    user: User = None,
    from_filter: Filter = None,
    priority: Priority = None,
    connections: Connections = None,
    per_minute: PerMinute = None,
    per_hour: PerHour = None,
    per_day: PerDay = None,
    max_size: MaxSize = None,
    campaigns: Campaigns = None,
    password: AskPassword = False,
    password_file: PasswordFile = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    oauth_file: OAuthFile = None,
    provider: Provider = None,
    provider_file: ProviderFile = None,
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Change what is named, leave the rest. Of the shared relay only the limits can be changed."""
    given = dict(locals())
    by = _acting(workspace)
    _put(_found(server, by), given, by, as_json=as_json)


@app.command("archive", epilog="Example: postroom server archive srv_3")
def archive(server: Id, workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """Give a server no more mail. It is refused while something still uses it."""
    by = _acting(workspace)
    from postroom.flows import mail_servers

    row = _found(server, by)
    mail_servers.archive(row, by=by)
    _print(row, by, f"{row.name} gets no more mail.", as_json=as_json)


@app.command("unarchive", epilog="Example: postroom server unarchive srv_3")
def unarchive(server: Id, workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """Give a server mail again."""
    by = _acting(workspace)
    from postroom.flows import mail_servers

    row = _found(server, by)
    mail_servers.unarchive(row, by=by)
    _print(row, by, f"{row.name} gets mail again.", as_json=as_json)


@app.command("remove", epilog="Example: postroom server remove srv_3")
def remove(server: Id, workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """Remove a server that has never carried mail. Others can be archived."""
    by = _acting(workspace)
    from postroom.flows import mail_servers
    from postroom.flows.server_shapes import servers_to_show, shapes_of

    row = _found(server, by)
    [shape] = shapes_of(list(servers_to_show(by).filter(pk=row.pk)), by)
    mail_servers.delete(row, by=by)
    print_one(shape, f"{row.name} is removed.", as_json=as_json)


@app.command("test", epilog="Example: postroom server test srv_3")
def try_server(server: Id, workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """Try whether a server would take our mail, step by step; nothing is sent. Exits 0 only if it would."""
    by = _acting(workspace)
    from postroom.commands.failures import Stopped
    from postroom.flows.server_shapes import shape_of_test
    from postroom.flows.testing_connection import test_connection

    shape = shape_of_test(test_connection(_found(server, by), by=by))
    print_one(shape, _in_words(shape), as_json=as_json)
    if not shape.is_good:
        raise Stopped(shape.verdict)


def _acting(slug: str) -> Member:
    from postroom.commands.opening import member_acting, open_installation, workspace_of

    open_installation()
    return member_acting(workspace_of(slug))


def _found(named: str, by: Member) -> MailServer:
    """By id, or by its name among the workspace's servers. Raises Stopped."""
    from postroom.commands.failures import Stopped
    from postroom.flows.server_shapes import server_id, servers_to_show

    shown = list(servers_to_show(by))
    found = next((server for server in shown if server_id(server) == named), None)
    named_so = [server for server in shown if server.name.casefold() == named.casefold()]
    if found is None and len(named_so) == 1:
        found = named_so[0]
    if found is None:
        raise Stopped(f"There is no server {named}. See `postroom server list`.")
    return found


def _put(server: MailServer, given: dict[str, Any], by: Member, *, as_json: bool) -> None:
    from postroom.flows import esp_settings, mail_servers

    if given["provider"] is not None or given["provider_file"] is not None:
        esp_settings.choose(server, given["provider"] or server.esp, _told(given["provider_file"]), by=by)
    for field, value in {**_plain(given), **_limits(given), **_secrets(given)}.items():
        setattr(server, field, value)
    mail_servers.put_server(server, by=by)
    _print(
        server, by, f"{server.name} is stored. Try it: postroom server test srv_{server.pk}", as_json=as_json
    )


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """The fields that were given as they are."""
    names = {
        "name": "name",
        "host": "host",
        "port": "port",
        "encryption": "encryption",
        "check_certificate": "is_certificate_checked",
        "user": "user",
        "from_filter": "from_filter",
        "priority": "priority",
        "connections": "connection_limit",
        "campaigns": "is_for_campaigns",
    }
    fields = {field: given[name] for name, field in names.items() if given[name] is not None}
    if given["host"] is not None:
        fields["transport"] = "smtp"
    if given["encryption"] is not None and given["port"] is None:
        fields["port"] = 0  # the usual one of that encryption
    return fields


def _limits(given: dict[str, Any]) -> dict[str, int | None]:
    names = {
        "per_minute": "limit_per_minute",
        "per_hour": "limit_per_hour",
        "per_day": "limit_per_day",
        "max_size": "max_size_megabytes",
    }
    return {field: _number(given[name]) for name, field in names.items() if given[name] is not None}


def _number(text: str) -> int | None:
    from postroom.commands.failures import wrong_use

    if text == _NONE:
        return None
    if not (text.isascii() and text.isdigit()):
        raise wrong_use(f"{text!r} is no number. Write one, or none for no limit.")
    return int(text)


def _secrets(given: dict[str, Any]) -> dict[str, str]:
    fields: dict[str, str] = {}
    if given["password_file"] is not None:
        fields["password"] = _first_line(given["password_file"].read_text("utf-8"))
    elif given["password"]:
        fields["password"] = _asked()
    if given["certificate"] is not None:
        fields["client_certificate"] = given["certificate"].read_text("utf-8")
        fields["authentication"] = "certificate"
    if given["certificate_key"] is not None:
        fields["client_key"] = given["certificate_key"].read_text("utf-8")
    if given["oauth_file"] is not None:
        fields |= {"oauth": given["oauth_file"].read_text("utf-8"), "authentication": "xoauth2"}
    if "password" in fields:
        fields["authentication"] = "login"
    return fields


def _told(path: Path | None) -> dict[str, str]:
    """What a file says to a provider."""
    from postroom.commands.failures import wrong_use

    if path is None:
        return {}
    try:
        told = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise wrong_use(f"{path} is no JSON: {error}.") from error
    if not isinstance(told, dict) or not all(isinstance(value, str) for value in told.values()):
        raise wrong_use(f'{path} must hold a JSON object of texts, such as {{"server_token": "…"}}.')
    return told


def _asked() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True))
    return _first_line(sys.stdin.readline())


def _first_line(text: str) -> str:
    from postroom.commands.failures import wrong_use

    line = text.splitlines()[0] if text.splitlines() else ""
    if not line:
        raise wrong_use("The password is empty. It is the first line of the file or of stdin.")
    return line


def _print(server: MailServer, by: Member, sentence: str = "", *, as_json: bool) -> None:
    """The server as it is stored: for people a sentence, or without one all that is set."""
    from postroom.flows.server_shapes import servers_to_show, shapes_of

    [shape] = shapes_of(list(servers_to_show(by).filter(pk=server.pk)), by)
    if as_json:
        print_json(shape)
    else:
        print_words(sentence or _described(shape))


def _described(shape: ServerShape) -> str:
    uses = [f"{use.used} of {use.limit} this {use.unit}" for use in shape.uses]
    rows = {**asdict(shape), "uses": uses}
    width = max(map(len, rows))
    return "\n".join(f"{name.replace('_', ' '):{width}}  {cell(value)}" for name, value in rows.items())


def _in_words(shape: ConnectionTestShape) -> str:
    lines = [
        f"{step.state:8} {step.key:9} {cell(step.words)} {cell(step.remedy) if step.remedy else ''}".rstrip()
        for step in shape.steps
    ]
    return "\n".join([*lines, shape.verdict] if shape.is_good else lines)
