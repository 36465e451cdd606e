"""What the short commands do."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.db.models.functions import Now

from postroom.conversations.models import Message, Record
from postroom.conversations.models.records import Stream
from postroom.incoming.models import ReceivedEmail, ReceivedState
from postroom.outgoing.models import Email, Lane, State
from postroom.schedule.models import ScheduledAction
from postroom.workspaces.models import ApiKey, Installation, Member, SystemParameter, Workspace
from tests.commands.conftest import Postroom
from tests.commands.test_shapes import fits
from tests.outgoing.queued import queue
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db
POST = ("message", "post", "--record", "sale.order/SO042")
FROM_ANA = ("--as", "ana@demo.example")


def test_a_workspace_is_made_and_its_password_shown_once(postroom: Postroom, db: None) -> None:
    made = postroom(
        "workspace", "create", "--name", "Casa Verde S.A.", "--admin", "mia@casa.example", "--json"
    ).json
    assert made["slug"] == "casa-verde-s-a"
    assert Member.objects.get().user.check_password(made["password"])


def test_a_password_from_a_file_is_not_shown(postroom: Postroom, db: None, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse battery\n")
    create = (
        "workspace",
        "create",
        "--name",
        "Casa",
        "--admin",
        "mia@casa.example",
        "--password-file",
        str(file),
    )
    made = postroom(*create)
    assert made.exit_code == 0
    assert "correct horse" not in made.out
    assert Member.objects.get().user.check_password("correct horse battery")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--name", "X", "--admin", "not an address"), 2, "address"),
        (("--name", "X", "--admin", "a@b.example", "--slug", "demo"), 1, "demo"),
        (("--name", "X", "--admin", "a@b.example", "--language", "fr"), 2, "en, ro or es"),
        (("--name", "X", "--admin", "a@b.example", "--password-file", "/nowhere"), 1, "/nowhere"),
    ],
)
def test_a_workspace_that_cannot_be_made_says_why(
    postroom: Postroom, people: Cast, arguments: tuple[str, ...], code: int, words: str
) -> None:
    ran = postroom("workspace", "create", *arguments)
    assert (ran.exit_code, ran.out) == (code, "")
    assert words in ran.err
    assert Workspace.objects.count() == 1


def test_a_workspace_gets_another_name_and_another_clock(postroom: Postroom, people: Cast) -> None:
    ran = postroom("workspace", "set", "--name", "Lamps", "--time-zone", "europe/bucharest")
    assert ran.out == "demo is called Lamps and lives by the clock of Europe/Bucharest.\n"
    shown = postroom("workspace", "set", "--time-zone", "UTC", "--json")
    assert fits(shown, "workspace set")
    assert (shown.json["name"], shown.json["time_zone"]) == ("Lamps", "UTC")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "--name or --time-zone"),
        (("--name", "Lamps", "--time-zone", "Bucharest"), 1, "Europe/Bucharest"),
        (("--name", "x" * 121), 1, "at most 120"),
        (("--name", "Lamps", "--workspace", "none"), 2, "demo"),
    ],
)
def test_a_workspace_that_cannot_be_set_so_says_why_and_stays(
    postroom: Postroom, people: Cast, arguments: tuple[str, ...], code: int, words: str
) -> None:
    ran = postroom("workspace", "set", *arguments)
    assert (ran.exit_code, ran.out) == (code, "")
    assert words in ran.err
    workspace = Workspace.objects.get()
    assert (workspace.name, workspace.time_zone) == ("Demo Company", "UTC")


def test_with_several_workspaces_one_has_to_be_named(postroom: Postroom, people: Cast) -> None:
    cast("next")
    unclear = postroom("record", "list")
    assert unclear.exit_code == 2
    assert "demo, next" in unclear.err
    assert postroom("record", "list", "--workspace", "next").exit_code == 0
    assert postroom("record", "list", "--workspace", "none").exit_code == 2


def test_without_a_workspace_every_command_says_how_to_make_one(postroom: Postroom, db: None) -> None:
    ran = postroom("queue", "list")
    assert ran.exit_code == 1
    assert "postroom workspace create" in ran.err


def test_a_message_is_posted_as_somebody_and_tells_the_followers(
    postroom: Postroom, people: Cast, tmp_path: Path
) -> None:
    file = tmp_path / "offer.txt"
    file.write_text("forty lamps")
    options = (
        "--as",
        "ana@demo.example",
        "--subject",
        "Offer",
        "--to",
        "dora@example.org",
        "--attach",
        str(file),
    )
    ran = postroom(*POST, *options, "--bulk", "--body", "See the file")
    assert ran.exit_code == 0
    assert "2 will be told" in ran.out
    message = Message.objects.get()
    assert (message.author, message.stream, message.subject) == (people.ana_contact, "bulk", "Offer")
    assert [attachment.name for attachment in message.attachments.all()] == ["offer.txt"]


def test_a_note_that_names_an_outsider_has_to_be_confirmed(postroom: Postroom, people: Cast) -> None:
    note = (*POST, "--note", "--to", "carla@example.com", "--body", "Margin")
    refused = postroom(*note)
    assert refused.exit_code == 1
    assert "Carla Stan" in refused.err
    assert "--confirm-outsiders" in refused.err
    assert not Message.objects.exists()
    assert postroom(*note, "--confirm-outsiders").exit_code == 0
    assert Message.objects.get().is_internal


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--record", "sale.order", "--body", "x"), 2),
        (("--record", "sale.order/none", "--body", "x"), 1),
        (("--record", "sale.order/SO042", "--body", ""), 1),
        (("--record", "sale.order/SO042", "--body", "x", "--as", "nobody@demo.example"), 1),
        (("--record", "sale.order/SO042", "--body", "x", "--to", "no address"), 2),
    ],
)
def test_what_cannot_be_posted_is_said_in_one_sentence(
    postroom: Postroom, people: Cast, arguments: tuple[str, ...], code: int
) -> None:
    ran = postroom("message", "post", *arguments)
    assert ran.exit_code == code
    assert len(ran.err.strip().splitlines()) == 1
    assert not Message.objects.exists()


def test_a_record_is_put_with_followers(postroom: Postroom, people: Cast) -> None:
    put = ("record", "put", "crm.lead/L-1", "--title", "Twelve tables", "--responsible", "ana@demo.example")
    assert postroom(*put, "--follower", "elena@example.org").exit_code == 0
    record = Record.objects.get(external_id="L-1")
    assert record.responsible == people.ana
    assert record.followers.filter(contact__address__addr_spec="elena@example.org").exists()
    assert "Twelve tables" in postroom("record", "list", "--search", "twelve").out


def test_emails_are_cancelled_and_retried_by_their_id(postroom: Postroom, people: Cast) -> None:
    postroom(*POST, *FROM_ANA, "--body", "Hello")
    email = Email.objects.get()
    assert postroom("queue", "cancel", f"em_{email.pk}").exit_code == 0
    email.refresh_from_db()
    assert email.state == State.CANCELLED
    again = postroom("queue", "cancel", str(email.pk))
    assert again.exit_code == 1
    assert postroom("queue", "retry", str(email.pk)).exit_code == 0
    assert postroom("queue", "retry", "em_x").exit_code == 2


def test_a_retry_of_bulk_mail_names_the_action_that_is_off_and_what_to_do(
    postroom: Postroom, people: Cast
) -> None:
    [email] = queue(people.workspace, ["b@example.org"], stream=Stream.BULK, is_gated=True)
    assert postroom("queue", "cancel", str(email.pk)).exit_code == 0
    ScheduledAction.objects.filter(workspace=people.workspace, key="mail_queue").update(is_active=False)
    [note] = postroom("queue", "retry", str(email.pk), "--json").json["notes"]
    assert "waits for Mail: Email Queue Manager, which is switched off" in note
    assert "Send Now" in note


def test_the_queue_has_no_other_states(postroom: Postroom, people: Cast) -> None:
    assert postroom("queue", "list", "--state", "waiting").exit_code == 2


def test_a_letter_is_fed_in_and_a_refusal_is_said_and_logged(
    postroom: Postroom, people: Cast, tmp_path: Path
) -> None:
    letter = tmp_path / "letter.eml"
    letter.write_text("From: Carla <carla@example.com>\nSubject: Hi\nMessage-ID: <1@example.com>\n\nHello\n")
    feed = ("inbound", "feed", str(letter), "--from", "carla@example.com", "--to")
    taken = postroom(*feed, f"admin@{people.domain.domain}")
    assert taken.exit_code == 0
    assert taken.out.startswith("250")
    refused = postroom(*feed, f"nobody@{people.domain.domain}")
    assert refused.exit_code == 1
    assert refused.out.startswith("550 5.1.1")
    assert ReceivedEmail.objects.filter(state=ReceivedState.REFUSED).count() == 1
    assert "nobody@" in postroom("inbound", "log", "--state", "refused").out


def test_a_reply_is_explained_in_plain_words(postroom: Postroom, db: None) -> None:
    told = postroom("explain", "550 5.1.1 User unknown", "--json").json
    assert told["is_retry_useful"] is False
    other = postroom("explain", "452 4.2.2 Mailbox full", "--json").json
    assert other["reason"] != told["reason"]


def test_a_message_is_explained_for_one_recipient(postroom: Postroom, people: Cast) -> None:
    postroom(*POST, "--body", "Hello", "--to", "dora@example.org")
    message = Message.objects.get()
    unclear = postroom("explain", message.message_id)
    assert unclear.exit_code == 2
    assert "dora@example.org" in unclear.err
    told = postroom("explain", message.message_id, "--address", "dora@example.org", "--json").json
    assert told["address"] == "dora@example.org"
    assert told["steps"]
    never = postroom("explain", f"msg_{message.pk}", "--address", "stranger@example.org")
    assert never.exit_code == 0
    assert postroom("explain", "msg_0").exit_code == 1


def test_capture_is_switched_for_all_or_for_one(postroom: Postroom, people: Cast) -> None:
    assert postroom("capture", "status", "--json").json["installation"] is False
    assert postroom("capture", "on", "--json").json["reason"] == "by_hand"
    assert "Capture mode is off" in postroom("capture", "off").out
    assert postroom("capture", "on", "--workspace", "demo", "--json").json["workspaces"] == ["demo"]
    assert postroom("capture", "off", "--workspace", "demo", "--json").json["workspaces"] == []


def test_what_was_captured_goes_out_only_if_asked_for(postroom: Postroom, people: Cast) -> None:
    postroom(*POST, *FROM_ANA, "--body", "Hello")
    email = Email.objects.get()
    postroom("queue", "cancel", str(email.pk))
    Email.objects.update(cancelled_because="captured")
    postroom("capture", "on")
    out = postroom("capture", "off").out
    assert "1 captured email stays Cancelled" in out
    assert "postroom capture off --retry-captured` sends" in out
    assert "must not run" not in out
    email.refresh_from_db()
    assert email.state == State.CANCELLED
    postroom("capture", "on")
    assert "1 captured" in postroom("capture", "off", "--retry-captured").out
    email.refresh_from_db()
    assert email.state == State.OUTGOING


def test_the_queue_says_scheduled_of_what_was_never_tried_and_who_cancelled_in_words(
    postroom: Postroom, people: Cast
) -> None:
    postroom(*POST, *FROM_ANA, "--body", "Hello")
    Email.objects.update(due_at=datetime(2032, 12, 25, 9, tzinfo=UTC))
    assert "scheduled for 2032-12-25 09:00" in postroom("queue", "list").out
    Email.objects.update(attempt_count=1)
    assert "next try 2032-12-25 09:00" in postroom("queue", "list").out
    postroom("queue", "cancel", str(Email.objects.get().pk))
    assert "cancelled by a person" in postroom("queue", "list").out
    Email.objects.update(cancelled_because="captured")
    assert "capture mode kept it in" in postroom("queue", "list").out


def test_posting_says_when_what_does_not_leave_at_once_will(postroom: Postroom, people: Cast) -> None:
    assert "will be told by email.\n" in postroom(*POST, *FROM_ANA, "--body", "Hello").out
    bulk = postroom(*POST, *FROM_ANA, "--body", "Hello", "--bulk").out
    assert "The mail waits for Mail: Email Queue Manager; it runs 20" in bulk
    later = postroom(*POST, *FROM_ANA, "--body", "Hello", "--send-at", "2027-03-01 09:00").out
    assert "The emails leave on 2027-03-01 09:00 UTC." in later


def test_the_incoming_log_says_a_code_once(postroom: Postroom, people: Cast) -> None:
    texts = {"one": "250 2.0.0 Ok", "two": "2.0.0 Ok"}
    for subject, text in texts.items():
        ReceivedEmail.objects.create(
            workspace=people.workspace, subject=subject, state="duplicate", reply_code=250, reply_text=text
        )
    shown = postroom("inbound", "log").out
    assert shown.count("duplicate: 250 2.0.0 Ok") == 2


def test_the_queue_says_of_what_is_in_hand_by_when_that_is_settled(postroom: Postroom, people: Cast) -> None:
    postroom(*POST, *FROM_ANA, "--body", "Hello")
    Email.objects.update(lease="run", leased_until=datetime(2032, 12, 25, 9, tzinfo=UTC))
    assert (
        "being sent; if its worker is lost, settled after 2032-12-25 09:00" in postroom("queue", "list").out
    )
    Email.objects.update(leased_until=datetime(2026, 1, 2, 9, tzinfo=UTC))
    assert "by a worker that is gone and may have arrived" in postroom("queue", "list").out


def test_send_now_names_the_limit_that_it_does_not_help_against(postroom: Postroom, people: Cast) -> None:
    postroom(*POST, *FROM_ANA, "--body", "Hello")
    Lane.objects.update(held_until=datetime(2032, 12, 25, 9, tzinfo=UTC), held_because="daily_limit")
    ran = postroom("queue", "send-now", str(Email.objects.get().pk))
    assert ran.exit_code == 1
    assert "Send Now does not help: the daily limit" in ran.out


def test_search_finds_what_the_page_finds_by_the_title_of_the_record(
    postroom: Postroom, people: Cast
) -> None:
    postroom(*POST, *FROM_ANA, "--body", "Hello")
    Message.objects.update(subject="")
    title = Record.objects.get(messages=Message.objects.get()).title
    assert len(postroom("queue", "list", "--search", title, "--json").json["data"]) == 1
    assert postroom("queue", "list", "--search", "nowhere", "--json").json["data"] == []


def test_a_key_is_shown_once_and_revoked_by_its_id(postroom: Postroom, people: Cast) -> None:
    text = postroom("key", "create", "--name", "shop", "--as", "ana@demo.example").out.strip()
    key = ApiKey.objects.get()
    assert key.is_opened_by(text)
    assert text not in postroom("key", "list", "--json").out
    assert postroom("key", "revoke", f"key_{key.pk}").exit_code == 0
    key.refresh_from_db()
    assert not key.is_opened_by(text)
    assert postroom("key", "revoke", "key_0").exit_code == 1


def test_a_parameter_is_set_and_brought_back(postroom: Postroom, people: Cast) -> None:
    key = "mail.retry.deadline_hours"
    assert postroom("parameter", "set", key, "24", "--json").json["value"] == "24"
    assert postroom("parameter", "set", key, "", "--json").json["is_default"] is True
    assert not SystemParameter.objects.exists()
    assert postroom("parameter", "set", key, "soon").exit_code == 1
    assert postroom("parameter", "set", "no.such", "1").exit_code == 1


def test_secrets_are_hidden_in_the_configuration(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_URL", "smtp://user:hunter2@relay.example:587")
    monkeypatch.setenv("POSTROOM_SECRET_KEY", "x" * 40)
    monkeypatch.setenv("DATABASE_URL", "postgresql:///post?user=post&password=hunter2")
    shown = postroom("config", "show", "--json")
    assert "hunter2" not in shown.out
    assert "xxxx" not in shown.out
    rows = {row["name"]: row for row in shown.json["data"]}
    assert rows["RELAY_URL"]["value"] == "smtp://user:(hidden)@relay.example:587"
    assert rows["RELAY_URL"]["origin"] == "environment"
    assert rows["DATABASE_URL"]["value"] == "postgresql:///post?(hidden)"


@pytest.mark.parametrize("password", ["hun?ter2", "hun#ter2"])
def test_a_password_that_is_not_written_as_an_address_wants_it_is_hidden(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("RELAY_URL", f"smtp://user:{password}@relay.example:587")
    shown = postroom("config", "show", "--json").out
    assert "hun" not in shown
    assert "ter2" not in shown


def test_a_copy_that_mails_again_is_told_that_the_original_must_not_run(
    postroom: Postroom, people: Cast
) -> None:
    postroom("capture", "status")
    Installation.objects.update(capturing_since=Now(), capture_reason="copy", capture_mode="all")
    assert "what it was copied from must not run any more" in postroom("capture", "off").out
    assert "must not run" not in postroom("capture", "off").out


def test_the_link_for_a_lost_password_belongs_to_the_person(postroom: Postroom, people: Cast) -> None:
    assert "/accounts/password/reset/key/" in postroom("user", "reset-link", "ana@demo.example").out
    assert postroom("user", "reset-link", "nobody@demo.example").exit_code == 1


def test_the_login_of_the_demo_is_for_its_owner_only(tmp_path: Path) -> None:
    from postroom.commands.demo_story import LOGIN_FILE, _write_login

    _write_login(tmp_path, "secret")
    assert stat.S_IMODE((tmp_path / LOGIN_FILE).stat().st_mode) == 0o600


def test_explain_takes_the_number_that_the_page_takes(postroom: Postroom, people: Cast) -> None:
    assert postroom(*POST, *FROM_ANA, "--to", "ben@example.org", "--body", "Hello").exit_code == 0
    number = Message.objects.get().pk
    address = ("--address", "ben@example.org")
    by_number = postroom("explain", str(number), *address, "--json").json
    assert by_number == postroom("explain", f"msg_{number}", *address, "--json").json
    assert "msg_12 or 12" in postroom("explain", "999999").err
