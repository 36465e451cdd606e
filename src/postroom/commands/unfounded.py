"""What the pages say before there is a workspace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from html import escape
from typing import Any

from postroom.commands.calling import line_for

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

PROBES = ("/livez", "/readyz", "/healthz", "/health", "/metrics")
_OPEN_PATHS = (*PROBES, "/static/")
_PLAIN = (b"content-type", b"text/plain; charset=utf-8")
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Postroom</title>
<main>
<h1>There is no workspace yet</h1>
<p>Postroom runs and waits. Make the first workspace on the machine it runs on, then reload this page:</p>
<pre>{line}</pre>
</main>
</html>
"""


def until_founded(application: Application) -> Application:
    """The application, behind a page that says how to make a workspace for as long as there is none."""
    is_founded = False

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal is_founded
        if not is_founded and _is_page(scope):
            is_founded = await asyncio.to_thread(_may_be_founded)
            if not is_founded:
                await _say_so(send)
                return
        await application(scope, receive, send)

    return guarded


def _is_page(scope: Scope) -> bool:
    return scope["type"] == "http" and not scope["path"].startswith(_OPEN_PATHS)


def _may_be_founded() -> bool:
    """Is there a workspace, as far as can be told? While the database is away, the application says so."""
    from django.db import InterfaceError, OperationalError, close_old_connections

    from postroom.workspaces.models import Workspace

    try:
        return Workspace.objects.exists()
    except (OperationalError, InterfaceError):
        return True
    finally:
        close_old_connections()


def only_probes(application: Application) -> Application:
    """The application, of which nothing can be reached but what watches over a process."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PROBES:
            await send({"type": "http.response.start", "status": 404, "headers": [_PLAIN]})
            await send({"type": "http.response.body", "body": b"The pages are served elsewhere.\n"})
            return
        await application(scope, receive, send)

    return guarded


async def _say_so(send: Send) -> None:
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"retry-after", b"10"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    line = line_for('workspace create --name "My company" --admin you@your-domain')
    await send({"type": "http.response.body", "body": _PAGE.format(line=escape(line)).encode()})
