"""Opens the installation for a command: configuration, Django, the tables, the workspace that is meant."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from postroom.commands.calling import line_for
from postroom.commands.failures import Stopped, wrong_use

if TYPE_CHECKING:
    from postroom.workspaces.models import Member, Workspace
    from postroom_server.config import Config

DEMO_FOLDER = "postroom-demo"
SETTINGS_MODULE = "postroom_server.settings"
TABLES_LOCK = 0x706F7374726F6F6D  # any number that nobody else on the database uses: "postroom"


def set_up_django() -> Config:
    """Read the configuration and start Django. Raises ConfigError with the remedy."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SETTINGS_MODULE)
    import django

    django.setup()
    from postroom_server.settings import CONFIG

    return CONFIG


def open_installation(*, is_new_welcome: bool = False) -> Config:
    """Start Django on a database that is ready, and known to be this installation's.

    One that is new is made with `is_new_welcome`; every other command leaves no trace where nothing is yet.
    Raises Stopped if there is nothing or if the tables are those of an earlier version, KeysDoNotFit if the
    keys are not its own.
    """
    if not is_new_welcome:
        _refuse_untouched()
    config = set_up_django()
    if are_tables_missing():
        if not is_new_welcome:
            raise no_workspace()
        make_tables()
    elif has_unapplied_migrations():
        raise Stopped(
            "The database is of an earlier version. Stop Postroom, start `postroom up` once, then try again."
        )
    refuse_newer_database()
    from postroom.commands import logs
    from postroom.workspaces import installation

    logs.note_actions(config)
    installation.recognise()
    return config


def _refuse_untouched() -> None:
    from postroom_server import config as configuration
    from postroom_server import folder

    if folder.is_untouched(configuration.load()):
        raise no_workspace()


def no_workspace() -> Stopped:
    """What is raised where there is no workspace: it names the folder that was looked in."""
    from postroom_server import config as configuration

    config = configuration.load()
    where = "the database of DATABASE_URL" if config["DATABASE_URL"] else f"the data folder {config.data}"
    make = line_for('workspace create --name "My company" --admin you@your-domain')
    sentence = f"There is no workspace yet in {where}. Make one with `{make}`"
    if config.values["POSTROOM_DATA"].origin == "default" and Path(DEMO_FOLDER).is_dir():
        return Stopped(f"{sentence}, or name the demo's folder: POSTROOM_DATA={DEMO_FOLDER}.")
    return Stopped(f"{sentence}, or name another folder with POSTROOM_DATA.")


def await_database(seconds: float = 60.0) -> None:
    """Wait for a PostgreSQL that does not answer yet, as when both are started at once. Raises Stopped."""
    from django.db import OperationalError, connection

    ends_at, is_told = time.monotonic() + seconds, False
    while connection.vendor == "postgresql":
        try:
            connection.ensure_connection()
        except OperationalError as error:
            reason = " ".join(str(error).split())
        else:
            return
        if time.monotonic() > ends_at:
            raise Stopped(
                f"The database does not answer: {reason}. Start it, or correct DATABASE_URL "
                "(`postroom config show`), then start again."
            )
        if not is_told:
            print(f"Waiting for the database ({reason}).", file=sys.stderr, flush=True)
        is_told = True
        time.sleep(1)


def are_tables_missing() -> bool:
    """Is the database new?"""
    from django.db import connection

    return "postroom_installation" not in connection.introspection.table_names()


def has_unapplied_migrations() -> bool:
    """Do the tables lag behind the code?"""
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def unknown_migrations(applied: Mapping[str, Iterable[str]]) -> list[str]:
    """Which of these migrations, by app, this version does not know: those of a newer one."""
    from django.apps import apps
    from django.db import connection
    from django.db.migrations.loader import MigrationLoader

    known = MigrationLoader(connection).disk_migrations
    ours = {config.label for config in apps.get_app_configs()}
    return [
        f"{app}.{name}"
        for app, names in applied.items()
        if app in ours
        for name in names
        if (app, name) not in known
    ]


def missing_migrations(applied: Mapping[str, Iterable[str]]) -> list[str]:
    """Which migrations of this version are not among these."""
    from django.db import connection
    from django.db.migrations.loader import MigrationLoader

    known = {(app, name) for app, names in applied.items() for name in names}
    return [
        f"{app}.{name}"
        for app, name in MigrationLoader(connection).disk_migrations
        if (app, name) not in known
    ]


def refuse_newer_database() -> None:
    """Raise Stopped if a newer version has changed the tables: this one would not understand them."""
    from django.db import connection
    from django.db.migrations.recorder import MigrationRecorder

    applied: dict[str, list[str]] = {}
    for app, name in sorted(MigrationRecorder(connection).applied_migrations()):
        applied.setdefault(app, []).append(name)
    if unknown := unknown_migrations(applied):
        raise Stopped(
            "The database is of a newer version of Postroom: this one does not know "
            f"{', '.join(unknown[:3])}. Install the version that was used last, or restore a "
            "backup of the time before it."
        )


def make_tables() -> None:
    """Create the tables, or bring them up to date; machines that start at once do so one after another.

    Raises Stopped, and changes nothing, if they are those of a newer version.
    """
    from django.core.management import call_command

    refuse_newer_database()
    with _alone_in_database():
        call_command("migrate", interactive=False, verbosity=0)


@contextlib.contextmanager
def _alone_in_database() -> Iterator[None]:
    """PostgreSQL lets two machines make the same table at once and then refuses one of them."""
    from django.db import connection

    if connection.vendor != "postgresql":
        yield  # on SQLite the folder's lock has kept a second one away
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [TABLES_LOCK])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [TABLES_LOCK])


def workspace_of(slug: str) -> Workspace:
    """The workspace that is meant: the one named, or the only one. Raises Stopped with the choice."""
    from postroom.workspaces.models import Workspace

    known = {workspace.slug: workspace for workspace in Workspace.objects.order_by("pk")}
    if not known:
        raise no_workspace()
    if slug in known:
        return known[slug]
    if not slug and len(known) == 1:
        return next(iter(known.values()))
    choice = ", ".join(known)
    if slug:
        raise wrong_use(f"There is no workspace {slug!r}. There is: {choice}.")
    raise wrong_use(f"There are several workspaces; name one of them with --workspace: {choice}.")


def member_acting(workspace: Workspace, address: str = "") -> Member:
    """The member a command acts as: the one with this address, or the first operator or administrator."""
    from postroom.wire.address import normalise
    from postroom.workspaces.answering import administrator_of
    from postroom.workspaces.models import Member

    if not address:
        found = administrator_of(workspace)
        remedy = "has no administrator to act as. Name a member with --as"
    else:
        active = Member.objects.active().filter(workspace=workspace)
        found = active.filter(user__email__iexact=normalise(address)).first()
        remedy = f"has no member {address}. See `postroom user list`"
    if found is None:
        raise Stopped(f"{workspace} {remedy}.")
    found.is_command = not address
    return found


def check_language(language: str) -> None:
    """Raise Stopped unless it is a language the interface speaks."""
    if language not in ("en", "ro", "es"):
        raise wrong_use(f"There is no language {language!r}. Choose en, ro or es.")
