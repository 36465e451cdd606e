"""How people get in: by invitation only."""

from __future__ import annotations

import logging
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.mail import EmailMessage
from django.http import HttpRequest
from django.urls import reverse

from postroom.diagnostics import mail_log
from postroom.diagnostics.log_lines import Person
from postroom.flows.posting import submit
from postroom.outgoing import origin
from postroom.wire.address import AddressError
from postroom.wire.automatic import MARKS_OF_AUTOMATIC_MAIL
from postroom.workspaces import logins
from postroom.workspaces.models import Member
from postroom.workspaces.refusals import RequestRefused

log = logging.getLogger("postroom.accounts")


class InvitedOnly(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Nobody signs up: an administrator invites, and the invitation's link sets the password."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def get_reset_password_from_key_url(self, key: str) -> str:
        """The link that sets a new password, on the address people open."""
        uidb36, _, token = key.partition("-")
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": uidb36, "key": token})
        return f"{settings.POSTROOM_BASE_URL}{path}"

    def format_email_subject(self, subject: str) -> str:
        """The subject as the template says it, with nothing before it."""
        return subject.strip()

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send one of our own mails; the links in it lead to the address people open.

        It goes out from the person's own workspace, which keeps nothing of it but the subject. Whoever is
        not a member anywhere gets none.
        """
        user = context.get("user") or logins.user_of(email)
        members = Member.objects.active().filter(user=user).select_related("workspace", "user")
        member = members.order_by("pk").first() if user else None
        if member is not None:
            context = {"email": email, **context, "base_url": settings.POSTROOM_BASE_URL}
            _submit(self.render_mail(template_prefix, email, context), member)

    def login(self, request: HttpRequest, user: AbstractBaseUser) -> None:
        """Let somebody in, and tell the log."""
        super().login(request, user)
        mail_log.said_now("login", ("by", Person(getattr(user, "email", ""))), ("peer", _peer(request)))

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """Tell the log that an address and a password did not fit; the password is told nobody."""
        tried = str(credentials.get("email") or credentials.get("username") or "")
        mail_log.said_now("login_failed", ("by", Person(tried)), ("peer", _peer(request)), is_warning=True)

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        """The inbox."""
        return reverse("inbox")


def _peer(request: HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR") or "")


def _submit(letter: EmailMessage, member: Member) -> None:
    """Hand it over; a refusal goes to the log, for the page says the same to everybody."""
    letter.extra_headers.update(MARKS_OF_AUTOMATIC_MAIL)
    letter.from_email = origin.default_domain(member.workspace).from_addr_spec
    octets = letter.message().as_bytes().replace(b"\n", b"\r\n")  # Django writes bare LF
    try:
        submit(
            member.workspace,
            octets,
            reverse_path="",
            forward_paths=letter.to,
            member=member,
            shown=str(letter.subject),
        )
    except (RequestRefused, AddressError):
        log.exception("Could not send an account mail to user %s", member.user_id)
