"""What is posted takes the way that the rules choose; what is sent again takes that of today."""

from __future__ import annotations

import email
import email.policy
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from postroom.conversations.models import Message
from postroom.diagnostics.models import Event
from postroom.diagnostics.trail import trail
from postroom.flows import retrying
from postroom.flows.posting import Draft, PostRefused, post, submit
from postroom.outgoing.models import Email, MailServer, Rendition
from postroom.outgoing.relays import lane_of, shared_server
from postroom.workspaces.models import MailDomain
from postroom.workspaces.refusals import AcrossTheWall, RequestRefused
from tests.flows.test_vacuuming import vacuum
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db
DEFAULT = "notifications@demo.postroom.localhost"


@pytest.fixture(autouse=True)
def relay(settings: Any) -> None:
    settings.POSTROOM_RELAY_URL = "smtp://relay.example"


def server(people: Cast, filter: str = "", name: str = "Acme", **fields: Any) -> MailServer:
    known = {"host": "smtp.acme.example", "from_filter": filter, **fields}
    return MailServer.objects.create(workspace=people.workspace, name=name, **known)


def say(people: Cast, **more: Any) -> Message:
    known = {"record": people.record, "member": people.ana, "text": "The lamps have left the house.", **more}
    return post(Draft(workspace=people.workspace, **known))


def hand_over(people: Cast, header_from: str, **more: Any) -> Message:
    raw = f"From: {header_from}\r\nSubject: Lamps\r\n\r\nHello\r\n".encode()
    known = {"reverse_path": "", "forward_paths": ["ben@example.org"], "member": people.ana, **more}
    return submit(people.workspace, raw, **known)


def written(message: Message) -> tuple[str, str, str, str]:
    """The server, and from the rendition: From as a column, From in the octets, the reverse-path."""
    sent = Email.objects.select_related("lane__server", "rendition").get(message=message)
    assert sent.rendition is not None
    octets = bytes(sent.rendition.octets) % {b"to": b"x@example.org", b"copy": b"m", b"unfollow": b""}
    header = email.message_from_bytes(octets, policy=email.policy.default)["From"].addresses[0].addr_spec
    return sent.lane.server.name, sent.rendition.from_addr_spec, header, sent.rendition.reverse_path


def failed(message: Message) -> list[int]:
    """Its Emails, after they were cancelled."""
    ids = list(Email.objects.filter(message=message).values_list("pk", flat=True))
    members = message.workspace.members.filter(role="operator")
    assert retrying.cancel(ids, members.get()) == len(ids)
    return ids


# Posting.


def test_a_message_goes_over_the_server_that_names_its_from(people: Cast) -> None:
    server(people, "other.example", "Other", priority=1)
    server(people, "ana@demo.example")
    assert written(say(people)) == ("Acme", "ana@demo.example", "ana@demo.example", "ana@demo.example")


def test_a_message_whose_from_no_server_names_is_rewritten_in_its_octets(people: Cast) -> None:
    assert written(say(people)) == ("relay", DEFAULT, DEFAULT, "")


def test_a_draft_may_name_its_server(people: Cast) -> None:
    server(people, "demo.example")
    other = server(people, name="Named")
    message = say(people, server=other)
    assert written(message)[0] == "Named"
    assert Event.objects.get(message=message, kind="route.chosen").detail["rule"] == "fixed"


def test_a_draft_that_names_an_archived_server_is_refused_and_nothing_is_stored(people: Cast) -> None:
    archived = server(people, is_active=False)
    with pytest.raises(PostRefused, match="bring it back"):
        say(people, server=archived)
    theirs = server(cast("next"))
    with pytest.raises(AcrossTheWall):
        say(people, server=theirs)
    assert not Message.objects.exists()


def test_what_another_member_says_in_her_name_does_not_go_over_her_personal_server(people: Cast) -> None:
    server(people, owner=people.ana)
    assert written(say(people))[0] == "Acme"
    assert written(say(people, author=people.ana_contact, member=people.olga))[0] == "relay"


