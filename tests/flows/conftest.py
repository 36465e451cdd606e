"""What the tests of incoming mail stand on."""

from __future__ import annotations

import pytest

from postroom.conversations.models import Alias
from postroom.flows import receiving
from postroom.incoming import log
from tests.flows.arrivals import alias
from tests.people import Cast


@pytest.fixture(autouse=True)
def _forgetful() -> None:
    log.forget_counts()
    receiving.forget_misses()


@pytest.fixture
def sales(people: Cast) -> Alias:
    return alias(people, "sales", "crm.lead")
