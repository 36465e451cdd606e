"""Access tokens for servers that are logged in to by OAuth 2.0: refreshed when needed, kept while they hold.

What a server's `oauth` holds is a JSON object: token_url, client_id, refresh_token, and client_secret if the
client has one (RFC 6749 §6).
"""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connections

from postroom.outgoing.models import MailServer
from postroom.smtp.errors import RelayUnreachable

SPARE_SECONDS = 60.0
LASTS_SECONDS = 300.0  # where the provider does not say
TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class _Kept:
    access_token: str
    ends_at: float
    oauth: str


_kept: dict[int, _Kept] = {}
_locks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)


def token_of(server: MailServer) -> Callable[[], str]:
    """Return what gets an access token for a server. It may block, so call it in a thread.

    Calling it raises RelayUnreachable (step auth) with the remedy: nothing was sent, and the refresh token is
    as it was.
    """
    return lambda: _token(server.pk, server.oauth)


def forget(server_id: int) -> None:
    """The server did not let us in: get a new token the next time."""
    _kept.pop(server_id, None)


def _token(server_id: int, oauth: str) -> str:
    with _locks[server_id]:
        kept = _kept.get(server_id)
        if kept is not None and kept.oauth == oauth and kept.ends_at - SPARE_SECONDS > time.monotonic():
            return kept.access_token
        access = _read(oauth)
        answer = _refreshed(access)
        oauth = _keep_refresh_token(server_id, oauth, access, answer)
        lasts = float(answer.get("expires_in") or LASTS_SECONDS)
        _kept[server_id] = _Kept(str(answer["access_token"]), time.monotonic() + lasts, oauth)
        return _kept[server_id].access_token


def _read(oauth: str) -> dict[str, str]:
    try:
        access = json.loads(oauth)
        return {**access, **{name: access[name] for name in ("token_url", "client_id", "refresh_token")}}
    except (ValueError, TypeError, KeyError):
        raise _no_token(
            "The OAuth 2.0 access is not complete: it needs token_url, client_id and refresh_token. "
            "Enter them again in the server's settings."
        ) from None


def _refreshed(access: Mapping[str, str]) -> Mapping[str, Any]:
    """Ask the provider (refresh token grant). Raises RelayUnreachable; no secret gets into its words."""
    client_class, oauth_error, http_error = _library()
    where = access["token_url"]
    try:
        with client_class(
            access["client_id"], access.get("client_secret") or None, timeout=TIMEOUT_SECONDS
        ) as client:
            answer: Mapping[str, Any] = client.refresh_token(where, refresh_token=access["refresh_token"])
    except oauth_error as error:
        raise _no_token(
            f"{where} refuses to give an access token ({getattr(error, 'error', '')}). Log in at the "
            "provider again and enter the new refresh token in the server's settings.",
            is_permanent=True,
        ) from None
    except (http_error, ValueError, KeyError) as error:
        raise _no_token(f"No access token could be had from {where} ({type(error).__name__}).") from None
    if not answer.get("access_token"):
        raise _no_token(f"{where} answered without an access token.")
    return answer


def _library() -> tuple[Any, type[Exception], type[Exception]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it speaks of how it imports httpx, which is not ours to change
            import httpx
            from authlib.integrations.base_client.errors import OAuthError  # type: ignore[import-untyped]
            from authlib.integrations.httpx_client import OAuth2Client  # type: ignore[import-untyped]
    except ImportError:
        raise _no_token(
            "OAuth 2.0 needs a library that is not installed: pip install 'postroom[oauth]', then start "
            "Postroom again.",
            is_permanent=True,
        ) from None
    return OAuth2Client, OAuthError, httpx.HTTPError


def _keep_refresh_token(
    server_id: int, oauth: str, access: Mapping[str, str], answer: Mapping[str, Any]
) -> str:
    """Some providers give a new refresh token each time; the old one soon ends."""
    renewed = answer.get("refresh_token") or access["refresh_token"]
    if renewed == access["refresh_token"]:
        return oauth
    changed = json.dumps({**access, "refresh_token": renewed})
    try:
        MailServer.objects.filter(pk=server_id).update(oauth=changed)
    finally:
        connections.close_all()
    return changed


def _no_token(words: str, *, is_permanent: bool = False) -> RelayUnreachable:
    return RelayUnreachable(words, step="auth", is_permanent=is_permanent)
