from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.incoming import replies
from postroom.incoming.places import (
    AliasFacts,
    DomainFacts,
    Meaning,
    Place,
    is_accepted,
    place,
    reply_to_recipient,
)
from postroom.incoming.routing import (
    MOST_OPENINGS,
    Incoming,
    IsBounce,
    IsReply,
    OpensRecord,
    Refused,
    Thread,
    route,
)
from postroom.wire.reply import Reply
from postroom.wire.tokens import ReplyToken, ReturnPathToken

SALES = AliasFacts(1, "sales@demo.example", "crm.lead", "everyone")
SUPPORT = AliasFacts(2, "support@demo.example", "help.ticket", "everyone")
INVOICES = AliasFacts(
    3, "invoices@demo.example", "bill", "partners", bounced_text="Write to\nșef@demo.example"
)
NOTICES = AliasFacts(4, "admin@demo.example", "postroom.workspace", "everyone", record_id=9)
TEAM = AliasFacts(5, "team@demo.example", "crm.lead", "members")
ORDER = AliasFacts(6, "so042@demo.example", "sale.order", "followers", record_id=42)
THREAD = Thread(message_id=7, record_id=42, model="sale.order")


class Book:
    """One domain of workspace 1 and one of workspace 2."""

    def domain(self, name: str) -> DomainFacts | None:
        number = {"demo.example": 1, "other.example": 2}.get(name)
        return DomainFacts(number, name, "bounce", "catchall", "notifications") if number else None

    def first_domain(self) -> str:
        return "demo.example"

    def alias(self, domain: DomainFacts, local_part: str) -> AliasFacts | None:
        named = {"sales": SALES, "support": SUPPORT, "a+b": TEAM}
        return named.get(local_part) if domain.workspace_id == 1 else None

    def token(self, domain: DomainFacts, text: str) -> ReturnPathToken | ReplyToken | None:
        known: dict[str, ReturnPathToken | ReplyToken] = {"r42": ReplyToken(42), "b7": ReturnPathToken(7, 1)}
        return known.get(text) if domain.workspace_id == 1 else None

    def has_sent_from(self, domain: DomainFacts, addr_spec: str) -> bool:
        return addr_spec == "ana@demo.example"


@dataclasses.dataclass
class Cabinet:
    """What a workspace knows, in memory."""

    known: Sequence[str] = ("ben@example.org",)
    members: Sequence[str] = ("ana@demo.example",)
    followers: Sequence[str] = ("ben@example.org",)
    openings: int = 0
    is_revoked: bool = False

    def thread_of(self, references: Sequence[str]) -> Thread | None:
        return THREAD if "<ours@demo.example>" in references else None

    def is_own_mail(self, message_id: str, copy_mark: str) -> bool:
        return message_id == "<ours@demo.example>"

    def thread_of_record(self, record_id: int) -> Thread | None:
        return None if self.is_revoked else Thread(None, record_id, "sale.order")

    def own_record_id(self) -> int:
        return 9

    def is_known(self, addr_spec: str) -> bool:
        return addr_spec in self.known

    def is_member(self, addr_spec: str) -> bool:
        return addr_spec in self.members

    def is_following(self, addr_spec: str, record_id: int) -> bool:
        return addr_spec in self.followers

    def opening_count(self, author: str) -> int:
        return self.openings


def at(*aliases: AliasFacts) -> list[Place]:
    return [Place(1, alias.addr_spec, Meaning.ALIAS, alias=alias) for alias in aliases]


def somewhere(meaning: Meaning, token: ReplyToken | ReturnPathToken | None = None) -> Place:
    return Place(1, f"{meaning}@demo.example", meaning, token=token)


def mail(*places: Place, **fields: object) -> Incoming:
    known = {"sender": "ben@example.org", "reverse_path": "ben@example.org", "places": places, **fields}
    return Incoming(**known)  # type: ignore[arg-type]


ANSWERS: dict[str, object] = {"references": ["<ours@demo.example>"]}


# At RCPT.


