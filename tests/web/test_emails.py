"""The queue."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from postroom.conversations.models import Message, Notification
from postroom.conversations.models.records import Stream
from postroom.outgoing.models import (
    Attempt,
    Email,
    FailureKind,
    Lane,
    MailServer,
    Rendition,
    State,
    Tally,
)
from postroom.outgoing.relays import lane_of
from postroom.schedule.models import ScheduledAction
from postroom.web import email_rows
from postroom.web.email_rows import EmailRow
from postroom.web.next_steps import NextStep, next_step
from postroom.workspaces import parameters
from tests.outgoing.queued import queue
from tests.people import Cast
from tests.web.mail import fail, failed, said, submitted, waiting


def test_the_tabs_count_the_states(people: Cast, as_ana: Client) -> None:
    """Only the count of failures may be red."""
    failed(people)
    waiting(people)
    page = as_ana.get("/emails").content.decode()
    assert "Outgoing <b>1</b>" in page
    assert 'Delivery Failed <b class="bad">1</b>' in page
    assert "Sent <b>0</b>" in page


def test_a_tab_lists_its_state_alone(people: Cast, as_ana: Client) -> None:
    """Ben's failed mail is not among what waits."""
    failed(people)
    assert "550 5.1.1" in as_ana.get("/emails?state=failed").content.decode()
    assert "550 5.1.1" not in as_ana.get("/emails?state=outgoing").content.decode()


def test_an_email_is_found_by_its_recipient(people: Cast, as_ana: Client) -> None:
    """In any case of letters."""
    failed(people)
    assert "550 5.1.1" in as_ana.get("/emails?q=BEN@example").content.decode()
    assert "Nothing matches" in as_ana.get("/emails?q=carla").content.decode()


def test_the_list_goes_on_where_the_page_ends(people: Cast, as_ana: Client) -> None:
    """Fifty at a time, by a key, without repeating or leaving out."""
    emails = [waiting(people).pk for _ in range(53)]
    first = as_ana.get("/emails").content.decode()
    assert f"before={emails[3]}" in first
    rest = as_ana.get(f"/emails?before={emails[3]}").content.decode()
    assert [f'value="{pk}" form="queue"' in rest for pk in emails[:4]] == [True, True, True, False]


def test_retry_puts_a_failed_email_back_on_its_way(people: Cast, as_ana: Client) -> None:
    """And says so."""
    email = failed(people)
    answer = as_ana.post(
        reverse("emails_retry"), {"ids": [email.pk], "back": "/emails?state=failed"}, follow=True
    )
    email.refresh_from_db()
    assert email.state == State.OUTGOING
    assert "1 email will be tried again." in answer.content.decode()


def test_a_rows_own_button_leaves_the_selection_alone(people: Cast, as_ana: Client) -> None:
    """Two are selected, a third one's Cancel Email is pressed."""
    selected, meant = waiting(people), waiting(people)
    as_ana.post(reverse("emails_cancel"), {"ids": [selected.pk], "only": meant.pk})
    assert Email.objects.get(pk=meant.pk).state == State.CANCELLED
    assert Email.objects.get(pk=selected.pk).state == State.OUTGOING


def test_send_now_brings_the_next_try_forward(people: Cast, as_ana: Client) -> None:
    """It does not wait for its time any more."""
    email = waiting(people)
    Email.objects.filter(pk=email.pk).update(due_at=timezone.now() + timedelta(hours=1), attempt_count=1)
    as_ana.post(reverse("emails_send_now"), {"ids": [email.pk]})
    email.refresh_from_db()
    assert email.due_at <= timezone.now()


def test_a_button_with_nothing_selected_says_so(people: Cast, as_ana: Client) -> None:
    """Nothing happens to anything."""
    page = as_ana.post(reverse("emails_retry"), follow=True).content.decode()
    assert "Select at least one email first." in page


def test_back_leads_only_to_pages_of_ours(people: Cast, as_ana: Client) -> None:
    """Not to where a forged form says."""
    for back in ("https://evil.example/", "//evil.example/", "javascript:alert(1)", "/\\evil.example"):
        answer = as_ana.post(reverse("emails_retry"), {"back": back})
        assert answer.headers["Location"] == "/emails"


def test_urgent_mail_that_waits_for_its_first_try_is_not_in_the_list(people: Cast, as_ana: Client) -> None:
    """It leaves at once; the list is for what needs looking at."""
    said(people)
    assert "Nothing is waiting" in as_ana.get("/emails").content.decode()


