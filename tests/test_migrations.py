"""An installation of an earlier version is brought up to date with mail in its queue."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from postroom.commands import opening
from postroom.commands.failures import Stopped
from postroom.conversations.models import Message
from postroom.flows import limits, sending
from postroom.outgoing.models import Attempt, Email, Lane, MailServer
from postroom.workspaces import installation
from postroom.workspaces.models import Plan, Workspace
from tests.outgoing.queued import OCTETS, relay, tally_adds_up

FIRST = ("postroom", "0001_initial")
SECOND = ("postroom", "0002_outgoing")
NOW = timezone.now()
EARLIER = NOW - timedelta(days=1)
TRIED = {"attempt_count": 1, "first_attempt_at": EARLIER}
FAILED = {"state": "failed", **TRIED}
EMAILS: dict[str, dict[str, Any]] = {
    "new": {},
    "again": {**TRIED, "due_at": EARLIER, "failure_text": "450 4.2.0 later"},
    "in-hand": {"lease": "0" * 32, "leased_until": EARLIER},
    "later": {**TRIED, "due_at": NOW + timedelta(days=1)},
    "sent": {"state": "sent", "sent_at": EARLIER, "is_listed": False, **TRIED},
    "refused": {**FAILED, "failure_kind": "refused", "failure_text": "550 5.1.1 no"},
    "bounced": {**FAILED, "failure_kind": "bounced", "bounced_at": EARLIER},
    "expired": {**FAILED, "failure_kind": "expired"},
    "uncertain": {**FAILED, "failure_kind": "uncertain", "uncertain_count": 1},
    "invalid": {**FAILED, "failure_kind": "invalid", "attempt_count": 0, "first_attempt_at": None},
    "ignored": {**FAILED, "failure_kind": "refused", "ignored_at": EARLIER},
    "cancelled": {"state": "cancelled", "cancelled_because": "by_hand"},
}
OUTCOMES = {"again": "deferred", "later": "deferred", "sent": "accepted", "uncertain": "uncertain"}


@pytest.fixture
def empty_database(transactional_db: None, tmp_path: Path) -> Iterator[None]:
    """A new database without a table behind the usual connection, in all threads."""
    named = connections["default"].settings_dict
    before, new = named["NAME"], f"old_{secrets.token_hex(4)}"
    is_postgres = connection.vendor == "postgresql"
    if is_postgres:
        _say(f"CREATE DATABASE {new}")
    connections.close_all()
    named["NAME"] = new if is_postgres else str(tmp_path / f"{new}.sqlite3")
    try:
        yield
    finally:
        connections.close_all()
        named["NAME"] = before
        if is_postgres:
            _say(f"DROP DATABASE {new}")


def _say(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def migrate_to(version: tuple[str, str]) -> Any:
    """The tables of an earlier version, forwards or backwards; return its models."""
    executor = MigrationExecutor(connection)
    others = [node for node in executor.loader.graph.leaf_nodes() if node[0] != "postroom"]
    executor.migrate([*others, version])
    return MigrationExecutor(connection).loader.project_state([*others, version]).apps


def fill(apps: Any) -> None:
    """One workspace with a member, and one message whose Emails are in every state."""
    model = {model.__name__: model for model in apps.get_models()}
    model["Installation"].objects.create(
        pk=1, instance=installation.instance(), key_check=django_settings.POSTROOM_KEY_CHECKS[0]
    )
    workspace = model["Workspace"].objects.create(slug="demo", name="Demo Company")
    user = model["User"].objects.create(username="olga", email="olga@demo.example")
    member = model["Member"].objects.create(workspace=workspace, user=user, role="operator")
    model["MailDomain"].objects.create(workspace=workspace, domain="demo.postroom.localhost", is_default=True)
    server = model["MailServer"].objects.create(name="relay", connection_limit=4)
    lane = model["Lane"].objects.create(workspace=workspace, stream="urgent", server=server)
    model["Lane"].objects.create(workspace=workspace, stream="bulk", server=server)
    author = model["Contact"].objects.create(workspace=workspace, name="Olga", member=member)
    message = model["Message"].objects.create(workspace=workspace, author=author, message_id="<1@demo>")
    rendition = model["Rendition"].objects.create(
        workspace=workspace, message=message, language="en", layout="outside", digest="0",
        size=len(OCTETS), octets=OCTETS,
    )  # fmt: skip
    for name, fields in EMAILS.items():
        address = model["Address"].objects.create(workspace=workspace, addr_spec=f"{name}@example.org")
        email = model["Email"].objects.create(
            workspace=workspace, message=message, rendition=rendition, address=address, lane=lane, **fields
        )
        if outcome := OUTCOMES.get(name):
            model["Attempt"].objects.create(
                workspace=workspace, email=email, number=1, addr_spec=address.addr_spec, outcome=outcome
            )
    model["Tally"].objects.create(
        message=message, workspace=workspace, total_count=len(EMAILS), outgoing_count=4, sent_count=1,
        failed_count=5, ignored_count=1, cancelled_count=1,
    )  # fmt: skip


def everything(apps: Any) -> dict[str, list[dict[str, Any]]]:
    """Every row of an earlier version's models, as far as that version knows it."""
    return {model.__name__: list(model.objects.order_by("pk").values()) for model in apps.get_models()}