@pytest.mark.parametrize(
    ("forward_path", "meaning"),
    [
        ("sales@demo.example", Meaning.ALIAS),
        ("SALES@Demo.Example", Meaning.ALIAS),
        ("sales+spring@demo.example", Meaning.ALIAS),
        ("a+b@demo.example", Meaning.ALIAS),
        ("catchall@demo.example", Meaning.CATCHALL),
        ("bounce@demo.example", Meaning.BOUNCE),
        ("bounce+b7@demo.example", Meaning.RETURN_PATH),
        ("bounce+b8@demo.example", Meaning.UNSIGNED_RETURN_PATH),
        ("catchall+r42@demo.example", Meaning.REPLY),
        ("catchall+forged@demo.example", Meaning.CATCHALL),
        ("notifications@demo.example", Meaning.SENDER),
        ("ana@demo.example", Meaning.SENT_FROM),
        ("postmaster@demo.example", Meaning.ROLE),
        ("Postmaster", Meaning.ROLE),
        ("abuse@demo.example", Meaning.ROLE),
        ("nobody@demo.example", Meaning.UNKNOWN),
        ("sales@other.example", Meaning.UNKNOWN),
        ("catchall+r42@other.example", Meaning.CATCHALL),
    ],
)
def test_an_address_of_ours_has_a_meaning(forward_path: str, meaning: Meaning) -> None:
    found = place(forward_path, Book())
    assert isinstance(found, Place)
    assert found.meaning is meaning


def test_a_foreign_domain_is_refused_as_relaying() -> None:
    found = place("ben@example.org", Book())
    assert found == replies.NOT_OURS
    assert str(replies.NOT_OURS).startswith("550 5.7.1")


@pytest.mark.parametrize("forward_path", ["", "ana", "a@b@demo.example", "a b@demo.example", "@demo.example"])
def test_what_is_no_address_is_refused(forward_path: str) -> None:
    assert isinstance(place(forward_path, Book()), Reply)


def test_a_relay_disguised_in_the_local_part_is_only_an_unknown_address() -> None:
    found = place("ben%example.org@demo.example", Book())
    assert isinstance(found, Place)
    assert found.is_provisional


@given(st.text(max_size=80) | st.emails())
def test_any_forward_path_has_an_answer(forward_path: str) -> None:
    found = place(forward_path, Book())
    assert isinstance(reply_to_recipient(found, [], is_missing_often=False), Reply)


def test_a_provisional_recipient_travels_alone() -> None:
    unknown, known = somewhere(Meaning.UNKNOWN), at(SALES)[0]
    assert is_accepted(reply_to_recipient(unknown, [], is_missing_often=False))
    assert reply_to_recipient(known, [unknown], is_missing_often=False) == replies.ALONE
    assert reply_to_recipient(unknown, [known], is_missing_often=False) == replies.ALONE
    assert reply_to_recipient(unknown, [unknown], is_missing_often=False) == replies.ALONE
    assert reply_to_recipient(known, [known], is_missing_often=False) == replies.KNOWN


def test_recipients_of_two_workspaces_come_in_two_transactions() -> None:
    other = Place(2, "sales@other.example", Meaning.CATCHALL)
    assert reply_to_recipient(other, at(SALES), is_missing_often=False) == replies.ALONE


def test_a_network_that_guesses_addresses_is_refused_at_once_but_may_still_write_to_real_ones() -> None:
    assert reply_to_recipient(somewhere(Meaning.UNKNOWN), [], is_missing_often=True).code == 550
    assert reply_to_recipient(at(SALES)[0], [], is_missing_often=True).code == 250


# At DATA.


def test_a_mail_to_an_alias_opens_a_record() -> None:
    assert route(mail(*at(SALES)), Cabinet()) == [OpensRecord(1, None, SALES.addr_spec)]


def test_each_alias_of_one_mail_takes_it_once() -> None:
    verdicts = route(mail(*at(SALES, SUPPORT, SALES)), Cabinet())
    assert [verdict.alias_id for verdict in verdicts if isinstance(verdict, OpensRecord)] == [1, 2]


