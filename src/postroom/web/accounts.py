"""How people get in: by invitation only."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse


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
        """Send one of our own mails; the links in it lead to the address people open."""
        super().send_mail(template_prefix, email, {**context, "base_url": settings.POSTROOM_BASE_URL})

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        """The inbox."""
        return reverse("inbox")
