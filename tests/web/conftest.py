"""What the tests of the pages share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.cache import cache
from django.test import Client

from postroom.workspaces.models import Member
from tests.people import Cast, cast

Browse = Callable[[Member], Client]


@pytest.fixture(autouse=True)
def no_rate_limits_left_over() -> None:
    """Failed logins of one test do not lock out the next."""
    cache.clear()


@pytest.fixture
def browse() -> Browse:
    """A browser in which a member is logged in."""

    def logged_in(member: Member) -> Client:
        client = Client()
        client.force_login(member.user)
        return client

    return logged_in


@pytest.fixture
def as_ana(people: Cast, browse: Browse) -> Client:
    """Ana's browser."""
    return browse(people.ana)


@pytest.fixture
def as_olga(people: Cast, browse: Browse) -> Client:
    """Olga's browser."""
    return browse(people.olga)


@pytest.fixture
def neighbours(people: Cast) -> Cast:
    """The same cast in another workspace."""
    return cast("neighbour")