def test_a_failed_mail_without_a_record_breaks_no_page(people: Cast, as_ana: Client) -> None:
    """Neither record, author nor subject: it is still listed, found and explained."""
    email = fail(submitted(people).emails.get())
    Message.objects.filter(pk=email.message_id).update(author=None, author_name="", subject="")
    Notification.objects.create(
        workspace=people.workspace, member=people.ana, message=email.message, kind="failure"
    )
    pages = ["/", "/emails", "/emails?state=failed", "/emails?q=ben", "/why?address=ben@example.org"]
    for page in [*pages, f"/messages/{email.message_id}/delivery"]:
        answer = as_ana.get(page)
        assert (answer.status_code, "(no subject)" in answer.content.decode()) == (200, True), page
    trail = as_ana.get(f"/why?message={email.message_id}&address=ben@example.org")
    assert "Delivery Failed" in trail.content.decode()
    assert as_ana.post(reverse("ignore_all", args=[email.message_id])).status_code == 302


def test_sent_mail_is_listed_under_sent_and_found_by_a_search(people: Cast, as_ana: Client) -> None:
    """It has left the queue, and the queue says where it went."""
    email = said(people).emails.get()
    Email.objects.filter(pk=email.pk).update(state=State.SENT, is_listed=False, sent_at=timezone.now())
    queue = as_ana.get("/emails").content.decode()
    assert "Sent <b>1</b>" in queue
    assert "What was sent is under Sent." in queue
    row = f'value="{email.pk}" form="queue"'
    assert [row in as_ana.get(f"/emails?{q}").content.decode() for q in ("", "state=sent")] == [False, True]
    assert [row in as_ana.get(f"/emails?q={q}").content.decode() for q in ("BEN@", "lamps", "carla")] == [
        True,
        True,
        False,
    ]


def test_what_was_sent_a_while_ago_has_left_the_tab_and_is_found_by_a_search(
    people: Cast, as_ana: Client
) -> None:
    """For as many days as the workspace says; the row stays with its message."""
    email = said(people).emails.get()
    row = f'value="{email.pk}" form="queue"'
    for days, is_listed in ((13, True), (15, False)):
        Email.objects.update(state=State.SENT, sent_at=timezone.now() - timedelta(days=days))
        page = as_ana.get("/emails?state=sent").content.decode()
        assert (row in page, f"Sent <b>{int(is_listed)}</b>" in page) == (is_listed, True)
    assert "took in the last 14 days" in " ".join(page.split())
    assert row in as_ana.get("/emails?q=ben").content.decode()
    parameters.put(people.workspace.pk, "mail.vacuum.sent_days", "30")
    assert row in as_ana.get("/emails?state=sent").content.decode()


