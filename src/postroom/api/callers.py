"""Who calls: the API key in `Authorization: Bearer`, and the member it acts as."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from ninja.security import HttpBearer

from postroom.workspaces.models import ApiKey

PREFIX_LENGTH = 11
LAST_USED_STEP = timedelta(minutes=1)


class ApiRequest(HttpRequest):
    """A request whose key was accepted."""

    auth: ApiKey


class BearerKey(HttpBearer):
    """An API key made in Settings or with `postroom key create`."""

    def authenticate(self, request: HttpRequest, token: str) -> ApiKey | None:
        """The key if it opens; None for every other text, found out in the same time."""
        key = key_opened_by(token.strip())
        if key is not None:
            _note_use(key)
        return key


# Compared with when there is no such prefix, so that the answer takes as long as for a wrong key.
_NO_KEY = ApiKey(digest="0" * 64)


def key_opened_by(text: str) -> ApiKey | None:
    """The key that this text opens, if it may still be used by an active member."""
    found = ApiKey.objects.select_related("workspace", "member__user", "member__contact__address")
    key = found.filter(prefix=text[:PREFIX_LENGTH]).first()
    is_opened = (key or _NO_KEY).is_opened_by(text)
    if key is None or not is_opened:
        return None
    return key if key.member.is_active and key.member.user.is_active else None


def _note_use(key: ApiKey) -> None:
    now = timezone.now()
    if key.last_used_at is None or key.last_used_at < now - LAST_USED_STEP:
        is_old = Q(last_used_at=None) | Q(last_used_at__lt=now - LAST_USED_STEP)
        ApiKey.objects.filter(is_old, pk=key.pk).update(last_used_at=now)


def key_of(request: HttpRequest) -> ApiKey:
    """The key of a request that was let in; its workspace is the only one the request can see."""
    return cast(ApiRequest, request).auth
