"""Settings of the workspace."""

import re

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from postroom.conversations.models import Alias
from postroom.diagnostics.models import Event
from postroom.workspaces import installation
from postroom.workspaces.models import Installation, MailDomain, Member, SystemParameter
from tests.people import Cast

KEY = "mail.retry.deadline_hours"


def test_the_workspace_is_renamed(people: Cast, as_olga: Client) -> None:
    """Everybody sees the new name."""
    as_olga.post("/settings", {"name": "Lamps & Co", "time_zone": "UTC"})
    assert "Lamps &amp; Co" in as_olga.get("/").content.decode()


def test_the_workspace_lives_by_another_clock(people: Cast, as_olga: Client) -> None:
    """However the zone is capitalised; who changed it is noted."""
    as_olga.post("/settings", {"name": "Demo", "time_zone": "europe/bucharest"})
    people.workspace.refresh_from_db()
    assert people.workspace.time_zone == "Europe/Bucharest"
    event = Event.objects.get(kind="workspace.time_zone")
    assert (event.member, event.detail) == (people.olga, {"before": "UTC", "after": "Europe/Bucharest"})
    assert 'value="Europe/Bucharest"' in as_olga.get("/settings").content.decode()


def test_a_zone_that_there_is_not_is_refused_with_those_written_nearly_so(
    people: Cast, as_olga: Client
) -> None:
    """And the name beside it stays, too."""
    answer = as_olga.post("/settings", {"name": "Lamps", "time_zone": "Bucharest"})
    assert answer.status_code == 422
    assert "Write one like Europe/Bucharest" in answer.content.decode()
    people.workspace.refresh_from_db()
    assert (people.workspace.name, people.workspace.time_zone) == ("Demo Company", "UTC")


def test_a_domain_is_added_and_made_the_one_mail_goes_out_from(people: Cast, as_olga: Client) -> None:
    """There is always exactly one."""
    fields = {"domain": "Lamps.Example", "from_local_part": "hello"}
    fields |= {"bounce_local_part": "bounce", "catchall_local_part": "catchall"}
    as_olga.post("/settings/domains", fields)
    domain = MailDomain.objects.get(domain="lamps.example")
    as_olga.post(reverse("domain", args=[domain.pk]), {"default": "yes"})
    assert MailDomain.objects.get(workspace=people.workspace, is_default=True) == domain


def test_a_domain_of_a_neighbour_is_refused(people: Cast, neighbours: Cast, as_olga: Client) -> None:
    """A domain belongs to one workspace."""
    fields = {"domain": neighbours.domain.domain, "from_local_part": "a"}
    fields |= {"bounce_local_part": "b", "catchall_local_part": "c"}
    assert "already" in as_olga.post("/settings/domains", fields).content.decode()


LOCAL_PARTS = {"from_local_part": "a", "bounce_local_part": "b", "catchall_local_part": "c"}


def test_only_an_operator_names_a_domain(people: Cast, as_olga: Client) -> None:
    """Whoever has a domain gets its mail; an administrator still changes the local parts."""
    Member.objects.filter(pk=people.olga.pk).update(role="admin")
    page = as_olga.post("/settings/domains", {"domain": "bank.example", **LOCAL_PARTS}).content.decode()
    assert "Ask an operator" in page
    assert 'name="domain"' not in as_olga.get("/settings/domains").content.decode()
    own = reverse("domain", args=[people.domain.pk])
    as_olga.post(own, {"domain": "bank.example", **LOCAL_PARTS})
    as_olga.post(own, {"domain": people.domain.domain, **LOCAL_PARTS})
    [domain] = MailDomain.objects.all()
    assert (domain.domain, domain.from_local_part) == (people.domain.domain, "a")


@pytest.mark.parametrize(
    "name", ["{0}", "{0}.", "new.{0}", "x.demo.{0}", "nodot", "a..b.example", "-a.example", "x@b.example"]
)
def test_a_domain_that_is_none_or_the_installations_is_refused(
    people: Cast, as_olga: Client, name: str
) -> None:
    """The next workspace has its subdomain there."""
    wanted = name.format(settings.POSTROOM_MAIL_DOMAIN)
    as_olga.post("/settings/domains", {"domain": wanted, **LOCAL_PARTS})
    assert MailDomain.objects.get() == people.domain


def test_a_domain_is_kept_as_it_goes_over_the_wire(people: Cast, as_olga: Client) -> None:
    """So that its mail is found, and the same name is not had twice."""
    as_olga.post("/settings/domains", {"domain": "Lămpi.Example.", **LOCAL_PARTS})
    assert MailDomain.objects.filter(domain="xn--lmpi-0sa.example").exists()


def test_one_word_is_not_used_twice_in_a_domain(people: Cast, as_olga: Client) -> None:
    """A bounce alias that is the catchall too would lose bounces."""
    fields = {
        "domain": "x.example",
        "from_local_part": "a",
        "bounce_local_part": "b",
        "catchall_local_part": "b",
    }
    assert "Use a different word" in as_olga.post("/settings/domains", fields).content.decode()