def test_the_decision_is_noted_once_per_message_that_mails_somebody(people: Cast) -> None:
    message = say(people)
    noted = Event.objects.get(message=message, kind="route.chosen")
    assert noted.detail == {
        "server": "relay",
        "rule": "shared",
        "wanted_from": "ana@demo.example",
        "from": DEFAULT,
        "why": "not_ours",
        "return_path": "signed",
        "return_domain": "demo.postroom.localhost",
        "is_warning": False,
    }
    nobody = say(people, record=None, named=[people.olga_contact])
    assert not Event.objects.filter(message=nobody, kind="route.chosen").exists()


# Submissions.


def test_a_submitted_mail_goes_by_the_same_rules(people: Cast) -> None:
    server(people, "shop.example")
    kept = hand_over(people, "Shop <orders@shop.example>")
    assert written(kept) == ("Acme", *["orders@shop.example"] * 3)
    changed = hand_over(people, "Shop <orders@elsewhere.example>")
    assert written(changed) == ("relay", DEFAULT, DEFAULT, "")
    octets = bytes(Rendition.objects.get(message=changed).octets)
    assert b"Reply-To: Shop <orders@elsewhere.example>" in octets


def test_a_program_uses_nobody_elses_personal_server(people: Cast) -> None:
    server(people, owner=people.ana)
    assert written(hand_over(people, "ana@demo.example"))[0] == "Acme"
    assert written(hand_over(people, "ana@demo.example", member=people.olga))[0] == "relay"


# The trail.


@pytest.mark.parametrize(
    ("filter", "sentences"),
    [
        (
            None,
            [
                "Goes out over the server relay",
                "No server of this workspace fits",
                "for forged",
                DEFAULT,
            ],
        ),
        (
            "ana@demo.example",
            ["server Acme", "names ana@demo.example", "as wanted", "bounces go to that mailbox"],
        ),
        (
            "demo.postroom.localhost",
            ["the domain of the default From", "does not name the author's", "come back"],
        ),
        ("", ["the first server without one", "signed address at demo.postroom.localhost"]),
    ],
)
def test_the_trail_says_why_this_server_and_this_from(
    people: Cast, filter: str | None, sentences: list[str]
) -> None:
    if filter is not None:
        server(people, filter)
    told = trail(say(people), people.ben)
    words = " ".join(f"{step.what} {step.detail}" for step in told.steps)
    assert [
        sentence for sentence in sentences if sentence.replace("taken", "take the mail") not in words
    ] == []


def test_the_trail_warns_of_a_server_that_may_refuse_the_from(people: Cast, settings: Any) -> None:
    settings.POSTROOM_RELAY_URL = ""
    server(people, "other.example")
    told = trail(say(people), people.ben)
    assert any("Careful: the server's FROM Filtering does not name this From" in s.detail for s in told.steps)


# Sending again.


def test_a_retry_leaves_over_a_server_that_was_added_since(people: Cast) -> None:
    MailDomain.objects.create(workspace=people.workspace, domain="demo.example")
    message = say(people)
    assert written(message)[0] == "relay"
    ids = failed(message)
    server(people, "demo.example")
    assert retrying.retry(ids, people.olga) == 1
    assert written(message) == ("Acme", "ana@demo.example", "ana@demo.example", "")


def test_a_retry_stays_where_another_from_would_result(people: Cast) -> None:
    message = say(people)
    ids = failed(message)
    server(people, "ana@demo.example")
    assert retrying.retry(ids, people.olga) == 1
    assert written(message) == ("relay", DEFAULT, DEFAULT, "")


def test_a_retry_stays_where_another_return_path_would_result(people: Cast) -> None:
    MailDomain.objects.create(workspace=people.workspace, domain="demo.example")
    message = say(people)
    ids = failed(message)
    server(people, "ana@demo.example")
    retrying.retry(ids, people.olga)
    assert written(message)[0] == "relay"


def test_a_message_whose_server_was_named_stays_with_it(people: Cast) -> None:
    server(people, f"demo.postroom.localhost, {DEFAULT}")
    message = say(people, server=shared_server())
    ids = failed(message)
    retrying.retry(ids, people.olga)
    assert written(message)[0] == "relay"


