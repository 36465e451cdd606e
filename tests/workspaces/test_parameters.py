"""System Parameters: defaults, what a workspace sets, and what is refused."""

import pytest

from postroom.conversations.models import Alias
from postroom.flows import arranging
from postroom.workspaces import parameters
from postroom.workspaces.models import MailDomain, Role, SystemParameter
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


@pytest.mark.parametrize(
    "text", ["soon", "0", "-5", "60,", "99999999", "0" * 600 + "1", "1_0", "٣", "+7", "1.0"]
)
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


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("mail.bounce.alias", "bounce_local_part"),
        ("mail.catchall.alias", "catchall_local_part"),
        ("mail.default.from", "from_local_part"),
    ],
)
def test_what_is_of_the_domain_is_read_there_and_written_there(people: Cast, key: str, field: str) -> None:
    arranging.set_parameter(people.workspace, key, " Post ", by=people.olga)
    people.domain.refresh_from_db()
    assert getattr(people.domain, field) == "post"
    setattr(people.domain, field, "mail")
    people.domain.save()
    assert parameters.value(people.workspace.pk, key) == "mail"
    assert parameters.set_in(people.workspace.pk)[key] == "mail"
    arranging.set_parameter(people.workspace, key, "", by=people.olga)
    people.domain.refresh_from_db()
    assert getattr(people.domain, field) == parameters.KNOWN[key].default
    assert not SystemParameter.objects.exists()


def test_what_is_of_the_domain_takes_what_its_page_takes(people: Cast) -> None:
    def refusal(key: str, text: str) -> str:
        with pytest.raises(RequestRefused) as refused:
            arranging.set_parameter(people.workspace, key, text, by=people.olga)
        return str(refused.value)

    Alias.objects.create(
        workspace=people.workspace, mail_domain=people.domain, local_part="post", model="x.y"
    )
    assert "is an alias already" in refusal("mail.bounce.alias", "post")
    assert "is an alias already" in refusal("mail.catchall.alias", "POST")
    assert "at most 20 characters" in refusal("mail.bounce.alias", "b" * 21)
    assert "different word" in refusal("mail.bounce.alias", "catchall")
    assert "letters that most mail servers do not know" in refusal("mail.catchall.alias", "răspuns")
    assert "before the @" in refusal("mail.bounce.alias", "bounce@other.example")
    assert not parameters.set_in(people.workspace.pk)


def test_the_default_from_may_be_a_whole_address(people: Cast) -> None:
    whole = f"hello@{people.domain.domain}"
    arranging.set_parameter(people.workspace, "mail.default.from", whole, by=people.olga)
    assert MailDomain.objects.get(pk=people.domain.pk).overrides_from
    assert parameters.value(people.workspace.pk, "mail.default.from") == whole


@pytest.mark.parametrize("local_part", ["bounce", "catchall", "Bounce+abc", "catchall+x"])
def test_no_mail_goes_out_from_where_reports_and_replies_come_back(people: Cast, local_part: str) -> None:
    other = MailDomain.objects.create(workspace=people.workspace, domain="other.example")
    for home in (people.domain.domain, other.domain):
        with pytest.raises(RequestRefused, match="bounce alias or a catchall"):
            arranging.set_parameter(
                people.workspace, "mail.default.from", f"{local_part}@{home}", by=people.olga
            )
    assert not parameters.set_in(people.workspace.pk)


def test_no_alias_for_reports_is_put_where_mail_goes_out_from(people: Cast) -> None:
    MailDomain.objects.create(
        workspace=people.workspace, domain="other.example", from_local_part=f"hello@{people.domain.domain}"
    )
    with pytest.raises(RequestRefused, match="bounce alias or a catchall"):
        arranging.set_parameter(people.workspace, "mail.bounce.alias", "hello", by=people.olga)


def test_nobody_but_an_operator_sends_everything_from_a_foreign_address(people: Cast) -> None:
    people.olga.role = Role.ADMIN
    people.olga.save()
    with pytest.raises(RequestRefused, match="on no mail domain of this workspace"):
        arranging.set_parameter(people.workspace, "mail.default.from", "x@elsewhere.example", by=people.olga)


def test_a_workspace_without_a_domain_is_told_whom_to_ask(people: Cast) -> None:
    MailDomain.objects.update(is_default=False)
    assert parameters.value(people.workspace.pk, "mail.bounce.alias") == "bounce"
    with pytest.raises(RequestRefused, match="Ask an operator"):
        arranging.set_parameter(people.workspace, "mail.bounce.alias", "back", by=people.olga)
