"""What a workspace has set up, turned into the way of one message."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from postroom.conversations.models import Contact
from postroom.flows.recording import contact_for
from postroom.outgoing import relays
from postroom.outgoing.choosing import Rule
from postroom.outgoing.models import MailServer
from postroom.outgoing.routes import Crossroads, Route, ServerUnusable, route_of
from postroom.wire.address import Mailbox
from postroom.workspaces import parameters
from postroom.workspaces.models import MailDomain
from postroom.workspaces.refusals import AcrossTheWall
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db
OWN = "demo.postroom.localhost"


@pytest.fixture(autouse=True)
def relay(settings: Any) -> None:
    settings.POSTROOM_RELAY_URL = "smtp://relay.example"
    settings.POSTROOM_RELAY_FROM_FILTER = ""


def add(people: Cast, filter: str = "", **fields: Any) -> MailServer:
    known = {"name": "Acme", "host": "smtp.acme.example", "from_filter": filter, **fields}
    return MailServer.objects.create(workspace=people.workspace, **known)


def own_domain(people: Cast, domain: str = "demo.example", **fields: Any) -> MailDomain:
    return MailDomain.objects.create(workspace=people.workspace, domain=domain, **fields)


def of_ana(people: Cast, **more: Any) -> Route:
    return route_of(people.workspace, people.ana_contact, **more)


def test_a_foreign_author_goes_out_from_the_default_address_over_the_relay(people: Cast) -> None:
    route = of_ana(people)
    assert (route.server, route.rule, route.wanted_from) == (
        relays.shared_server(), Rule.SHARED, "ana@demo.example",
    )  # fmt: skip
    assert route.from_ == Mailbox("Ana Pop", f"notifications@{OWN}")
    assert (route.reverse_path, route.return_domain) == ("", OWN)


def test_a_bounce_comes_back_to_the_domain_of_from_so_that_spf_aligns(people: Cast) -> None:
    own_domain(people)
    route = of_ana(people)
    assert (route.from_.addr_spec, route.return_domain) == ("ana@demo.example", "demo.example")


@pytest.mark.parametrize(
    ("filter", "reverse_path", "return_domain"),
    [
        ("demo.example", "", "demo.example"),
        ("ana@demo.example, returns@demo.example", "", "demo.example"),
        ("ana@demo.example", "ana@demo.example", ""),
    ],
)
def test_the_return_path_is_from_where_the_server_takes_no_other(
    people: Cast, filter: str, reverse_path: str, return_domain: str
) -> None:
    own_domain(people, bounce_local_part="returns")
    add(people, filter)
    route = of_ana(people)
    assert (route.reverse_path, route.return_domain) == (reverse_path, return_domain)


def test_the_relays_own_filter_and_the_workspaces_domains_decide_what_it_lets_through(
    people: Cast, settings: Any
) -> None:
    settings.POSTROOM_RELAY_FROM_FILTER = "ana@demo.example, victim.example"
    own_domain(people)
    route = of_ana(people)
    assert (route.rule, route.from_.addr_spec, route.reverse_path) == (
        Rule.SHARED, "ana@demo.example", "ana@demo.example",
    )  # fmt: skip
    cast("victim")
    route = of_ana(people, wanted=Mailbox("Olga", "olga@victim.example"))
    assert (route.from_.addr_spec, route.why) == (f"notifications@{OWN}", "not_ours")


def test_a_filter_does_not_lend_the_mail_domain_of_another_workspace(people: Cast) -> None:
    add(people, "next.postroom.localhost")
    theirs = Mailbox("Olga", "olga@next.postroom.localhost")
    assert of_ana(people, wanted=theirs).from_ == theirs
    cast("next")
    route = of_ana(people, wanted=theirs)
    assert (route.from_.addr_spec, route.why) == (f"notifications@{OWN}", "anothers")


def test_a_mail_that_opens_a_login_goes_over_the_shared_relay_whatever_else_there_is(people: Cast) -> None:
    add(people, "")
    route = Crossroads(people.workspace).secret_route(Mailbox("", f"notifications@{OWN}"))
    assert (route.server.is_shared, route.rule, route.from_.addr_spec) == (
        True, Rule.SECRET, f"notifications@{OWN}",
    )  # fmt: skip


def test_the_workspace_itself_and_who_has_no_address_write_from_the_default_address(people: Cast) -> None:
    shy = Contact.objects.create(workspace=people.workspace, name="Shy")
    assert route_of(people.workspace, None).from_ == Mailbox("Demo Company", f"notifications@{OWN}")
    assert route_of(people.workspace, shy).from_ == Mailbox("Shy", f"notifications@{OWN}")


def test_a_whole_default_address_overrides_the_from_of_everybody(people: Cast) -> None:
    own_domain(people)
    MailDomain.objects.filter(pk=people.domain.pk).update(from_local_part="office@brand.example")
    route = of_ana(people)
    assert route.from_ == Mailbox("Ana Pop", "office@brand.example")
    assert (route.return_domain, route.detail()["why"]) == (OWN, "overridden")


def test_an_archived_server_is_never_chosen_and_cannot_be_named(people: Cast) -> None:
    archived = add(people, "demo.example", is_active=False)
    assert of_ana(people).rule == Rule.SHARED
    with pytest.raises(ServerUnusable, match=r"Acme is archived\. Choose another one, or bring it back"):
        of_ana(people, fixed=archived)


def test_a_server_of_another_workspace_is_neither_chosen_nor_named(people: Cast) -> None:
    neighbour = cast("next")
    theirs = add(neighbour, "demo.example")
    assert of_ana(people).rule == Rule.SHARED
    with pytest.raises(AcrossTheWall):
        of_ana(people, fixed=theirs)


def test_a_named_server_may_be_the_shared_one(people: Cast) -> None:
    add(people, "demo.example")
    assert of_ana(people, fixed=relays.shared_server()).rule == Rule.FIXED


# Personal servers.


def test_an_unfiltered_personal_server_takes_its_owners_own_address_alone(people: Cast) -> None:
    mine = add(people, owner=people.ana)
    route = of_ana(people)
    assert (route.server, route.rule, route.from_.addr_spec) == (mine, Rule.PERSONAL, "ana@demo.example")
    assert route.reverse_path == "ana@demo.example"
    assert of_ana(people, wanted=Mailbox("Ana", "sales@demo.example")).rule == Rule.SHARED


def test_a_personal_server_carries_its_owners_login_address_alone_whatever_its_filter_says(
    people: Cast,
) -> None:
    mine = add(people, "victim.example, demo.example", owner=people.ana)
    assert of_ana(people).rule == Rule.PERSONAL
    stranger = Mailbox("The CEO", "ceo@victim.example")
    assert of_ana(people, wanted=stranger).rule == Rule.SHARED
    named = of_ana(people, wanted=stranger, fixed=mine)
    assert named.from_.addr_spec == f"notifications@{OWN}"


def test_nobody_else_sends_over_a_personal_server(people: Cast) -> None:
    mine = add(people, "demo.example", owner=people.ana)
    assert route_of(people.workspace, people.olga_contact).rule == Rule.SHARED
    assert route_of(people.workspace, None).rule == Rule.SHARED
    assert of_ana(people, may_be_personal=False).rule == Rule.SHARED
    with pytest.raises(ServerUnusable, match="somebody's personal server"):
        route_of(people.workspace, people.olga_contact, fixed=mine)
    with pytest.raises(ServerUnusable, match="somebody's personal server"):
        of_ana(people, fixed=mine, may_be_personal=False)
    assert of_ana(people, fixed=mine).from_.addr_spec == "ana@demo.example"


# What it costs, and how large a mail may be.


def test_a_further_route_asks_the_database_nothing(people: Cast) -> None:
    add(people, "demo.example", max_size_megabytes=5)
    authors = [people.ana_contact, people.ben, contact_for(people.workspace, "x@demo.example", "X")]
    crossroads = Crossroads(people.workspace)
    first = [crossroads.route_of(author) for author in authors]
    with CaptureQueriesContext(connection) as queries:
        assert [crossroads.route_of(author) for author in authors] == first
    assert list(queries) == []


def test_choosing_never_opens_a_sealed_password(people: Cast) -> None:
    stored = add(people, "demo.example", password="s3cret")
    MailServer.objects.filter(pk=stored.pk).update(priority=1)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE postroom_mailserver SET password = 'sealed with a key that is gone'")
    assert of_ana(people).server == stored


@pytest.mark.parametrize(
    ("fields", "octets"),
    [
        ({"max_size_megabytes": 25, "announced_size": 10_485_760}, 25_000_000),
        ({"announced_size": 10_485_760}, 10_485_760),
        ({"announced_size": 0}, 7_000_000),
        ({}, 7_000_000),
    ],
)
def test_a_mail_may_be_as_large_as_is_set_or_told_or_usual(
    people: Cast, fields: dict[str, int], octets: int
) -> None:
    parameters.put(people.workspace.pk, "mail.default.max_size_megabytes", "7")
    add(people, "demo.example", **fields)
    assert of_ana(people).max_octets == octets
    shared = relays.shared_server()
    assert relays.max_octets_of(shared) == 10_000_000
    assert relays.max_octets_of(shared, people.workspace.pk) == 7_000_000