def test_an_alias_that_leads_to_a_record_leads_there() -> None:
    assert route(mail(*at(NOTICES)), Cabinet()) == [OpensRecord(4, 9, NOTICES.addr_spec)]


def test_a_reply_is_recognised_by_its_address_even_without_references() -> None:
    [verdict] = route(mail(somewhere(Meaning.REPLY, ReplyToken(42))), Cabinet())
    assert verdict == IsReply(42, None, "reply@demo.example")


def test_a_reply_knows_whether_references_alone_led_there() -> None:
    orders = AliasFacts(7, "orders@demo.example", "sale.order", "everyone")
    by_references = [[somewhere(Meaning.UNKNOWN)], at(orders), at(SUPPORT)]
    by_address = [[somewhere(Meaning.REPLY, ReplyToken(42))], at(ORDER), at(orders, ORDER)]
    for places, expected in [*((p, True) for p in by_references), *((p, False) for p in by_address)]:
        [verdict] = route(mail(*places, **ANSWERS), Cabinet())
        assert isinstance(verdict, IsReply)
        assert verdict.is_by_references is expected


def test_a_reply_by_address_keeps_the_message_it_answers() -> None:
    [verdict] = route(mail(somewhere(Meaning.REPLY, ReplyToken(42)), **ANSWERS), Cabinet())
    assert isinstance(verdict, IsReply)
    assert verdict.parent_id == 7


def test_references_to_another_record_do_not_become_the_parent() -> None:
    [verdict] = route(mail(somewhere(Meaning.REPLY, ReplyToken(43)), **ANSWERS), Cabinet())
    assert verdict == IsReply(43, None, "reply@demo.example")


def test_a_revoked_reply_address_only_works_through_references() -> None:
    address = somewhere(Meaning.REPLY, ReplyToken(42))
    [refused] = route(mail(address), Cabinet(is_revoked=True))
    assert isinstance(refused, Refused)
    assert refused.reason == "only_replies"
    [verdict] = route(mail(address, **ANSWERS), Cabinet(is_revoked=True))
    assert isinstance(verdict, IsReply)


@pytest.mark.parametrize(
    "meaning", [Meaning.UNKNOWN, Meaning.CATCHALL, Meaning.SENT_FROM, Meaning.RETURN_PATH]
)
def test_a_reply_is_recognised_by_its_references_wherever_it_is_sent(meaning: Meaning) -> None:
    [verdict] = route(mail(somewhere(meaning), **ANSWERS), Cabinet())
    assert isinstance(verdict, IsReply)
    assert (verdict.record_id, verdict.parent_id) == (42, 7)


def test_a_thread_sent_to_an_alias_of_another_model_is_a_forward() -> None:
    forward = mail(*at(SUPPORT), to=frozenset({SUPPORT.addr_spec}), **ANSWERS)
    assert route(forward, Cabinet()) == [OpensRecord(2, None, SUPPORT.addr_spec)]


def test_an_alias_in_copy_does_not_make_it_a_forward() -> None:
    [verdict] = route(mail(*at(SUPPORT), to=frozenset({"ana@demo.example"}), **ANSWERS), Cabinet())
    assert isinstance(verdict, IsReply)


def test_a_reply_over_an_alias_of_the_same_model_obeys_its_policy() -> None:
    [verdict] = route(mail(*at(ORDER), **ANSWERS), Cabinet())
    assert verdict == IsReply(42, 7, ORDER.addr_spec, 6)
    [refused] = route(mail(*at(ORDER), **ANSWERS), Cabinet(followers=()))
    assert isinstance(refused, Refused)


def test_policies_let_in_whom_they_name() -> None:
    assert isinstance(route(mail(*at(INVOICES)), Cabinet())[0], OpensRecord)
    assert isinstance(route(mail(*at(TEAM), sender="ana@demo.example"), Cabinet())[0], OpensRecord)
    [refused] = route(mail(*at(TEAM)), Cabinet())
    assert isinstance(refused, Refused)
    assert str(refused.reply) == "550 5.7.1 Only members may write to this address"


