"""The queue: what waits, what failed, what happens next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from postroom.diagnostics import wait_words
from postroom.flows import foretelling, retrying
from postroom.flows.retrying import Retried
from postroom.outgoing.models import Email, State
from postroom.outgoing.queue import EmailQuerySet
from postroom.web import email_rows
from postroom.web.backward import back_of
from postroom.web.forms import ChosenForm
from postroom.web.membership import MemberRequest, for_members
from postroom.workspaces.models import Member


@require_safe
@for_members
def email_list(request: MemberRequest) -> HttpResponse:
    """The queue, or the emails of one state, newest first."""
    state, wanted = request.GET.get("state", ""), request.GET.get("q", "").strip()
    before_id = request.GET.get("before")
    found = email_rows.matching(request.member, state=state, wanted=wanted, before=before_id)
    rows, before = email_rows.rows_of(found, before_id)
    context: dict[str, Any] = {"rows": rows, "before": before, "state": state, "q": wanted}
    if state == State.SENT and not rows:
        context["sent_days"] = email_rows.sent_days(request.member)
    return render(request, "postroom/emails.html", {**context, "tabs": email_rows.tabs(request.member)})


@require_POST
@for_members
def retry(request: MemberRequest) -> HttpResponse:
    """Retry what failed or was cancelled."""
    return _act(request, retrying.retry_what_can, _retried)


@require_POST
@for_members
def send_now(request: MemberRequest) -> HttpResponse:
    """Send what waits without further waiting."""
    return _act(request, retrying.send_now_what_can, _hurried)


@require_POST
@for_members
def cancel(request: MemberRequest) -> HttpResponse:
    """Cancel what waits."""
    return _act(request, _call_off, _cancelled)


def _act(
    request: MemberRequest, act: Callable[[EmailQuerySet, Member], Retried], words: Callable[[int], str]
) -> HttpResponse:
    form = ChosenForm(request.POST)
    chosen = form.chosen if form.is_valid() else []
    mine = Email.objects.for_member(request.member).filter(pk__in=chosen)
    done = act(mine, request.member) if chosen else Retried(0, {})
    left = len(set(chosen)) - done.count - len(done.left)
    if done.count or left or not chosen:
        _say(request, words(done.count) if done.count else "", left=left)
    if done.count and act != _call_off and (captured := foretelling.capture_words(request.member.workspace)):
        messages.warning(request, captured)
    for action_name, count in done.kept_by.items():
        messages.warning(request, wait_words.kept_by(action_name, count))
    for why, count in Counter(done.left.values()).items():
        messages.error(request, f"{_stranded(count)} {why}")
    return redirect(back_of(request) or "emails")


def _call_off(mine: EmailQuerySet, by: Member) -> Retried:
    return Retried(retrying.cancel(mine, by), {})


def _stranded(count: int) -> str:
    return ngettext("%(count)d email stays as it is.", "%(count)d emails stay as they are.", count) % {
        "count": count
    }


def _say(request: MemberRequest, changed: str, *, left: int) -> None:
    """What was changed ("": nothing), and what became of those chosen that were not."""
    if not changed:
        messages.warning(request, _nothing(left > 0))
    elif left <= 0:
        messages.success(request, changed)
    else:
        messages.warning(request, f"{changed} {_left(left)}")


def _left(count: int) -> str:
    return ngettext(
        "%(count)d was left as it is, because it is in another state by now.",
        "%(count)d were left as they are, because they are in another state by now.",
        count,
    ) % {"count": count}


def _nothing(was_chosen: bool) -> str:
    if was_chosen:
        return _("Nothing was changed: these emails are no longer in a state where that is possible.")
    return _("Select at least one email first.")


def _retried(count: int) -> str:
    return ngettext(
        "%(count)d email will be tried again.", "%(count)d emails will be tried again.", count
    ) % {"count": count}


def _hurried(count: int) -> str:
    return ngettext("%(count)d email leaves now.", "%(count)d emails leave now.", count) % {"count": count}


def _cancelled(count: int) -> str:
    return ngettext("%(count)d email was cancelled.", "%(count)d emails were cancelled.", count) % {
        "count": count
    }