def test_what_is_stranded_at_an_archived_server_is_refused_with_the_remedy(people: Cast) -> None:
    mine = server(people, "ana@demo.example")
    stranded, well = failed(say(people)), failed(hand_over(people, "x@elsewhere.example"))
    MailServer.objects.filter(pk=mine.pk).update(is_active=False)
    with pytest.raises(RequestRefused, match=r"Acme, which is archived.*Bring that server back"):
        retrying.retry([*well, *stranded], people.olga)
    assert not Email.objects.exclude(state="cancelled").exists()
    failing = Email.objects.get(pk=stranded[0])
    Email.objects.filter(pk=failing.pk).update(state="failed")
    with pytest.raises(RequestRefused, match="which is archived"):
        retrying.send_and_close(failing.message, people.olga, again={failing.pk: ""})
    assert Email.objects.get(pk=failing.pk).state == "failed"


def test_one_stranded_email_does_not_keep_the_others_of_a_bulk_retry(people: Cast) -> None:
    mine = server(people, "ana@demo.example")
    stranded, well = failed(say(people)), failed(hand_over(people, "x@elsewhere.example"))
    MailServer.objects.filter(pk=mine.pk).update(is_active=False)
    done = retrying.retry_what_can([*stranded, *well], people.olga)
    assert done.count == len(well) == Email.objects.filter(state="outgoing").count()
    assert list(done.left) == stranded
    assert "Acme, which is archived" in done.left[stranded[0]]


def test_what_an_equal_server_can_send_leaves_an_archived_one(people: Cast) -> None:
    old = server(people, "demo.postroom.localhost")
    message = say(people)
    ids = failed(message)
    MailServer.objects.filter(pk=old.pk).update(is_active=False)
    server(people, "demo.postroom.localhost", "New")
    assert retrying.retry(ids, people.olga) == 1
    assert written(message)[0] == "New"


def test_what_any_other_server_can_send_as_it_is_leaves_an_archived_one(people: Cast) -> None:
    MailDomain.objects.create(workspace=people.workspace, domain="demo.example")
    old = server(people, "ana@demo.example")
    message = say(people)
    assert written(message) == ("Acme", *["ana@demo.example"] * 3)
    ids = failed(message)
    MailServer.objects.filter(pk=old.pk).update(is_active=False)
    server(people, "ben@demo.example, demo.postroom.localhost", "Other")
    assert retrying.retry_what_can(ids, people.olga).count == 1
    assert written(message) == ("relay", *["ana@demo.example"] * 3)


def test_another_server_that_would_change_the_from_is_none_for_what_is_stranded(people: Cast) -> None:
    old = server(people, "ana@demo.example")
    ids = failed(say(people))
    MailServer.objects.filter(pk=old.pk).update(is_active=False)
    server(people, "demo.postroom.localhost", "Other")
    assert list(retrying.retry_what_can(ids, people.olga).left) == ids


def test_a_message_that_was_written_before_there_were_routes_stays(people: Cast) -> None:
    message = say(people)
    Rendition.objects.filter(message=message).update(from_addr_spec="")
    ids = failed(message)
    server(people)
    retrying.retry(ids, people.olga)
    assert written(message)[0] == "relay"


def test_every_workspace_and_server_has_lanes_of_its_own(people: Cast) -> None:
    own = server(people)
    lanes = {
        lane_of(people.workspace, stream, row).pk for stream in ("urgent", "bulk") for row in (None, own)
    }
    assert len(lanes) == 4
    assert lane_of(people.workspace, "bulk").server == shared_server()


def test_the_server_that_was_named_is_not_forgotten_by_auto_vacuum(people: Cast) -> None:
    server(people, "demo.example", priority=1)
    other = server(people, "demo.example", name="Named", priority=9)
    message = say(people, server=other)
    ids = failed(message)
    Event.objects.update(at=timezone.now() - timedelta(days=400))
    vacuum(people.workspace)
    assert retrying.retry(ids, people.ana) == 1
    assert written(message)[0] == "Named"
