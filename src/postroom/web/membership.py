"""Who is asking, and in which workspace: every page starts from `request.member`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, cast

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.utils import translation

from postroom.workspaces.models import Member

if TYPE_CHECKING:
    from django_htmx.middleware import HtmxDetails

SESSION_KEY = "workspace"
P = ParamSpec("P")


class MemberRequest(HttpRequest):
    """A request of somebody who is logged in and has chosen a workspace."""

    member: Member
    memberships: list[Member]
    htmx: HtmxDetails


Page = Callable[Concatenate[MemberRequest, P], HttpResponseBase]
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


class MembershipMiddleware:
    """Sets `request.member` (None for strangers) and speaks the member's language.

    With one workspace that one is meant; with several, the one chosen in this session.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request as its member."""
        asked = cast(MemberRequest, request)
        asked.memberships = _memberships(request)
        member = _chosen(request, asked.memberships)
        asked.member = cast(Member, member)
        if member is not None:
            translation.activate(member.language)
            request.LANGUAGE_CODE = member.language
        return self.get_response(request)


def for_members(page: Page[P]) -> View[P]:
    """Let members in; strangers log in first, those with several workspaces choose one."""

    @wraps(page)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        asked = cast(MemberRequest, request)
        if asked.member is not None:
            return page(asked, *args, **kwargs)
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return redirect("workspaces")

    return guarded


def for_users(page: Page[P]) -> View[P]:
    """Let everybody in who is logged in, with a workspace or without."""

    @wraps(page)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        return page(cast(MemberRequest, request), *args, **kwargs)

    return guarded


def for_admins(page: Page[P]) -> View[P]:
    """Let administrators and operators in; to everybody else the page does not exist."""
    return for_members(_only(lambda member: member.is_admin, page))


def for_developers(page: Page[P]) -> View[P]:
    """Let administrators and operators in who are in developer mode; to others the page does not exist."""
    return for_members(_only(lambda member: member.is_admin and member.is_developer, page))


def for_operators(page: Page[P]) -> View[P]:
    """Let operators in; to everybody else the page does not exist."""
    return for_members(_only(lambda member: member.is_operator, page))


def _memberships(request: HttpRequest) -> list[Member]:
    if not request.user.is_authenticated:
        return []
    active = Member.objects.filter(user=request.user, is_active=True, user__is_active=True)
    return list(active.select_related("workspace", "user", "contact__address").order_by("workspace__name"))


def _chosen(request: HttpRequest, memberships: list[Member]) -> Member | None:
    if len(memberships) == 1:
        return memberships[0]
    if not memberships:
        return None
    wanted = request.session.get(SESSION_KEY)
    return next((member for member in memberships if member.workspace_id == wanted), None)


def _only(may: Callable[[Member], bool], page: Page[P]) -> Page[P]:
    @wraps(page)
    def guarded(request: MemberRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not may(request.member):
            raise Http404
        return page(request, *args, **kwargs)

    return guarded
