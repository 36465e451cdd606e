"""Looks into an installation from a process of its own, with the product's settings.

Run as `python -m tests.journeys.queue_of_an_installation fill COUNT` or `… judge`, with POSTROOM_DATA set.
"""

from __future__ import annotations

import json
import os
import sys


def fill(count: int) -> None:
    """Migrate, make the cast and queue so many urgent Emails, and half as many bulk ones."""
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from postroom.conversations.models.records import Stream
    from postroom.workspaces.models import SystemParameter
    from tests.outgoing.queued import queue
    from tests.people import cast

    demo = cast()
    SystemParameter.objects.create(workspace=demo.workspace, key="mail.retry.gaps_seconds", value="1")
    queue(demo.workspace, [f"urgent{n}@example.org" for n in range(count)])
    queue(demo.workspace, [f"bulk{n}@example.org" for n in range(count // 2)], stream=Stream.BULK)


def judge() -> None:
    """Print every Email (address, state, failure kind, leased?, how often uncertain), and if all adds up."""
    from postroom.outgoing.models import Attempt, Email
    from tests.outgoing.queued import tally_adds_up

    uncertain: dict[int, int] = {}
    for email_id in Attempt.objects.filter(outcome="uncertain").values_list("email_id", flat=True):
        uncertain[email_id] = uncertain.get(email_id, 0) + 1
    rows = Email.objects.values_list("pk", "address__addr_spec", "state", "failure_kind", "lease")
    emails = [[a, state, kind, bool(lease), uncertain.get(pk, 0)] for pk, a, state, kind, lease in rows]
    messages = {email.message for email in Email.objects.select_related("message")}
    print(json.dumps({"emails": emails, "is_balanced": all(tally_adds_up(each) for each in messages)}))  # noqa: T201


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "postroom_server.settings"
    import django

    django.setup()
    fill(int(sys.argv[2])) if sys.argv[1] == "fill" else judge()
