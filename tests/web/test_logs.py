"""Technical → Logs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from postroom.diagnostics import mail_log
from postroom.diagnostics.log_lines import DIALECTS, Cover, MessageId, Own, Person, line
from postroom.workspaces.models import Member, Role
from tests.people import Cast
from tests.web.conftest import Browse

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def log(data_folder: Path) -> Path:
    """Sixty lines about Ben's mail and one about Carla's."""
    cover = Cover(mail_log.tag_keys()[0])
    lines = [
        line(
            DIALECTS["human"],
            cover,
            datetime(2026, 11, 21, 10, 0, number, tzinfo=UTC),
            ("INFO", "sent", ("message", Own(f"<{number}@demo.example>")), ("to", Person("ben@example.org"))),
        )
        for number in range(60)
    ]
    carla = (
        "WARNING",
        "failed",
        ("to", Person("carla@example.com")),
        ("reply", "550 <script>alert(1)</script>"),
    )
    lines.append(line(DIALECTS["human"], cover, datetime(2026, 11, 21, 11, tzinfo=UTC), carla))
    (data_folder / "logs").mkdir()
    path = data_folder / "logs" / "postroom.log"
    path.write_text("".join(lines))
    return path


def page(client: Client, **asked: str) -> str:
    answer = client.get(reverse("logs"), asked)
    assert answer.status_code == 200
    return answer.content.decode()


def test_an_operator_finds_the_lines_of_an_address_newest_first(as_olga: Client) -> None:
    shown = page(as_olga, address="ben@example.org")
    assert shown.count("<details><summary>") == 50
    assert shown.index("&lt;59@demo.example&gt;") < shown.index("&lt;58@demo.example&gt;")
    assert "550" not in shown


def test_a_line_says_its_time_once_and_is_not_cut(as_olga: Client) -> None:
    shown = page(as_olga, message="<7@demo.example>")
    summary = shown.partition("<details><summary><code>")[2].partition("</summary>")[0]
    assert summary.count("10:00:07") == 1
    assert "message=&lt;7@demo.example&gt; to=b****@example.org" in summary


def test_lines_are_found_by_their_workspace(as_olga: Client, log: Path) -> None:
    said = ("INFO", "sent", ("workspace", Own("north")))
    with log.open("a") as file:
        file.write(line(DIALECTS["human"], Cover(), datetime(2026, 11, 21, 12, tzinfo=UTC), said))
    assert page(as_olga, workspace="north").count("<details><summary>") == 1
    assert "No line fits" in page(as_olga, workspace="south")


def test_older_lines_are_a_page_of_their_own(as_olga: Client) -> None:
    shown = page(as_olga, address="ben@example.org")
    older = shown.partition('href="?')[2].partition('"')[0].replace("&amp;", "&")
    answer = as_olga.get(f"{reverse('logs')}?{older}").content.decode()
    assert answer.count("<details><summary>") == 10
    assert "&lt;0@demo.example&gt;" in answer


def test_what_a_server_said_is_shown_as_text(as_olga: Client) -> None:
    shown = page(as_olga, q="550")
    assert "&lt;script&gt;alert(1)" in shown
    assert "<script>alert" not in shown


def test_one_message_is_found_by_its_id(as_olga: Client) -> None:
    assert page(as_olga, message="<7@demo.example>").count("<details><summary>") == 1


def test_a_time_that_is_none_is_told(as_olga: Client) -> None:
    answer = as_olga.get(reverse("logs"), {"since": "yesterday"})
    assert answer.status_code == 422
    assert "2026-11-21T05:00" in answer.content.decode()


def test_nothing_found_says_what_helps(as_olga: Client) -> None:
    assert "No line fits" in page(as_olga, q="nothing like this")


def test_a_place_that_nobody_gave_out_is_the_newest_page(as_olga: Client) -> None:
    assert "550" in page(as_olga, before="2026-99-99.x:y")


def test_times_and_places_beyond_all_files_are_pages_too(as_olga: Client) -> None:
    assert "59@demo.example" in page(as_olga, since="0001-01-01T00:00+14:00")
    assert "No line fits" in page(as_olga, since="9999-12-31T23:59-14:00")
    assert "550" in page(as_olga, before="2026-11-21.1:1000000000000")


def test_only_a_message_id_that_is_shown_whole_leads_to_why(as_olga: Client, log: Path) -> None:
    cover = Cover(mail_log.tag_keys()[0])
    said = ("INFO", "filed", ("message", MessageId("<secret@mail.example>")))
    with log.open("a") as file:
        file.write(line(DIALECTS["human"], cover, datetime(2026, 11, 21, 12, tzinfo=UTC), said))
    shown = page(as_olga, message="secret@mail.example")
    assert "&lt;s****@mail.example~" in shown
    assert reverse("why") + "?message=" not in shown
    assert reverse("why") + "?message=%3C59%40demo.example" in page(as_olga, message="59@demo.example")


def test_without_a_log_the_page_still_stands(as_olga: Client, log: Path) -> None:
    log.unlink()
    assert "No line fits" in page(as_olga)


def test_whoever_is_no_operator_sees_no_line_and_is_told_whom_to_ask(people: Cast, browse: Browse) -> None:
    Member.objects.filter(pk=people.ana.pk).update(role=Role.ADMIN, is_developer=True)
    shown = page(browse(people.ana), address="ben@example.org")
    assert "@demo.example&gt;" not in shown
    assert "Message-ID" in shown
    assert "time zone" in shown
    assert "olga@demo.example" in shown


def test_strangers_log_in_first(client: Client, people: Cast) -> None:
    assert client.get(reverse("logs")).status_code == 302


def test_why_leads_operators_to_the_lines(as_olga: Client, as_ana: Client, people: Cast) -> None:
    from postroom.flows.posting import Draft, post

    message = post(
        Draft(
            workspace=people.workspace,
            record=people.record,
            member=people.ana,
            body="Hello",
            named=[people.ben],
        )
    )
    asked = {"message": str(message.pk), "address": "ben@example.org"}
    link = f"{reverse('logs')}?message="
    assert link in as_olga.get(reverse("why"), asked).content.decode()
    assert link not in as_ana.get(reverse("why"), asked).content.decode()
