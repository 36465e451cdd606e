"""Something is said, and everybody it concerns is told."""

from __future__ import annotations

import email
import email.policy
import re
from email.message import EmailMessage
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from postroom import engine
from postroom.conversations import storage
from postroom.conversations.models import Alias, Contact, Follower, Message, Subtype
from postroom.conversations.models.messages import Kind
from postroom.conversations.public_links import attachment_behind
from postroom.diagnostics.models import Event
from postroom.flows.posting import Draft, OutsidersNamed, PostRefused, Upload, post, preview
from postroom.flows.recording import follow
from postroom.outgoing import letters
from postroom.outgoing.models import Email, MailServer, Rendition
from postroom.wire.compose import compile_letter
from postroom.wire.tokens import ReplyToken, recognise, split_subaddress
from postroom.workspaces import parameters, tokens
from postroom.workspaces.models import Member, Workspace
from postroom.workspaces.refusals import AcrossTheWall
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db


def draft(people: Cast, **more: Any) -> Draft:
    said = {"record": people.record, "member": people.ana, "text": "The lamps have left the house."}
    return Draft(workspace=people.workspace, **{**said, **more})


def letter(message: Message, layout: str = "outside", language: str = "en") -> EmailMessage:
    octets = bytes(Rendition.objects.get(message=message, layout=layout, language=language).octets)
    whole = octets % {b"to": b"ben@example.org", b"copy": b"mark", b"unfollow": b"token"}
    return email.message_from_bytes(whole, policy=email.policy.default)


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def emails(message: Message) -> dict[str, Email]:
    return {
        row.address.addr_spec: row for row in Email.objects.filter(message=message).select_related("address")
    }


def test_a_comment_is_mailed_to_the_followers_but_not_to_its_author(people: Cast) -> None:
    message = post(draft(people))
    rows = emails(message)
    assert set(rows) == {"ben@example.org"}
    assert (rows["ben@example.org"].contact, rows["ben@example.org"].why_told) == (people.ben, "follower")
    assert (message.tally.total_count, message.tally.outgoing_count) == (1, 1)


def test_who_prefers_it_is_told_in_postroom_and_not_mailed(people: Cast) -> None:
    message = post(draft(people, named=[people.olga_contact]))
    assert "olga@demo.example" not in emails(message)
    told = message.notifications.get()
    assert (told.member, told.kind, told.reason, told.read_at) == (people.olga, "message", "named", None)


def test_everybody_who_is_not_told_is_noted_with_the_reason(people: Cast) -> None:
    twin = Contact.objects.create(workspace=people.workspace, name="Ben's shop", address=people.ben.address)
    follow(people.record, twin)
    follow(people.record, Contact.objects.create(workspace=people.workspace, name="No box"))
    message = post(draft(people))
    noted = Event.objects.filter(kind="not_told", message=message, record=people.record)
    assert {event.contact.name: event.detail for event in noted if event.contact} == {
        "Ana Pop": {"reason": "author"},
        "Ben's shop": {"reason": "same_address"},
        "No box": {"reason": "no_address"},
    }


def test_the_preview_tells_what_posting_then_does(people: Cast) -> None:
    said = draft(
        people, named=[people.olga_contact, people.carla], already_told=frozenset({"ben@example.org"})
    )
    shown = preview(said)
    message = post(said)
    assert {told.addr_spec for told in shown.told if told.how == "email"} == set(emails(message))
    assert [told.contact for told in shown.told if told.how == "postroom"] == [people.olga_contact]
    noted = Event.objects.filter(kind="not_told", message=message)
    assert {(row.contact, row.reason) for row in shown.not_told} == {
        (e.contact, e.detail["reason"]) for e in noted
    }


def test_a_preview_stores_nothing(people: Cast) -> None:
    before = Event.objects.count()
    preview(draft(people, named=[people.carla]))
    assert (Message.objects.count(), Email.objects.count(), Event.objects.count()) == (0, 0, before)