def test_a_long_history_is_not_searched_for_what_was_sent_lately(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many of the newest are looked at, wherever the page begins."""
    monkeypatch.setattr(email_rows, "LOOKED_AT", 3)
    emails = [waiting(people).pk for _ in range(6)]
    Email.objects.update(state=State.SENT, sent_at=timezone.now())
    listed = email_rows.of_state(people.ana, State.SENT)
    assert set(listed.values_list("pk", flat=True)) == set(emails[3:])
    behind = email_rows.of_state(people.ana, State.SENT, before=str(emails[3]))
    assert set(behind.values_list("pk", flat=True)) == set(emails[:3])


@pytest.mark.parametrize("query", ["", "state=sent", "q=ben"])
def test_older_emails_follow_in_every_list(people: Cast, as_ana: Client, query: str) -> None:
    """Each of them once, whatever their states."""
    emails = [waiting(people).pk for _ in range(52)]
    if query:
        Email.objects.all().update(state=State.SENT)
    first = as_ana.get(f"/emails?{query}").content.decode()
    assert f"before={emails[2]}" in first
    rest = as_ana.get(f"/emails?{query}&before={emails[2]}").content.decode()
    assert [f'value="{pk}" form="queue"' in rest for pk in emails[:3]] == [True, True, False]


def test_the_recipient_has_a_line_of_its_own(people: Cast, as_ana: Client) -> None:
    """However long the subject is, it hides nothing."""
    failed(people)
    assert '<span class="line quiet" title="ben@example.org">ben@example.org</span>' in (
        as_ana.get("/emails").content.decode()
    )


def test_the_row_of_a_late_bounce_shows_the_codes_of_the_report(people: Cast) -> None:
    """Not the 250 that came before it."""
    email = fail(said(people).emails.get(), FailureKind.BOUNCED, "550 5.1.1 No such user")
    attempt = Attempt(email=email, code=250, enhanced="2.0.0", text="Ok")
    step = NextStep("failed", "", "", None, True)
    for text, reply in (
        ("550 5.1.1 No such user", "550 5.1.1"),
        ("5.2.2 full", "5.2.2"),
        ("Sorry!", "bounce"),
    ):
        email.failure_text = text
        assert EmailRow(email, step, attempt).reply == reply


def test_the_row_of_what_failed_without_a_reply_shows_why(people: Cast, as_ana: Client) -> None:
    """The limit refused it before any server did; a try that got no reply made it expire."""
    email = fail(said(people).emails.get(), FailureKind.DAILY_LIMIT, "The daily limit of 5 is used up.")
    page = as_ana.get("/emails").content.decode()
    assert '<code title="The daily limit of 5 is used up.">Over the daily limit</code>' in page
    fail(email, FailureKind.EXPIRED, "")
    Attempt.objects.create(workspace=people.workspace, email=email, number=1, outcome="unreachable")
    assert ">Tried too long</code>" in as_ana.get("/emails").content.decode()


def test_a_button_says_what_happened_to_the_others_that_were_selected(people: Cast, as_ana: Client) -> None:
    """One of two was still waiting."""
    ids = [waiting(people).pk, failed(people).pk]
    page = as_ana.post(reverse("emails_cancel"), {"ids": ids}, follow=True).content.decode()
    assert "1 email was cancelled." in page
    assert "1 was left as it is, because it is in another state by now." in page


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("", "Nothing is waiting"),
        ("outgoing", "Nothing is waiting"),
        ("failed", "Nothing has failed"),
        ("sent", "Nothing was sent lately"),
        ("cancelled", "Nothing is cancelled"),
    ],
)
def test_an_empty_tab_says_what_is_not_there(people: Cast, as_ana: Client, state: str, words: str) -> None:
    """Of its own state."""
    assert words in as_ana.get(f"/emails?state={state}").content.decode()


def test_a_cancelled_row_does_not_give_the_time_of_posting_as_that_of_cancelling(people: Cast) -> None:
    """It says that it will not be sent, and no more."""
    email = Email(state=State.CANCELLED, created_at=timezone.now())
    step = next_step(email, timezone.now())
    assert (step.words, step.at) == ("will not be sent", None)


def test_every_row_says_what_happens_next(people: Cast) -> None:
    """And when."""
    now = timezone.now()
    email = Email.objects.select_related("lane").get(pk=waiting(people).pk)
    email.due_at = now + timedelta(minutes=4)
    assert (next_step(email, now).words, next_step(email, now).at) == ("scheduled for", email.due_at)
    email.attempt_count = 2
    assert (next_step(email, now).look, next_step(email, now).words) == ("delayed", "try no. 3")
    email.lane = Lane(held_until=now + timedelta(hours=1), held_because="server_unreachable")
    assert next_step(email, now).words == "held: the outgoing server could not be reached; again"
    email.lane.is_paused = True
    assert next_step(email, now).words == "paused"
    email.lease, email.leased_until = "worker", now + timedelta(minutes=1)
    assert next_step(email, now).words == "being sent"
    email.leased_until = now - timedelta(minutes=1)
    assert "may have arrived" in next_step(email, now).words


def test_a_row_whose_last_answer_was_lost_says_that_it_may_have_arrived(people: Cast) -> None:
    email = Email.objects.select_related("lane").get(pk=waiting(people).pk)
    email.attempt_count, email.uncertain_count = 1, 1
    assert next_step(email, timezone.now()).words == "may have arrived; try no. 2"


def test_a_page_of_the_queue_costs_the_same_however_many_rows(
    people: Cast, as_ana: Client, django_assert_max_num_queries: object
) -> None:
    """A fixed number of queries."""
    for _ in range(20):
        waiting(people)
    with django_assert_max_num_queries(19):  # type: ignore[operator]
        as_ana.get("/emails")


def test_a_retry_of_bulk_mail_says_that_what_lets_it_leave_is_switched_off(
    people: Cast, as_ana: Client
) -> None:
    [email] = queue(people.workspace, ["b@example.org"], stream=Stream.BULK, is_gated=True)
    Email.objects.filter(pk=email.pk).update(state=State.FAILED, failure_text="550 no")
    Tally.objects.filter(message=email.message).update(outgoing_count=0, failed_count=1)
    ScheduledAction.objects.filter(workspace=people.workspace, key="mail_queue").update(is_active=False)
    page = as_ana.post(reverse("emails_retry"), {"ids": [email.pk]}, follow=True).content.decode()
    assert "1 email will be tried again." in page
    assert "1 of them waits for Mail: Email Queue Manager, which is switched off." in page
    assert "Send Now lets this email leave alone." in page


def test_a_bulk_retry_names_what_no_server_can_send_and_sends_the_rest(people: Cast, as_ana: Client) -> None:
    """The archived server is named, with the remedy."""
    stranded, well = failed(people), failed(people)
    archived = MailServer.objects.create(workspace=people.workspace, name="Acme", is_active=False)
    Email.objects.filter(pk=stranded.pk).update(lane=lane_of(people.workspace, "urgent", archived))
    Rendition.objects.filter(emails=stranded).update(from_addr_spec="ana@elsewhere.example")
    answer = as_ana.post(reverse("emails_retry"), {"ids": [stranded.pk, well.pk]}, follow=True)
    said_so = [str(message) for message in answer.context["messages"]]
    assert said_so[0] == "1 email will be tried again."
    assert said_so[1].startswith("1 email stays as it is. This mail was written for the outgoing server Acme")
    assert Email.objects.get(pk=well.pk).state == State.OUTGOING
    assert Email.objects.get(pk=stranded.pk).state == State.FAILED
