"""The table of rules: which server, and from whom the mail may then say it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.outgoing.choosing import Candidate, Choice, Rule, Sender, Servers, Why, choose, return_path
from postroom.wire.address import Mailbox
from postroom.wire.from_filter import FromFilter

ANA = Mailbox("Ana Pop", "ana@acme.example")
GUEST = Mailbox("Gus", "gus@guest.example")
DEFAULT = "notifications@acme.example"
SHARED = 99


def one(number: int, filter: str = "", **more: Any) -> Candidate:
    return Candidate(number, FromFilter.parse(filter), **more)


def sender(wanted: Mailbox = ANA, **more: Any) -> Sender:
    known = {"default": DEFAULT, "own_domains": frozenset({"acme.example"}), **more}
    return Sender(wanted=wanted, **known)


def chosen(*own: Candidate, by: Sender | None = None, shared: str = "", **more: Any) -> Choice:
    is_campaign = more.pop("is_campaign", False)
    known = {"shared": one(SHARED, shared, is_shared=True), "is_shared_set": True, **more}
    return choose(by or sender(), Servers(own=own, **known), is_campaign=is_campaign)


def brief(choice: Choice) -> tuple[int, Rule, str]:
    return choice.server_id, choice.rule, choice.header_from.addr_spec


BY_ADDRESS = one(1, "ana@acme.example")
BY_DOMAIN = one(2, "acme.example")
BY_DEFAULT = one(3, DEFAULT)
BY_DEFAULTS_DOMAIN = one(4, "acme.example")
OPEN = one(5)
FOREIGN = one(6, "other.example")
NAMED = "guest.example"


@pytest.mark.parametrize(
    ("own", "wanted", "expected"),
    [
        ([OPEN, BY_DOMAIN, BY_ADDRESS], ANA, (1, Rule.FROM_ADDRESS, ANA.addr_spec)),
        ([OPEN, BY_DOMAIN, BY_DEFAULT], ANA, (2, Rule.FROM_DOMAIN, ANA.addr_spec)),
        ([OPEN, BY_DEFAULTS_DOMAIN, BY_DEFAULT], GUEST, (3, Rule.NOTIFICATION_ADDRESS, DEFAULT)),
        ([OPEN, FOREIGN, BY_DEFAULTS_DOMAIN], GUEST, (4, Rule.NOTIFICATION_DOMAIN, DEFAULT)),
        ([FOREIGN, OPEN], GUEST, (5, Rule.UNFILTERED, DEFAULT)),
        ([FOREIGN, OPEN], ANA, (5, Rule.UNFILTERED, ANA.addr_spec)),
        ([FOREIGN], ANA, (SHARED, Rule.SHARED, ANA.addr_spec)),
        ([FOREIGN], GUEST, (SHARED, Rule.SHARED, DEFAULT)),
        ([], ANA, (SHARED, Rule.SHARED, ANA.addr_spec)),
        ([one(7, "guest.example"), OPEN], GUEST, (7, Rule.FROM_DOMAIN, GUEST.addr_spec)),
        ([one(7, "gus@guest.example"), OPEN], GUEST, (7, Rule.FROM_ADDRESS, GUEST.addr_spec)),
    ],
)
def test_the_rules_are_asked_in_this_order(
    own: list[Candidate], wanted: Mailbox, expected: tuple[int, Rule, str]
) -> None:
    assert brief(chosen(*own, by=sender(wanted))) == expected


def test_without_any_fitting_server_the_first_one_is_taken_with_a_warning() -> None:
    choice = chosen(one(8, "third.example", priority=20), FOREIGN, is_shared_set=False)
    assert brief(choice) == (FOREIGN.id, Rule.FIRST, DEFAULT)
    assert (choice.is_warning, choice.why) == (True, Why.FILTERED)


def test_without_any_server_at_all_the_mail_waits_for_the_shared_one() -> None:
    choice = chosen(is_shared_set=False)
    assert brief(choice) == (SHARED, Rule.SHARED, ANA.addr_spec)
    assert not choice.is_warning


@pytest.mark.parametrize(
    ("servers", "first"),
    [
        ([one(1, priority=20), one(2, priority=5)], 2),
        ([one(1, name="Zeta"), one(2, name="alpha")], 2),
        ([one(2, name="Same"), one(1, name="Same")], 1),
    ],
)
def test_equals_go_by_priority_then_name_then_age(servers: list[Candidate], first: int) -> None:
    assert chosen(*servers).server_id == first


def test_the_shared_relay_with_a_filter_is_passed_over_where_it_wants_neither_from() -> None:
    assert chosen(FOREIGN, shared="else.example").rule == Rule.FIRST
    assert brief(chosen(FOREIGN, shared="acme.example")) == (SHARED, Rule.SHARED, ANA.addr_spec)
    assert brief(chosen(FOREIGN, shared=DEFAULT)) == (SHARED, Rule.SHARED, DEFAULT)
    alone = chosen(shared="else.example")
    assert (alone.server_id, alone.is_warning) == (SHARED, True)


@pytest.mark.parametrize(
    ("wanted", "header_from"), [(GUEST, DEFAULT), (ANA, ANA.addr_spec)], ids=["foreign", "own"]
)
def test_on_the_shared_relay_a_from_has_to_be_ours_and_in_its_filter(
    wanted: Mailbox, header_from: str
) -> None:
    choice = chosen(by=sender(wanted), shared="acme.example, guest.example")
    assert (choice.header_from.addr_spec, choice.is_warning) == (header_from, False)
    assert choice.why == (Why.KEPT if wanted == ANA else Why.NOT_OURS)


@pytest.mark.parametrize("server", [OPEN, BY_ADDRESS, one(1, NAMED)])
@pytest.mark.parametrize("wanted", [ANA, GUEST])
def test_no_filter_lends_an_address_that_is_anothers(server: Candidate, wanted: Mailbox) -> None:
    choice = chosen(server, by=sender(wanted, is_anothers=True), personal=one(50, wanted.addr_spec))
    assert (choice.header_from.addr_spec, choice.why) == (DEFAULT, Why.ANOTHERS)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("CEO <ceo@bank.example>", "CEO"),
        ("ceo@bank.example", "gus"),
        ("ceo\uff20bank.example Gus", "Gus"),
        ("<Gus>", "Gus"),
    ],
)
def test_a_name_at_the_default_from_shows_no_address(name: str, shown: str) -> None:
    choice = chosen(OPEN, by=sender(Mailbox(name, "gus@guest.example")))
    assert choice.header_from == Mailbox(shown, DEFAULT)


# Personal servers.


@pytest.mark.parametrize(
    ("filter", "wanted", "rule"),
    [
        ("ana@gmail.example", Mailbox("Ana", "ana@gmail.example"), Rule.PERSONAL),
        ("gmail.example", Mailbox("Ana", "ana@gmail.example"), Rule.PERSONAL),
        ("ana@gmail.example", ANA, Rule.UNFILTERED),
    ],
)
def test_a_personal_server_goes_first_where_it_names_the_from(
    filter: str, wanted: Mailbox, rule: Rule
) -> None:
    choice = chosen(OPEN, by=sender(wanted), personal=one(50, filter))
    assert (choice.rule, choice.header_from == wanted) == (rule, True)


def test_a_personal_server_is_never_a_fallback() -> None:
    assert chosen(personal=one(50), is_shared_set=False).rule == Rule.SHARED
    assert chosen(personal=one(50, "gmail.example"), is_shared_set=False).server_id == SHARED


def test_a_campaign_never_goes_over_a_personal_server() -> None:
    choice = chosen(OPEN, personal=one(50, ANA.addr_spec), is_campaign=True)
    assert choice.server_id == OPEN.id


# The server for campaigns.

CAMPAIGNS = one(60, "acme.example", is_for_campaigns=True, priority=1)


def test_a_campaign_goes_over_the_server_for_campaigns_and_other_mail_does_not() -> None:
    assert chosen(OPEN, CAMPAIGNS, is_campaign=True).rule == Rule.CAMPAIGNS
    assert chosen(OPEN, CAMPAIGNS).server_id == OPEN.id
    assert chosen(CAMPAIGNS).server_id == SHARED


def test_the_server_for_campaigns_carries_other_mail_where_there_is_nothing_else() -> None:
    assert brief(chosen(CAMPAIGNS, is_shared_set=False)) == (60, Rule.FROM_DOMAIN, ANA.addr_spec)


def test_a_campaign_goes_by_the_other_rules_where_no_server_is_for_campaigns() -> None:
    assert chosen(OPEN, BY_ADDRESS, is_campaign=True).rule == Rule.FROM_ADDRESS


# A server that was named.


@pytest.mark.parametrize(
    ("filter", "wanted", "header_from", "is_warning"),
    [
        ("", ANA, ANA.addr_spec, False),
        ("", GUEST, DEFAULT, False),
        ("guest.example", GUEST, GUEST.addr_spec, False),
        ("acme.example", GUEST, DEFAULT, False),
        ("other.example", ANA, DEFAULT, True),
    ],
)
def test_a_named_server_is_taken_whatever_fits_better(
    filter: str, wanted: Mailbox, header_from: str, is_warning: bool
) -> None:
    choice = chosen(BY_ADDRESS, by=sender(wanted), fixed=one(70, filter), personal=one(50, ANA.addr_spec))
    assert brief(choice) == (70, Rule.FIXED, header_from)
    assert choice.is_warning == is_warning


# From.


def test_a_from_that_is_changed_keeps_the_name_or_else_the_local_part() -> None:
    assert chosen(OPEN, by=sender(GUEST)).header_from == Mailbox("Gus", DEFAULT)
    assert chosen(OPEN, by=sender(Mailbox("", "gus@guest.example"))).header_from == Mailbox("gus", DEFAULT)


@pytest.mark.parametrize(
    ("own", "wanted", "why"),
    [
        (OPEN, ANA, Why.KEPT),
        (OPEN, GUEST, Why.NOT_OURS),
        (BY_DEFAULTS_DOMAIN, GUEST, Why.FILTERED),
    ],
)
def test_it_is_said_why_from_was_changed(own: Candidate, wanted: Mailbox, why: Why) -> None:
    choice = chosen(own, by=sender(wanted))
    assert (choice.why, choice.is_rewritten, choice.wanted_from) == (why, why != Why.KEPT, wanted)


def test_a_whole_default_address_overrides_every_from() -> None:
    by = sender(ANA, default="office@brand.example", is_overridden=True)
    choice = chosen(BY_ADDRESS, OPEN, one(9, "brand.example"), by=by)
    assert brief(choice) == (9, Rule.FROM_DOMAIN, "office@brand.example")
    assert (choice.header_from.display_name, choice.why) == ("Ana Pop", Why.OVERRIDDEN)
    assert brief(chosen(OPEN, by=by)) == (5, Rule.UNFILTERED, "office@brand.example")


# The return path.


@pytest.mark.parametrize(
    ("filter", "is_signed"),
    [
        ("", True),
        ("acme.example", True),
        ("bounce@acme.example, ana@acme.example", True),
        ("ana@acme.example", False),
        ("other.example", False),
    ],
)
def test_the_return_path_is_signed_only_where_the_server_accepts_it(filter: str, is_signed: bool) -> None:
    found = return_path(FromFilter.parse(filter), "bounce@acme.example", ANA)
    assert found == ("" if is_signed else ANA.addr_spec)


# Whatever is set up.

DOMAINS = st.sampled_from(["acme.example", "guest.example", "other.example"])
ADDRESSES = st.builds("{}@{}".format, st.sampled_from(["ana", "gus", "notifications", "bounce"]), DOMAINS)
FILTERS = st.builds(FromFilter, st.frozensets(ADDRESSES, max_size=2), st.frozensets(DOMAINS, max_size=2))
CANDIDATES = st.builds(
    Candidate, st.integers(1, 90), FILTERS, st.integers(0, 3), st.sampled_from("ab"), st.booleans()
)
SENDERS = st.builds(
    Sender,
    wanted=st.builds(Mailbox, st.sampled_from(["", "Ana"]), ADDRESSES),
    default=ADDRESSES,
    own_domains=st.frozensets(DOMAINS, min_size=1),
    is_overridden=st.booleans(),
)
SERVERS = st.builds(
    Servers,
    own=st.lists(CANDIDATES, max_size=4, unique_by=lambda candidate: candidate.id),
    shared=st.builds(Candidate, st.just(SHARED), FILTERS, is_shared=st.just(True)),
    is_shared_set=st.booleans(),
    personal=st.none() | st.builds(Candidate, st.just(91), FILTERS),
    fixed=st.none() | st.builds(Candidate, st.just(92), FILTERS),
)


def candidates(servers: Servers) -> dict[int, Candidate]:
    known = [*servers.own, servers.shared, servers.personal, servers.fixed]
    return {candidate.id: candidate for candidate in known if candidate}


@given(SENDERS, SERVERS, st.booleans())
def test_the_server_accepts_the_from_or_a_warning_is_set(
    by: Sender, servers: Servers, is_campaign: bool
) -> None:
    choice = choose(by, servers, is_campaign=is_campaign)
    named = candidates(servers)[choice.server_id].filter
    assert named.accepts_address(choice.header_from.addr_spec) != choice.is_warning
    assert choice.header_from.addr_spec in (by.wanted.addr_spec, by.default)


@given(SENDERS, SERVERS, st.booleans())
def test_a_warning_means_that_nothing_better_was_there(
    by: Sender, servers: Servers, is_campaign: bool
) -> None:
    choice = choose(by, servers, is_campaign=is_campaign)
    if choice.is_warning and choice.rule not in (Rule.FIXED, Rule.CAMPAIGNS):
        own = [server for server in servers.own if not server.is_for_campaigns]
        wanted = (by.effective.addr_spec, by.default)
        assert not any(server.filter.accepts_address(address) for server in own for address in wanted)


@given(SENDERS, SERVERS, st.booleans())
def test_a_from_that_is_nobodys_of_ours_leaves_only_where_a_filter_names_it(
    by: Sender, servers: Servers, is_campaign: bool
) -> None:
    choice = choose(by, servers, is_campaign=is_campaign)
    named = candidates(servers)[choice.server_id].filter
    is_ours = choice.header_from.domain in by.own_domains or choice.header_from.addr_spec == by.default
    assert is_ours or (not named.is_any and named.accepts_address(choice.header_from.addr_spec))


@given(SENDERS, SERVERS)
def test_the_personal_server_is_chosen_by_no_other_rule(by: Sender, servers: Servers) -> None:
    choice = choose(by, servers)
    assert (choice.server_id == 91) == (choice.rule == Rule.PERSONAL)


@given(FILTERS, ADDRESSES, ADDRESSES)
def test_the_return_path_is_accepted_or_is_the_from(named: FromFilter, bounce: str, from_: str) -> None:
    found = return_path(named, bounce, Mailbox("", from_))
    assert found == from_ if found else named.accepts_address(bounce)
