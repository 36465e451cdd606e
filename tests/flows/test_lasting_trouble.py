"""A server that stays down: who is told, and when."""

from __future__ import annotations

import pytest

from postroom.conversations.models import Notification
from postroom.flows import trouble
from postroom.outgoing import holds, relays
from postroom.outgoing.models import MailServer
from postroom.web.notice_words import page_of, words_of
from tests.flows.servers import server_at
from tests.people import Cast
from tests.web.mail import waiting

pytestmark = pytest.mark.django_db
DOWN = trouble.Trouble(holds.SERVER_UNREACHABLE, "Connection refused")


def fail(server: MailServer, times: int) -> None:
    for _ in range(times):
        server.refresh_from_db()
        trouble.leave_alone(server, DOWN)


def told() -> list[str]:
    notices = Notification.objects.filter(reason=trouble.SERVER_DOWN)
    return sorted(notices.values_list("member__user__email", flat=True))


def test_operators_are_told_of_a_relay_that_mail_waits_for_but_not_at_once(people: Cast) -> None:
    waiting(people)
    fail(relays.shared_server(), trouble.TOLD_AT_FAILURE - 1)
    assert told() == []
    fail(relays.shared_server(), 5)
    assert told() == ["olga@demo.example"]
    assert words_of(trouble.SERVER_DOWN) != trouble.SERVER_DOWN
    assert page_of(trouble.SERVER_DOWN) == "/settings/servers"


def test_nobody_is_told_of_a_server_that_nobody_misses(people: Cast) -> None:
    fail(server_at(people, 25), trouble.TOLD_AT_FAILURE + 1)
    assert told() == []
