"""About when mail leaves that a limit holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from postroom.outgoing.expecting import Window, expected, leaves_at
from postroom.outgoing.models import Email, Lane, MailServer
from tests.outgoing.queued import queue
from tests.people import Cast

NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WINDOWS = st.builds(
    Window,
    each=st.integers(1, 50),
    room=st.integers(0, 50),
    ends_at=st.just(NOON),
    length=st.sampled_from([MINUTE, timedelta(hours=1), timedelta(days=1)]),
)


@given(WINDOWS, st.integers(0, 500))
def test_no_window_lets_out_more_than_its_limit(window: Window, count: int) -> None:
    """Played through: as many as there is room for, and then so many each time it starts again."""
    opens_at = NOON - timedelta(seconds=30)
    times = [leaves_at(opens_at, before, [window]) for before in range(count)]
    assert times == sorted(times)
    assert times.count(opens_at) == min(count, window.room)
    assert all(times.count(at) <= window.each for at in set(times) - {opens_at})


@given(st.lists(WINDOWS, min_size=1, max_size=3), st.integers(0, 500))
def test_the_slowest_limit_counts(windows: list[Window], before: int) -> None:
    alone = [leaves_at(NOON, before, [window]) for window in windows]
    assert leaves_at(NOON, before, windows) == max(alone)


def test_two_a_minute_with_five_before_it_takes_two_more_minutes(people: Cast) -> None:
    queue(people.workspace, [f"p{number}@example.org" for number in range(6)], due_at=NOON)
    MailServer.objects.update(limit_per_minute=2)
    opens_at = NOON + MINUTE
    Lane.objects.update(held_until=opens_at, held_because="rate_limit")
    emails = list(Email.objects.select_related("lane").order_by("pk"))
    times = [expected(emails, NOON)[email.pk].at for email in emails]
    assert times == [opens_at + (place // 2) * MINUTE for place in range(6)]


def test_of_a_lane_that_is_paused_or_whose_server_is_down_nobody_can_say(people: Cast) -> None:
    queue(people.workspace, ["p@example.org"], due_at=NOON)
    for fields in ({"is_paused": True}, {"held_until": NOON + MINUTE, "held_because": "server_unreachable"}):
        Lane.objects.update(**fields)
        email = Email.objects.select_related("lane").get()
        assert expected([email], NOON)[email.pk].at is None
        Lane.objects.update(is_paused=False)
