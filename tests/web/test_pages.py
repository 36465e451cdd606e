"""What holds for every page."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

import postroom
from postroom.outgoing.models import Email
from postroom.web.urls import urlpatterns
from postroom.workspaces.models import Member
from tests.people import Cast
from tests.web.mail import failed, waiting

ROOT = Path(postroom.__file__).parent
# What is mailed has its styles in it, because mail programs want that.
TEMPLATES = sorted(path for path in (ROOT / "templates").rglob("*.html") if path.parent.name != "mail")
PLAIN = [str(page.name) for page in urlpatterns if "<" not in str(page.pattern)]  # type: ignore[union-attr]
PROBES = {"livez", "readyz", "healthz", "health"}
NO_PAGE = {*PROBES, "mark_read", "withdraw_limit", "language", "target", "workspaces", "technical", "metrics"}
SHOWN = [name for name in PLAIN if not name.startswith(("account_", "emails_")) and name not in NO_PAGE]


@pytest.mark.parametrize("name", [*SHOWN, "record", "delivery", "action"])
def test_every_page_can_be_read_by_machines(people: Cast, as_olga: Client, name: str) -> None:
    """One h1, one main, landmarks with names, a label for every field, a name for every button."""
    Member.objects.filter(pk=people.olga.pk).update(is_developer=True)
    email = failed(people)
    waiting(people)
    action = people.workspace.scheduled_actions.get(key="mail_queue")
    ids = {"record": [people.record.pk], "delivery": [email.message_id], "action": [action.pk]}
    page = as_olga.get(reverse(name, args=ids.get(name, []))).content.decode()
    assert page.count("<h1") == 1
    assert page.count("<main") == 1
    assert "<title> ·" not in page
    assert _fields_without_label(page) == []
    assert [tag for tag in re.findall(r"<nav[^>]*>", page) if "aria-label" not in tag] == []
    assert [text for text in re.findall(r"<button[^>]*>(.*?)</button>", page, re.S) if not _words(text)] == []


def _fields_without_label(page: str) -> list[str]:
    fields = re.findall(r"<(?:input|select|textarea)\b[^>]*>", page)
    shown = [tag for tag in fields if 'type="hidden"' not in tag]
    wrapped = re.findall(r"<label[^>]*>(?:(?!</label>).)*?(<(?:input|select|textarea)\b[^>]*>)", page, re.S)
    labelled = set(re.findall(r'<label[^>]*for="([^"]+)"', page))
    return [
        tag
        for tag in shown
        if tag not in wrapped
        and "aria-label=" not in tag
        and (re.search(r'\bid="([^"]+)"', tag) or ["", ""])[1] not in labelled
    ]


def _words(text: str) -> str:
    return re.sub(r"<[^>]+>", "", text).strip()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_template_needs_more_than_a_strict_policy_allows(template: Path) -> None:
    """No inline script, style or handler, and no htmx feature that evaluates code."""
    text = template.read_text("utf-8")
    assert not re.search(
        r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=|hx-on|hx-vals=.?js|javascript:", text
    )
    assert not re.search(r'hx-trigger="[^"]*\[', text)


def test_the_policy_lets_nothing_in_from_elsewhere(people: Cast, as_ana: Client) -> None:
    """Remote images of a mail do not load."""
    policy = as_ana.get("/").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "img-src 'self' data:" in policy
    assert "unsafe" not in policy


def test_a_missing_page_looks_like_ours(people: Cast, as_ana: Client) -> None:
    """And says what may be the matter."""
    answer = as_ana.get("/no/such/page")
    assert answer.status_code == 404
    assert "it belongs to another workspace" in answer.content.decode()


def test_a_form_that_is_too_old_says_so(people: Cast) -> None:
    """No bare 403."""
    client = Client(enforce_csrf_checks=True)
    answer = client.post(reverse("account_login"), {"login": "x"})
    assert answer.status_code == 403
    assert "Please send it again" in answer.content.decode()


def test_a_fault_of_ours_shows_no_traceback(
    people: Cast, as_ana: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to the log."""

    def fall_over(*args: object, **kwargs: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("postroom.web.pages.records.chatter", fall_over)
    as_ana.raise_request_exception = False
    answer = as_ana.get(reverse("record", args=[people.record.pk]))
    assert answer.status_code == 500
    assert "secret detail" not in answer.content.decode()
    assert "No mail was lost" in answer.content.decode()


def test_a_silent_engine_is_pointed_out_while_something_waits(people: Cast, as_ana: Client) -> None:
    """Not otherwise."""
    assert "Nothing is being sent" not in as_ana.get("/").content.decode()
    email = waiting(people)
    Email.objects.filter(pk=email.pk).update(due_at=timezone.now() - timedelta(minutes=10))
    assert "Nothing is being sent" in as_ana.get("/").content.decode()


def test_the_stylesheets_stay_small() -> None:
    """12.5 KB in all, and the script under 200 lines."""
    assert sum(path.stat().st_size for path in (ROOT / "static").rglob("*.css")) < 12.5 * 1024
    assert sum(len(path.read_text().splitlines()) for path in (ROOT / "static").rglob("*.js")) < 200