def test_naming_an_outsider_on_a_note_asks_first(people: Cast) -> None:
    said = {"subtype_key": "note", "named": [people.carla, people.olga_contact]}
    with pytest.raises(OutsidersNamed) as asked:
        post(draft(people, **said))
    assert asked.value.contacts == [people.carla]
    assert not Message.objects.exists()
    assert set(emails(post(draft(people, **said, are_outsiders_confirmed=True)))) == {"carla@example.com"}


def test_urgent_mail_is_not_listed_at_first_and_bulk_mail_is(people: Cast) -> None:
    assert not emails(post(draft(people)))["ben@example.org"].is_listed
    assert emails(post(draft(people, stream="bulk")))["ben@example.org"].is_listed


def test_the_lane_is_woken_only_after_commit(
    people: Cast, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(engine, "wake", woken.append)
    with django_capture_on_commit_callbacks() as callbacks:
        message = post(draft(people))
    assert woken == []
    for callback in callbacks:
        callback()
    assert woken == [emails(message)["ben@example.org"].lane.server.engine_lane]


def test_each_language_and_layout_is_composed_once_and_only_if_somebody_needs_it(people: Cast) -> None:
    Contact.objects.filter(pk=people.ben.pk).update(language="es")
    Member.objects.filter(pk=people.ana.pk).update(language="ro")
    message = post(draft(people, member=people.olga, named=[people.carla]))
    made = Rendition.objects.filter(message=message).values_list("language", "layout")
    assert sorted(made) == [("en", "outside"), ("es", "outside"), ("ro", "follower")]
    assert emails(message)["ben@example.org"].rendition == Rendition.objects.get(
        message=message, language="es"
    )


def test_members_get_a_link_to_the_record_and_outsiders_do_not(people: Cast) -> None:
    message = post(draft(people, member=people.olga))
    url = f"{settings.POSTROOM_BASE_URL}/records/{people.record.pk}#message-{message.pk}"
    for kind in ("plain", "html"):
        assert url in body(letter(message, "follower"), kind)
        assert settings.POSTROOM_BASE_URL not in body(letter(message, "outside"), kind)


def test_the_author_writes_from_their_own_address_only_if_its_domain_is_the_workspaces(people: Cast) -> None:
    assert letter(post(draft(people)))["From"] == f"Ana Pop <notifications@{people.domain}>"
    people.workspace.mail_domains.create(domain="demo.example")
    assert letter(post(draft(people)))["From"] == "Ana Pop <ana@demo.example>"


def test_answers_come_back_to_the_record_by_a_signed_address(people: Cast) -> None:
    reply_to = letter(post(draft(people)))["Reply-To"]
    local_part, _, domain = reply_to.addresses[0].addr_spec.rpartition("@")
    alias, token = split_subaddress(local_part)
    assert (alias, domain) == ("catchall", str(people.domain))
    assert recognise(token or "", tokens.keys(), people.workspace.pk) == ReplyToken(people.record.pk)
    assert len(reply_to) <= 68


def test_answers_come_back_by_the_alias_of_the_record_if_it_has_one(people: Cast) -> None:
    Alias.objects.create(
        workspace=people.workspace, mail_domain=people.domain, local_part="so42", forced_record=people.record
    )
    assert letter(post(draft(people)))["Reply-To"].addresses[0].addr_spec == f"so42@{people.domain}"


def test_a_mail_names_its_ancestors_oldest_first_and_then_itself(people: Cast) -> None:
    ids = [post(draft(people)).message_id for _ in range(5)]
    message = Message.objects.get(message_id=ids[-1])
    assert letter(message)["References"].split() == ids[-4:]
    assert letter(message)["Message-ID"] == ids[-1]


def test_a_note_in_between_is_no_ancestor_for_people_outside(people: Cast) -> None:
    first, note = post(draft(people)), post(draft(people, subtype_key="note"))
    last = [post(draft(people)) for _ in range(2)][-1]
    assert note.message_id not in letter(last)["References"]
    assert first.message_id in letter(last)["References"]


def test_what_the_system_says_is_marked_as_automatic(people: Cast) -> None:
    automatic, written = letter(post(draft(people, kind=Kind.NOTIFICATION))), letter(post(draft(people)))
    assert automatic["Auto-Submitted"] == "auto-generated"
    assert automatic["X-Auto-Response-Suppress"] == "OOF, AutoReply"
    assert (written["Auto-Submitted"], written["X-Auto-Response-Suppress"]) == (None, None)
    assert (automatic["Precedence"], written["Precedence"]) == (None, None)


def test_scripts_never_reach_the_record_or_the_mail(people: Cast) -> None:
    message = post(
        draft(people, body='<p onclick="x()">Hi</p><script>alert(1)</script><a href="javascript:x">y</a>')
    )
    assert message.body == '<p>Hi</p><a rel="noopener noreferrer nofollow">y</a>'
    assert "alert" not in body(letter(message), "html")


def test_plain_text_is_shown_as_written_and_never_as_markup(people: Cast) -> None:
    message = post(draft(people, text="1 < 2 & <b>bold</b>\nnext line\n\nsecond paragraph 100 %"))
    assert message.body.startswith("<p>1 &lt; 2 &amp; &lt;b&gt;bold")
    assert "1 < 2 & <b>bold</b>\nnext line" in message.text
    assert "second paragraph 100 %" in body(letter(message), "plain")


def test_the_same_file_is_stored_once_and_goes_with_the_mail(people: Cast) -> None:
    uploads = [Upload("../../etc/offer.pdf", "application/pdf", b"%PDF-1.7 offer")]
    first, second = (post(draft(people, attachments=uploads)).attachments.get() for _ in range(2))
    assert first.storage_name == second.storage_name
    assert (first.name, storage.read(first)) == ("offer.pdf", b"%PDF-1.7 offer")
    sent = next(iter(letter(second.message).iter_attachments()))
    assert (sent.get_filename(), sent.get_content()) == ("offer.pdf", b"%PDF-1.7 offer")


def test_an_inline_image_travels_with_the_text_that_shows_it(people: Cast) -> None:
    image = Upload("lamp.png", "image/png", b"\x89PNG", content_id="lamp@here")
    message = post(draft(people, body='<p>Look: <img src="cid:lamp@here"></p>', attachments=[image]))
    parts = list(letter(message).walk())
    assert [part["Content-ID"] for part in parts if part.get_content_type() == "image/png"] == ["<lamp@here>"]
    assert "cid:lamp@here" in body(letter(message), "html")


def test_files_over_the_limit_are_refused_before_anything_is_stored(people: Cast) -> None:
    parameters.put(people.workspace.pk, "mail.attachment.limit_megabytes", "1")
    with pytest.raises(PostRefused, match="1 MB"):
        post(draft(people, attachments=[Upload("big", "", b"x" * 1_000_001)]))
    assert not Message.objects.exists()


def limited(people: Cast, max_octets: int | None) -> Any:
    """A server of the workspace that takes mails of so many megabytes."""
    return MailServer.objects.create(
        workspace=people.workspace, name="small", host="small.example", max_size_megabytes=max_octets
    )


def test_files_that_do_not_fit_become_links_and_the_others_stay(people: Cast) -> None:
    server = limited(people, 1)
    big = Upload("plan <1>.pdf", "application/pdf", b"x" * 900_000)
    small = Upload("note.txt", "text/plain", b"y" * 50_000)
    message = post(draft(people, attachments=[big, small], server=server))
    mail = letter(message)
    assert [part.get_filename() for part in mail.iter_attachments()] == ["note.txt"]
    url = re.search(r"https?://\S+/d/[\w-]+", body(mail, "plain"))
    assert url
    assert f'<a href="{url[0]}">plan &lt;1&gt;.pdf</a>' in body(mail, "html")
    kept = message.attachments.get(size=900_000)
    assert attachment_behind(url[0].rpartition("/")[2], timezone.now()) == kept


def test_a_picture_that_does_not_fit_is_fetched_by_its_link(people: Cast) -> None:
    image = Upload("lamp.png", "image/png", b"p" * 2_000_000, content_id="lamp@here")
    text = '<p>Look: <img src="cid:lamp@here"> not cid:lamp@here</p>'
    message = post(draft(people, body=text, attachments=[image], server=limited(people, 1)))
    assert list(letter(message).iter_attachments()) == []
    shown = re.search(r'<img src="(https?://[^"]+/d/[\w-]+)"', body(letter(message), "html"))
    assert shown
    assert message.body == text  # the page shows the file itself


def test_the_octets_of_a_mail_stay_below_the_limit_of_its_server(people: Cast) -> None:
    server = limited(people, 1)
    for size in (660_000, 700_000, 720_000, 740_000, 760_000, 790_000):
        upload = Upload("a.bin", "application/octet-stream", b"x" * size)
        message = post(draft(people, text="é" * 10_000, attachments=[upload], server=server))
        assert Rendition.objects.filter(message=message, size__gt=1024 * 1024).count() == 0


def test_a_follower_can_unfollow_from_the_mail_and_nobody_else(people: Cast, settings: Any) -> None:
    settings.POSTROOM_BASE_URL = "https://post.example"
    Member.objects.filter(pk=people.olga.pk).update(channel="email")
    message = post(draft(people, member=None, author=people.carla, named=[people.olga_contact]))
    follower, named, outside = (letter(message, layout) for layout in ("follower", "member", "outside"))
    assert follower["List-Unsubscribe"] == "<https://post.example/u/token>"
    assert follower["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    page = f"https://post.example/records/{people.record.pk}/unfollow"
    assert page in body(follower, "plain")
    assert page in body(follower, "html")
    for mail in (named, outside):
        assert (mail["List-Unsubscribe"], mail["List-Unsubscribe-Post"]) == (None, None)
        assert "unfollow" not in body(mail, "plain") + body(mail, "html")


def test_one_click_is_promised_over_https_alone(people: Cast, settings: Any) -> None:
    settings.POSTROOM_BASE_URL = "http://127.0.0.1:8000"
    mail = letter(post(draft(people, member=people.olga)), "follower")
    assert (mail["List-Unsubscribe"], mail["List-Unsubscribe-Post"]) == (
        "<http://127.0.0.1:8000/u/token>",
        None,
    )


def test_what_differs_between_the_copies_of_a_follower_is_in_the_header(people: Cast) -> None:
    message = post(draft(people, member=people.olga))
    octets = bytes(Rendition.objects.get(message=message, layout="follower").octets)
    assert b"%(" not in octets.partition(b"\r\n\r\n")[2].replace(b"%%", b"")


def test_a_picture_written_into_the_text_travels_as_a_file(people: Cast) -> None:
    message = post(draft(people, body='<p><img src="data:image/png;base64,iVBORw=="></p>'))
    [picture] = message.attachments.all()
    parts = [part for part in letter(message).walk() if part.get_content_type() == "image/png"]
    assert [(part["Content-ID"], part.get_content()) for part in parts] == [
        (f"<{picture.content_id}>", b"\x89PNG"[:4])
    ]


def test_a_link_to_a_page_of_ours_is_whole_in_the_mail(people: Cast) -> None:
    message = post(draft(people, body='<p><a href="/records/7">the other one</a></p>'))
    for kind in ("plain", "html"):
        assert f"{settings.POSTROOM_BASE_URL}/records/7" in body(letter(message), kind)


def test_words_of_the_layout_are_in_the_readers_language(people: Cast) -> None:
    Contact.objects.filter(pk=people.ben.pk).update(language="ro")
    Member.objects.filter(pk=people.ana.pk).update(language="es")
    message = post(draft(people, member=people.olga))
    assert "Ver SO042 Desk lamps" in body(letter(message, "follower", "es"), "plain")
    assert 'lang="ro"' in body(letter(message, "outside", "ro"), "html")


@pytest.mark.parametrize("long", [f"<{'a' * 950}@shop.example>", "<ștefan@shop.example>"])
def test_a_mail_is_posted_on_even_if_its_message_id_fits_no_header(people: Cast, long: str) -> None:
    message = post(draft(people, member=None, author=people.carla, kind=Kind.EMAIL, message_id=long))
    assert letter(message)["Message-ID"] == message.message_id != long
    assert [alias.alias for alias in message.id_aliases.all()] == [long]


def test_a_mail_is_compiled_once_for_each_language_and_layout(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(people.workspace, people, 1000)
    Contact.objects.filter(name__endswith="9@example.net").update(language="es")
    compiled: list[str] = []

    def counting(letter: Any, *fields: Any) -> Any:
        compiled.append(letter.html)
        return compile_letter(letter, *fields)

    monkeypatch.setattr(letters, "compile_letter", counting)
    message = post(draft(people, member=people.olga))
    assert message.tally.total_count == 1002
    assert len(compiled) == len(set(compiled)) == 3  # English and Spanish outside, Ana's


def test_nothing_is_not_posted(people: Cast) -> None:
    with pytest.raises(PostRefused, match="nothing in it"):
        post(draft(people, text=" \n"))


def test_who_writes_follows_from_then_on(people: Cast) -> None:
    post(draft(people, member=people.olga))
    post(draft(people, member=None, author=people.carla, kind=Kind.EMAIL, message_id="<1@example.com>"))
    names = Follower.objects.filter(record=people.record).values_list("contact__name", flat=True)
    assert {"Olga Ionescu", "Carla Stan"} <= set(names)
    carla = Follower.objects.get(record=people.record, contact=people.carla)
    assert [subtype.key for subtype in carla.subtypes.all()] == ["discussions"]


def test_a_note_makes_nobody_a_follower(people: Cast) -> None:
    post(draft(people, member=people.olga, subtype_key="note"))
    assert not Follower.objects.filter(record=people.record, contact=people.olga_contact).exists()


def test_a_quiet_message_is_stored_and_tells_nobody(people: Cast) -> None:
    message = post(draft(people, author=people.carla, member=None, kind=Kind.EMAIL, is_quiet=True))
    assert (message.tally.total_count, message.notifications.count()) == (0, 0)
    assert not Follower.objects.filter(contact=people.carla).exists()


def test_a_message_on_no_record_reaches_the_named(people: Cast) -> None:
    message = post(draft(people, record=None, named=[people.carla], subject="Hello"))
    assert set(emails(message)) == {"carla@example.com"}
    assert letter(message)["Reply-To"] is None


def test_nothing_crosses_the_wall(people: Cast) -> None:
    other = cast("neighbour")
    for stranger in (
        {"record": other.record},
        {"named": [other.carla]},
        {"author": other.ben},
        {"member": other.ana},
    ):
        with pytest.raises(AcrossTheWall):
            post(draft(people, **stranger))
    assert not Message.objects.exists()


def test_a_subject_cannot_smuggle_a_header_or_a_placeholder(people: Cast) -> None:
    message = post(draft(people, subject="Offer\r\nBcc: eve@example.com\x02to\x03 %(copy)b"))
    assert letter(message)["Bcc"] is None
    assert letter(message)["Subject"] == "Offer Bcc: eve@example.comto %(copy)b"


def test_the_subject_is_the_records_title_if_none_is_given(people: Cast) -> None:
    assert letter(post(draft(people)))["Subject"] == "SO042 Desk lamps"


def test_a_thousand_followers_take_as_many_queries_as_one(
    people: Cast, django_assert_num_queries: Any
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    post(draft(people))  # makes the lane
    with CaptureQueriesContext(connection) as few:
        post(draft(people))
    crowd(people.workspace, people, 1000)
    with CaptureQueriesContext(connection) as many:
        message = post(draft(people))
    assert message.tally.total_count == 1001
    assert len(many) == len(few)


def crowd(workspace: Workspace, people: Cast, count: int) -> None:
    from postroom.conversations.models import Address

    addresses = Address.objects.bulk_create(
        Address(workspace=workspace, addr_spec=f"follower{number}@example.net") for number in range(count)
    )
    contacts = Contact.objects.bulk_create(
        Contact(workspace=workspace, name=str(address), address=address) for address in addresses
    )
    followers = Follower.objects.bulk_create(
        Follower(workspace=workspace, record=people.record, contact=contact) for contact in contacts
    )
    subtype = Subtype.objects.get(workspace=workspace, key="discussions")
    Follower.subtypes.through.objects.bulk_create(
        Follower.subtypes.through(follower=follower, subtype=subtype) for follower in followers
    )