def test_a_refusal_by_policy_uses_the_words_of_the_alias() -> None:
    [refused] = route(mail(*at(INVOICES), sender="carla@example.com"), Cabinet())
    assert isinstance(refused, Refused)
    assert refused.reply.octets() == b"550 5.7.1 Write to sef@demo.example\r\n"


def test_a_policy_of_followers_without_a_record_lets_nobody_open_one() -> None:
    closed = dataclasses.replace(SALES, policy="followers")
    assert isinstance(route(mail(*at(closed)), Cabinet())[0], Refused)


def test_postmaster_reaches_the_workspace() -> None:
    assert route(mail(somewhere(Meaning.ROLE)), Cabinet()) == [OpensRecord(None, 9, "role@demo.example")]


def test_the_catchall_alone_says_that_it_collects_replies() -> None:
    [refused] = route(mail(somewhere(Meaning.CATCHALL)), Cabinet())
    assert isinstance(refused, Refused)
    assert refused.reply == replies.ONLY_REPLIES


def test_an_unknown_address_that_answers_nothing_is_refused() -> None:
    [refused] = route(mail(somewhere(Meaning.UNKNOWN)), Cabinet())
    assert isinstance(refused, Refused)
    assert (refused.reply.code, refused.reason) == (550, "unknown_recipient")


def test_automatic_mail_opens_nothing_unless_the_alias_says_so() -> None:
    [refused] = route(mail(*at(SALES), why_automatic="auto-submitted"), Cabinet())
    assert isinstance(refused, Refused)
    open_one = dataclasses.replace(SALES, accepts_automatic=True)
    assert isinstance(route(mail(*at(open_one), why_automatic="auto-submitted"), Cabinet())[0], OpensRecord)


def test_automatic_mail_may_continue_a_conversation() -> None:
    [verdict] = route(mail(somewhere(Meaning.CATCHALL), why_automatic="auto-submitted", **ANSWERS), Cabinet())
    assert isinstance(verdict, IsReply)


def test_a_sender_who_opens_too_much_is_told_to_come_back_later() -> None:
    assert isinstance(route(mail(*at(SALES)), Cabinet(openings=MOST_OPENINGS - 1))[0], OpensRecord)
    [refused] = route(mail(*at(SALES)), Cabinet(openings=MOST_OPENINGS))
    assert isinstance(refused, Refused)
    assert refused.reply.code == 451


def test_a_mail_that_goes_in_circles_is_stopped() -> None:
    [refused] = route(mail(*at(SALES), hop_count=50, is_report=True), Cabinet())
    assert isinstance(refused, Refused)
    assert refused.reason == "too_many_hops"


def test_a_delivery_report_is_a_bounce_wherever_it_arrives() -> None:
    assert route(mail(*at(SALES), is_report=True), Cabinet()) == [IsBounce(None, SALES.addr_spec)]
    signed = somewhere(Meaning.RETURN_PATH, ReturnPathToken(7, 1))
    assert route(mail(signed, is_report=True), Cabinet()) == [
        IsBounce(ReturnPathToken(7, 1), signed.addr_spec)
    ]


def test_an_old_fashioned_bounce_to_a_signed_return_path_is_a_bounce() -> None:
    signed = somewhere(Meaning.RETURN_PATH, ReturnPathToken(7, 1))
    [verdict] = route(mail(signed, reverse_path="", sender="mailer-daemon@example.org"), Cabinet())
    assert isinstance(verdict, IsBounce)


def test_a_vacation_note_to_a_signed_return_path_is_no_bounce() -> None:
    signed = somewhere(Meaning.RETURN_PATH, ReturnPathToken(7, 1))
    note = mail(signed, reverse_path="", is_robot_answer=True, why_automatic="list", **ANSWERS)
    assert isinstance(route(note, Cabinet())[0], IsReply)


def test_a_person_who_writes_to_a_return_path_is_no_bounce() -> None:
    signed = somewhere(Meaning.RETURN_PATH, ReturnPathToken(7, 1))
    [refused] = route(mail(signed), Cabinet())
    assert isinstance(refused, Refused)
    assert refused.reason == "only_reports"
