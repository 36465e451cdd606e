"""Access tokens are fetched in threads of their own and never awaited for long.

Whoever gives tokens may be slow, or mean to be: that must stop neither other servers nor the threads that
everything else runs in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from postroom.smtp.errors import NoToken, RelayUnreachable
from postroom.wire.characters import shortened

THREAD_COUNT: Final = 16
TOKEN_SECONDS: Final = 20.0
_THREADS: Final = ThreadPoolExecutor(THREAD_COUNT, thread_name_prefix="tokens")


async def fetched(token: Callable[[], str], seconds: float = TOKEN_SECONDS) -> bytes:
    """Return an access token. Raises NoToken, whatever went wrong: nothing was sent to the relay."""
    try:
        async with asyncio.timeout(seconds):
            bearer = await asyncio.get_running_loop().run_in_executor(_THREADS, token)
        return bearer.encode("ascii")
    except RelayUnreachable as failure:
        raise NoToken(shortened(str(failure)), is_permanent=failure.is_permanent) from None
    except TimeoutError:
        raise NoToken(f"No access token could be had within {seconds:g} s.") from None
    except Exception as error:  # of a network, a provider or a library: its words may hold anything
        raise NoToken(f"No access token could be had ({type(error).__name__}).") from None
