"""The command line as a whole: `postroom <noun> <verb>`. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from postroom.commands import (
    actions,
    backup,
    capturing,
    dkim,
    explaining,
    inbound,
    keys,
    log_search,
    messages,
    moving,
    parameters,
    queue,
    quota,
    records,
    restoring,
    roles,
    sealing,
    serve,
    servers,
    settings,
    target,
    users,
    workspaces,
)

app = typer.Typer(
    name="postroom",
    help="The post room of a business application: every record a conversation, every delivery an answer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: postroom demo",
)
app.command("demo", epilog="Example: postroom demo")(serve.demo)
app.command("up", epilog="Example: RELAY_URL=smtp+starttls://user:password@relay.example:587 postroom up")(
    serve.up
)
app.command("web", epilog="Example: postroom web")(roles.web)
app.command("smtp", epilog="Example: postroom smtp")(roles.smtp)
app.command("worker", epilog="Example: postroom worker --http")(roles.worker)
app.command("explain", epilog='Example: postroom explain "550 5.1.1 User unknown" --json')(explaining.explain)
app.command("readyz", epilog="Example: postroom readyz --json")(settings.readyz)
app.command(
    "restore",
    epilog="Example: postroom restore postroom.tar.gz --data /srv/copy --keys /safe/postroom.key",
)(restoring.restore)
app.command(
    "migrate-store",
    epilog="Example: postroom migrate-store --to postgresql://postroom@db.example/postroom --dry-run",
)(moving.migrate_store)
app.add_typer(backup.app, name="backup")
app.add_typer(workspaces.app, name="workspace")
app.add_typer(users.app, name="user")
app.add_typer(records.app, name="record")
app.add_typer(messages.app, name="message")
app.add_typer(queue.app, name="queue")
app.add_typer(actions.app, name="action")
app.add_typer(inbound.app, name="inbound")
app.add_typer(quota.app, name="quota")
app.add_typer(capturing.app, name="capture")
app.add_typer(servers.app, name="server")
app.add_typer(keys.app, name="key")
app.add_typer(dkim.app, name="dkim")
app.add_typer(sealing.app, name="secret")
app.add_typer(parameters.app, name="parameter")
app.add_typer(settings.app, name="config")
app.add_typer(log_search.app, name="log")
app.add_typer(target.app, name="target")


@app.callback(invoke_without_command=True)
def _postroom(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """The post room of a business application: every record a conversation, every delivery an answer."""
    if version:
        from importlib.metadata import version as version_of

        print(version_of("postroom"))
        raise typer.Exit
