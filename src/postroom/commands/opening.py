"""Opens the installation for a command: configuration, Django, the tables, the workspace that is meant."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from postroom.commands.failures import Stopped, wrong_use

if TYPE_CHECKING:
    from postroom.workspaces.models import Member, Workspace
    from postroom_server.config import Config

SETTINGS_MODULE = "postroom_server.settings"


def set_up_django() -> Config:
    """Read the configuration and start Django. Raises ConfigError with the remedy."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SETTINGS_MODULE)
    import django

    django.setup()
    from postroom_server.settings import CONFIG

    return CONFIG


def open_installation() -> Config:
    """Start Django on a database that is ready: made if it is new, and known to be this installation's.

    Raises Stopped if the tables are those of an earlier version, KeysDoNotFit if the keys are not its own.
    """
    config = set_up_django()
    if are_tables_missing():
        make_tables()
    elif has_unapplied_migrations():
        raise Stopped(
            "The database is of an earlier version. Stop Postroom, start `postroom up` once, then try again."
        )
    from postroom.workspaces import installation

    installation.recognise()
    return config


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


def make_tables() -> None:
    """Create the tables, or bring them up to date."""
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=0)


def workspace_of(slug: str) -> Workspace:
    """The workspace that is meant: the one named, or the only one. Raises Stopped with the choice."""
    from postroom.workspaces.models import Workspace

    known = {workspace.slug: workspace for workspace in Workspace.objects.order_by("pk")}
    if not known:
        raise Stopped("There is no workspace yet. Make one with `postroom workspace create`.")
    if slug in known:
        return known[slug]
    if not slug and len(known) == 1:
        return next(iter(known.values()))
    choice = ", ".join(known)
    problem = f"There is no workspace {slug!r}" if slug else "There are several workspaces"
    raise wrong_use(f"{problem}; name one of them with --workspace: {choice}.")


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
    return found


def check_language(language: str) -> None:
    """Raise Stopped unless it is a language the interface speaks."""
    if language not in ("en", "ro", "es"):
        raise wrong_use(f"There is no language {language!r}. Choose en, ro or es.")
