"""Fills an installation with everything a backup has to carry, and looks into it again, in its own process.

Run as `python -m tests.journeys.installation_clerk fill SLUG`, `… files`, `… login ADDRESS` or `… sealed`,
with POSTROOM_DATA set. What it says is JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from typing import Any


def fill(slug: str) -> dict[str, Any]:
    """A workspace with its people, a message with a file, one that is said later, a sealed password."""
    from datetime import timedelta

    from django.core.management import call_command
    from django.utils import timezone

    call_command("migrate", verbosity=0)
    from dataclasses import asdict

    from postroom.conversations.models import ScheduledMessage
    from postroom.conversations.storage import Upload, keep, put_aside
    from postroom.outgoing.models import MailServer
    from postroom.workspaces import installation
    from postroom.workspaces.models import SystemParameter
    from tests.outgoing.queued import queue
    from tests.people import cast

    installation.recognise()
    demo = cast(slug)
    workspace = demo.workspace
    SystemParameter.objects.create(workspace=workspace, key="mail.retry.gaps_seconds", value="1")
    MailServer.objects.create(
        workspace=workspace, name="Sealed", host="x.example", password="s3cret", is_active=False
    )
    said = queue(workspace, [f"{slug}{number}@example.org" for number in range(20)])[0].message
    row = keep(workspace.pk, Upload("plan.txt", "text/plain", f"the plan of {slug}".encode()))
    row.message = said
    row.save()
    later = put_aside(workspace.pk, Upload("later.txt", "text/plain", f"later in {slug}".encode()))
    ScheduledMessage.objects.create(
        workspace=workspace, record=demo.record, member=demo.ana, author=demo.ana_contact,
        subtype_key="comment",
        subject="Later", files=[asdict(later)], post_at=timezone.now() + timedelta(days=30),
    )  # fmt: skip
    return {"workspace": workspace.pk}


def earlier_backup(file: str) -> int:
    """A backup as the version before this one would have written it; return how many rows it has."""
    from pathlib import Path

    from django.conf import settings
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    from postroom_server.store import databases
    from postroom_server.store.archive import Writer
    from postroom_server.store.manifest import HEAD, Head
    from postroom_server.store.tables import Table

    executor = MigrationExecutor(connection)
    others = [node for node in executor.loader.graph.leaf_nodes() if node[0] != "postroom"]
    earlier = [*others, ("postroom", "0002_outgoing")]
    executor.migrate(earlier)
    then = MigrationExecutor(connection).loader.project_state(earlier).apps
    check = settings.POSTROOM_KEY_CHECKS[0]
    then.get_model("postroom", "Installation").objects.create(pk=1, instance="then", key_check=check)
    workspace = then.get_model("postroom", "Workspace").objects.create(slug="demo", name="Demo")
    server = then.get_model("postroom", "MailServer").objects.create(name="relay")
    then.get_model("postroom", "Lane").objects.create(workspace=workspace, stream="bulk", server=server)
    connection.close()
    tables = tuple(Table.of_model(model) for model in then.get_models(include_auto_created=True))
    database = databases.open_database("", Path(settings.POSTROOM_DATA))
    head = Head(
        "0.0.9", "2026-01-01T00:00:00Z", "sqlite", "then", check, databases.migrations_of(database), tables
    )
    with Path(file).open("wb") as archive:
        writer = Writer(archive, is_compressed=False)
        writer.add(HEAD, head.as_octets())
        for table in tables:
            last = database.last_number(table) if table.is_numbered else 0
            writer.add_rows(table, database.rows(table), last, lambda count: None)
        writer.finish()
    return writer.manifest.row_count


def files() -> list[str]:
    """Every attachment read through the storage, as the digest of what is in it."""
    from postroom.conversations import storage
    from postroom.conversations.models import Attachment, ScheduledMessage
    from postroom.conversations.storage import StoredFile

    read = [storage.read(row) for row in Attachment.objects.order_by("pk")]
    for said in ScheduledMessage.objects.order_by("pk"):
        read += [storage.taken_up(said.workspace_id, StoredFile(**file)).content for file in said.files]
    return [hashlib.sha256(octets).hexdigest() for octets in read]


def login(address: str) -> bool:
    """Does the password of the cast still open the door?"""
    from django.contrib.auth import authenticate
    from django.test import RequestFactory

    from tests.people import PASSWORD

    return authenticate(RequestFactory().post("/"), email=address, password=PASSWORD) is not None


def sealed() -> str:
    """A password that is kept sealed."""
    from postroom.outgoing.models import MailServer

    return str(MailServer.objects.get(name="Sealed").password)


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "postroom_server.settings"
    import django

    django.setup()
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))  # noqa: T201
