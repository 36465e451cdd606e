"""How people get in: users, their addresses and the links that set a password."""

from __future__ import annotations

import secrets

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.urls import reverse
from django.utils.http import int_to_base36


class LinkTokens(PasswordResetTokenGenerator):
    """Signs links that set a password. A link dies when the user enters one more workspace.

    Otherwise whoever invited a person first could keep the link and follow them into the next workspace.
    """

    def _make_hash_value(self, user: User, timestamp: int) -> str:
        return f"{super()._make_hash_value(user, timestamp)}{user.memberships.count()}"


def user_of(addr_spec: str) -> User | None:
    """Who logs in with this address."""
    return get_user_model().objects.filter(email__iexact=addr_spec).order_by("pk").first()


def make_user(addr_spec: str, password: str | None) -> User:
    """A new login; without a password nobody can use it until a link has set one."""
    return get_user_model().objects.create_user(_username(addr_spec), addr_spec, password)


def change_login(user: User, addr_spec: str) -> None:
    """Let a user log in with this address, and no longer with the one before."""
    user.email, user.username = addr_spec, _username(addr_spec)
    user.save(update_fields=["email", "username"])
    EmailAddress.objects.filter(user=user).delete()


def _username(addr_spec: str) -> str:
    return addr_spec if len(addr_spec) <= 150 else f"{addr_spec[:133]}-{secrets.token_hex(8)}"


def login_url() -> str:
    """Where people log in."""
    return settings.POSTROOM_BASE_URL + reverse(settings.LOGIN_URL)


def password_link(user: User) -> str:
    """A link with which its holder sets this user's password: once, and within PASSWORD_RESET_TIMEOUT."""
    arguments = {"uidb36": int_to_base36(user.pk), "key": LinkTokens().make_token(user)}
    return settings.POSTROOM_BASE_URL + reverse("account_reset_password_from_key", kwargs=arguments)
