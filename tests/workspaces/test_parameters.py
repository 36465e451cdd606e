"""System Parameters: defaults, what a workspace sets, and what is refused."""

import pytest

from postroom.workspaces import parameters
from postroom.workspaces.models import SystemParameter
from postroom.workspaces.refusals import RequestRefused
from tests.people import Cast

GAPS = "mail.retry.gaps_seconds"
pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("key", sorted(parameters.KNOWN))
def test_every_default_can_be_read(key: str) -> None:
    assert parameters.value(0, key) is not None


def test_what_a_workspace_sets_is_its_own(people: Cast) -> None:
    parameters.put(people.workspace.pk, GAPS, " 5,10 ")
    assert parameters.value(people.workspace.pk, GAPS) == (5, 10)
    assert parameters.value(0, GAPS) == (60, 300, 900, 1800, 3600)


@pytest.mark.parametrize("text", ["", "  "])
def test_nothing_goes_back_to_the_default(people: Cast, text: str) -> None:
    parameters.put(people.workspace.pk, GAPS, "5")
    parameters.put(people.workspace.pk, GAPS, text)
    assert parameters.value(people.workspace.pk, GAPS)[0] == 60


@pytest.mark.parametrize("text", ["soon", "0", "-5", "60,", "99999999", "0" * 600 + "1"])
def test_what_cannot_be_read_is_refused_with_what_it_takes(people: Cast, text: str) -> None:
    with pytest.raises(RequestRefused, match="numbers from 1 to 604800, with commas between"):
        parameters.put(people.workspace.pk, GAPS, text)


@pytest.mark.parametrize(
    ("key", "text", "allowed"),
    [
        ("mail.undo.seconds", "301", "from 0 to 300"),
        ("mail.quota.auto_resume", "yes", "on or off"),
        ("mail.attachment.link_days", "9000000", "from 1 to 3650"),
    ],
)
def test_a_refusal_names_the_range(people: Cast, key: str, text: str, allowed: str) -> None:
    with pytest.raises(RequestRefused, match=allowed):
        parameters.put(people.workspace.pk, key, text)


def test_an_unknown_key_is_refused(people: Cast) -> None:
    with pytest.raises(RequestRefused, match=r"mail\.retry\.gap\b"):
        parameters.put(people.workspace.pk, "mail.retry.gap", "5")


def test_a_stored_text_that_no_longer_fits_counts_as_not_set(people: Cast) -> None:
    SystemParameter.objects.create(workspace=people.workspace, key=GAPS, value="nonsense")
    assert parameters.value(people.workspace.pk, GAPS)[0] == 60