def test_an_alias_is_added_changed_and_removed(people: Cast, as_olga: Client) -> None:
    """Its address is compared in small letters."""
    fields = {
        "local_part": "Sales",
        "mail_domain": people.domain.pk,
        "model": "crm.lead",
        "policy": "everyone",
    }
    as_olga.post(reverse("new_alias"), fields)
    alias = Alias.objects.get(local_part="sales")
    as_olga.post(reverse("alias", args=[alias.pk]), {**fields, "policy": "members"})
    alias.refresh_from_db()
    assert alias.policy == "members"
    as_olga.post(reverse("remove_alias", args=[alias.pk]))
    assert not Alias.objects.filter(pk=alias.pk).exists()


def test_an_alias_may_lead_to_one_record(people: Cast, as_olga: Client) -> None:
    """By the number in its address."""
    fields = {"local_part": "so42", "mail_domain": people.domain.pk, "policy": "everyone"}
    as_olga.post(reverse("new_alias"), {**fields, "forced": str(people.record.pk)})
    assert Alias.objects.get(local_part="so42").forced_record == people.record


def test_aliases_that_could_not_work_are_refused(people: Cast, as_olga: Client) -> None:
    """Each with its reason."""
    fields = {"mail_domain": people.domain.pk, "model": "crm.lead", "policy": "everyone"}
    for local_part, reason in (
        ("admin", "already an alias"),
        ("catchall", "the catchall"),
        ("a+b", "Leave the + out"),
        ("a b", ""),
    ):
        page = as_olga.post(reverse("new_alias"), {**fields, "local_part": local_part}).content.decode()
        assert reason in page, re.findall("errorlist.*", page)
        assert "errorlist" in page


def test_system_parameters_are_for_developer_mode(people: Cast, as_olga: Client) -> None:
    """They override a default, and an empty value goes back to it."""
    assert as_olga.get("/settings/parameters").status_code == 404
    Member.objects.filter(pk=people.olga.pk).update(is_developer=True)
    as_olga.post("/settings/parameters", {"key": KEY, "value": "72"})
    assert SystemParameter.objects.get().value == "72"
    page = as_olga.post("/settings/parameters", {"key": KEY, "value": "soon"}, follow=True).content.decode()
    assert "soon" in page
    assert SystemParameter.objects.get().value == "72"
    as_olga.post("/settings/parameters", {"key": KEY, "value": ""})
    assert not SystemParameter.objects.exists()


def test_capture_of_the_workspace_is_badged_on_every_page(people: Cast, as_olga: Client) -> None:
    """And ends where it began."""
    as_olga.post("/settings/capture", {"scope": "workspace", "wanted": "on"})
    assert "Capture mode: nothing leaves" in as_olga.get("/records").content.decode()
    as_olga.post("/settings/capture", {"scope": "workspace", "wanted": "off"})
    assert "Capture mode: nothing leaves" not in as_olga.get("/records").content.decode()


def test_a_copy_says_that_it_looks_like_one(people: Cast, as_olga: Client) -> None:
    """Until an operator says that it was moved."""
    installation.recognise()
    Installation.objects.update(instance="somewhere else")
    installation.recognise()
    assert "This looks like a copy of another installation." in as_olga.get("/").content.decode()
    as_olga.post("/settings/capture", {"scope": "installation", "wanted": "off"})
    assert Installation.objects.get().capturing_since is None


def test_only_operators_capture_the_installation(people: Cast, as_ana: Client) -> None:
    """An administrator of one workspace does not hold up the others."""
    installation.recognise()
    Member.objects.filter(pk=people.ana.pk).update(role="admin")
    answer = as_ana.post("/settings/capture", {"scope": "installation", "wanted": "on"})
    assert answer.status_code == 404
    assert Installation.objects.get().capturing_since is None


def test_a_whole_address_may_be_what_every_mail_goes_out_from(people: Cast, as_olga: Client) -> None:
    """On one of the workspace's own domains; an operator may choose any."""
    own, domain = reverse("domain", args=[people.domain.pk]), people.domain.domain
    Member.objects.filter(pk=people.olga.pk).update(role="admin")
    as_olga.post(own, {"domain": domain, **LOCAL_PARTS, "from_local_part": f"Office@{domain}"})
    assert MailDomain.objects.get().from_addr_spec == f"office@{domain}"
    foreign = {"domain": domain, **LOCAL_PARTS, "from_local_part": "boss@bank.example"}
    assert "no mail domain of this workspace" in as_olga.post(own, foreign).content.decode()
    assert MailDomain.objects.get().from_addr_spec == f"office@{domain}"
    Member.objects.filter(pk=people.olga.pk).update(role="operator")
    as_olga.post(own, foreign)
    assert MailDomain.objects.get().from_addr_spec == "boss@bank.example"