def drain(settings: Any) -> list[str]:
    """Send what is due; return who got mail."""

    lane = MailServer.objects.get().engine_lane
    assert sending.due() == [lane]

    async def story() -> list[str]:
        async with relay(settings) as door:
            await asyncio.wait_for(sending.drain(lane), 20)
            return sorted(path for mail in door.taken for path in mail.forward_paths)

    return asyncio.run(story())


def states() -> dict[str, str]:
    rows = Email.objects.values_list("address__addr_spec", "state")
    return {addr_spec.partition("@")[0]: state for addr_spec, state in rows}


def refuse_changes(before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]) -> None:
    """Every row is there, and says what it said."""
    for name, rows in before.items():
        if name not in ("ContentType", "Permission"):  # those of new tables are new
            assert len(after[name]) == len(rows), f"{name} has other rows"
            assert after[name] == rows, f"{name} was changed"


@pytest.mark.usefixtures("empty_database")
@pytest.mark.parametrize(("version", "plan"), [(FIRST, Plan.UNLIMITED), (SECOND, Plan.PAID)])
def test_an_installation_of_an_earlier_version_keeps_all_it_has_and_sends_what_waits(
    settings: Any, data_folder: Path, version: tuple[str, str], plan: Plan
) -> None:
    old = migrate_to(version)
    fill(old)
    before = everything(old)
    assert opening.has_unapplied_migrations()
    opening.make_tables()
    assert not opening.has_unapplied_migrations()
    refuse_changes(before, everything(old))

    workspace = Workspace.objects.get()
    assert (workspace.plan, workspace.daily_limit) == (plan, None)
    assert (limits.usage(workspace).limit is None) == (plan == Plan.UNLIMITED)
    assert Lane.objects.get(stream="bulk").released_until is not None, "what waits leaves as it did"
    assert Lane.objects.get(stream="urgent").released_until is None
    assert installation.recognise().capturing_since is None
    assert sending.recover() == 1  # what the old version had in hand when it was ended
    assert drain(settings) == ["again@example.org", "new@example.org"]
    expected = {name: fields.get("state", "outgoing") for name, fields in EMAILS.items()}
    assert states() == {**expected, "new": "sent", "again": "sent"}
    assert Attempt.objects.get(email__address__addr_spec="in-hand@example.org").outcome == "uncertain"
    assert tally_adds_up(Message.objects.get())


@pytest.mark.usefixtures("empty_database")
def test_tables_of_the_newest_version_are_made_from_nothing() -> None:
    assert opening.are_tables_missing()
    opening.make_tables()
    assert not opening.has_unapplied_migrations()
    assert Workspace.objects.create(slug="new", name="New").plan == Plan.PAID


@pytest.mark.usefixtures("empty_database")
def test_a_new_version_can_be_left_again_with_all_that_the_earlier_one_knew() -> None:
    old = migrate_to(FIRST)
    fill(old)
    before = everything(old)
    opening.make_tables()
    migrate_to(FIRST)
    refuse_changes(before, everything(old))


@pytest.mark.django_db
def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is() -> None:
    given = {"postroom": ["0001_initial", "0999_later"], "shop": ["0001_initial"]}
    assert opening.unknown_migrations(given) == ["postroom.0999_later"]
    recorder = MigrationRecorder(connection)
    recorder.record_applied("shop", "0001_initial")
    opening.refuse_newer_database()  # another application beside ours is none of our business
    recorder.record_applied("postroom", "0999_later")
    said = r"newer version of Postroom.*postroom\.0999_later.*Install the version"
    with pytest.raises(Stopped, match=said):
        opening.make_tables()


def test_every_migration_can_be_undone() -> None:
    """One that cannot has to say so in its docstring and in the how-to about upgrades."""
    for (app, name), migration in MigrationLoader(None).disk_migrations.items():
        if app == "postroom":
            assert all(operation.reversible for operation in migration.operations), name
