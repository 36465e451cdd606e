"""Access tokens for servers that are logged in to by OAuth 2.0: refreshed when needed, kept while they hold.

What a server's `oauth` holds is a JSON object: token_url, client_id, refresh_token, and client_secret if the
client has one (RFC 6749 §6).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connections, transaction

from postroom.outgoing import provider_calls
from postroom.outgoing.models import MailServer
from postroom.smtp.errors import RelayUnreachable
from postroom.wire.characters import shortened

SPARE_SECONDS = 60.0
LASTS_SECONDS = 300.0  # where the provider does not say
LASTS_AT_MOST_SECONDS = 86_400.0
TIMEOUT_SECONDS = 15.0  # for the whole answer, however slowly it comes
ANSWER_OCTETS = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Kept:
    access_token: str
    ends_at: float
    oauth: str


_kept: dict[int, _Kept] = {}
_locks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)


def token_of(server: MailServer) -> Callable[[], str]:
    """Return what gets an access token for a server. It may block, so call it in a thread.

    Calling it raises RelayUnreachable (step auth) with the remedy, whatever went wrong: nothing was sent, and
    the refresh token is as it was.
    """
    return lambda: _token(server.pk, server.oauth)


def forget(server_id: int) -> None:
    """The server did not let us in: get a new token the next time."""
    _kept.pop(server_id, None)


def _token(server_id: int, oauth: str) -> str:
    lock = _locks[server_id]
    if not lock.acquire(timeout=TIMEOUT_SECONDS):
        raise _no_token("No access token could be had in time: another connection still waits for one.")
    try:
        kept = _kept.get(server_id)
        if kept is not None and kept.oauth == oauth and kept.ends_at - SPARE_SECONDS > time.monotonic():
            return kept.access_token
        access = _read(oauth)
        answer = _refreshed(access)
        oauth = _keep_refresh_token(server_id, oauth, access, answer)
        _kept[server_id] = _Kept(answer["access_token"], time.monotonic() + _lasts_seconds(answer), oauth)
        return _kept[server_id].access_token
    finally:
        lock.release()


def _lasts_seconds(answer: Mapping[str, Any]) -> float:
    try:
        seconds = float(answer.get("expires_in") or LASTS_SECONDS)
    except (TypeError, ValueError):
        return LASTS_SECONDS
    return min(max(seconds, 0.0), LASTS_AT_MOST_SECONDS) if math.isfinite(seconds) else LASTS_SECONDS


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
    client_class, oauth_error = _library()
    where = access["token_url"]
    try:
        answer = _in_time(_asked(client_class, access))
    except oauth_error as error:
        raise _no_token(
            f"{where} refuses to give an access token ({getattr(error, 'error', '')}). Log in at the "
            "provider again and enter the new refresh token in the server's settings.",
            is_permanent=True,
        ) from None
    except provider_calls.NotToBeAsked as error:
        raise _no_token(str(error), is_permanent=True) from None
    except Exception as error:  # of the network, of the library, or of an answer that nobody foresaw
        raise _no_token(f"No access token could be had from {where} ({type(error).__name__}).") from None
    if not _is_token(answer.get("access_token")):
        raise _no_token(f"{where} answered without an access token that can be used.")
    return answer


async def _asked(client_class: Any, access: Mapping[str, str]) -> Mapping[str, Any]:
    """All of it within TIMEOUT_SECONDS: a timeout for each read lets an answer drip in for ever."""
    async with (
        asyncio.timeout(TIMEOUT_SECONDS),
        client_class(
            access["client_id"],
            access.get("client_secret") or None,
            timeout=TIMEOUT_SECONDS,
            headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [_bound]},
            transport=provider_calls.transport(),
            trust_env=False,  # a proxy would look the name up anew
        ) as client,
    ):
        answer: Any = await client.refresh_token(access["token_url"], refresh_token=access["refresh_token"])
    if not isinstance(answer, Mapping):
        raise TypeError
    return answer


def _in_time(asked: Any) -> Mapping[str, Any]:
    """Run it in a loop that is left at once: `asyncio.run` would wait for a name server that hangs."""
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        answer: Mapping[str, Any] = loop.run_until_complete(asked)
        return answer


class _TooLong(Exception):
    """No token is this long."""


async def _bound(response: Any) -> None:
    """Read no more of an answer than a token needs, and nothing that grows when it is unpacked."""
    import httpx

    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _TooLong
    whole = response.stream

    class Bounded(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            count = 0
            async for octets in whole:
                count += len(octets)
                if count > ANSWER_OCTETS:
                    raise _TooLong
                yield octets

        async def aclose(self) -> None:
            await whole.aclose()

    response.stream = Bounded()


def _is_token(token: object) -> bool:
    """Visible ASCII characters and spaces (RFC 6749 appendix A.12)."""
    return isinstance(token, str) and bool(token) and token.isascii() and token.isprintable()


def _library() -> tuple[Any, type[Exception]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it speaks of how it imports httpx, which is not ours to change
            from authlib.integrations.base_client.errors import OAuthError  # type: ignore[import-untyped]
            from authlib.integrations.httpx_client import AsyncOAuth2Client  # type: ignore[import-untyped]
    except ImportError:
        raise _no_token(
            "OAuth 2.0 needs a library that is not installed: pip install 'postroom[oauth]', then start "
            "Postroom again.",
            is_permanent=True,
        ) from None
    return AsyncOAuth2Client, OAuthError


def _keep_refresh_token(
    server_id: int, oauth: str, access: Mapping[str, str], answer: Mapping[str, Any]
) -> str:
    """Some providers give a new refresh token each time; the old one soon ends.

    It replaces only what it came from: whoever entered another access meanwhile meant that one.
    """
    renewed = answer.get("refresh_token")
    if not _is_token(renewed) or renewed == access["refresh_token"]:
        return oauth
    changed = json.dumps({**access, "refresh_token": renewed})
    try:
        with transaction.atomic():
            server = MailServer.objects.select_for_update().only("oauth").filter(pk=server_id).first()
            if server is not None and server.oauth == oauth:
                MailServer.objects.filter(pk=server_id).update(oauth=changed)
    finally:
        connections.close_all()
    return changed


def _no_token(words: str, *, is_permanent: bool = False) -> RelayUnreachable:
    return RelayUnreachable(shortened(words), step="auth", is_permanent=is_permanent)
