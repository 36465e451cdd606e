"""What it costs to tell a thousand followers, beside the same rows through Django's bulk_create.

usage: python -m bench.posting [--followers 1000] [--rounds 7] [--database sqlite|postgres]

Both write one message, its rendition, its tally and an Email per follower in one transaction. The product
also finds out who is told, how and why, composes the mail, and writes down who was not told.
"""

from __future__ import annotations

import argparse
import time
import uuid
from typing import Any

from bench import stage


def main() -> None:
    """Alternate both for some rounds and print medians and their ratio."""
    options = _options()
    with stage.installation(options.database, stage.free_port()):
        record = _followed_by(options.followers)
        _know_the_tables()
        ours, theirs = [], []
        for number in range(-1, options.rounds):
            posted, message = _posted(record, options.followers)
            created = _created(message)
            if number >= 0:
                ours.append(posted * 1000)
                theirs.append(created * 1000)
    print(f"{stage.where(options.database)}: {options.followers:,} followers, {options.rounds} rounds")
    print(f"  postroom      {stage.spread(ours, '.1f')} ms")
    print(f"  bulk_create   {stage.spread(theirs, '.1f')} ms, ratio {stage.ratios(ours, theirs)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--followers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    return parser.parse_args()


def _followed_by(count: int) -> Any:
    from postroom.flows.recording import contact_for, put_record
    from postroom.workspaces.models import Member, Workspace

    workspace = Workspace.objects.get()
    people = [
        contact_for(workspace, f"person{number}@rcpt.example", f"Person {number}") for number in range(count)
    ]
    olga = Member.objects.get(workspace=workspace)
    return put_record(workspace, "sale.order", "SO1", title="SO1", followers=people, by=olga)[0]


def _know_the_tables() -> None:
    """Statistics, as autovacuum keeps them in any database that is older than a minute."""
    from django.db import connection

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def _posted(record: Any, count: int) -> tuple[float, Any]:
    from postroom.flows.posting import Draft, post
    from postroom.outgoing.models import Email

    text = "What letters say, in seventy characters or thereabouts, sixty times.\\n" * 60
    began = time.perf_counter()
    message = post(Draft(workspace=record.workspace, record=record, text=text, author_name="Ana"))
    seconds = time.perf_counter() - began
    assert Email.objects.filter(message=message).count() >= count
    return seconds, message


def _created(message: Any) -> float:
    """Write a copy of every row that posting wrote, the Django way."""
    from django.db import transaction

    from postroom.outgoing.models import Email, Rendition, Tally

    emails = list(Email.objects.filter(message=message).values())
    renditions = list(Rendition.objects.filter(message=message).values())
    tally = Tally.objects.filter(message=message).values().get()
    began = time.perf_counter()
    with transaction.atomic():
        message.pk, message.message_id = None, f"<{uuid.uuid4().hex}@bench.example>"
        message._state.adding = True
        message.save()
        again = Rendition.objects.bulk_create(
            Rendition(**{**row, "id": None, "message_id": message.pk}) for row in renditions
        )
        new_id = {old["id"]: new.pk for old, new in zip(renditions, again, strict=True)}
        Email.objects.bulk_create(
            Email(
                **{**row, "id": None, "message_id": message.pk, "rendition_id": new_id[row["rendition_id"]]}
            )
            for row in emails
        )
        Tally.objects.create(**{**tally, "message_id": message.pk})
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
