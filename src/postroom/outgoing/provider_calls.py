"""How a provider of OAuth 2.0 access is asked: at an address that was checked, and nowhere else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from postroom.outgoing import reach

if TYPE_CHECKING:
    import httpx

HTTP_PORT = 80
HTTPS_PORT = 443
ANYWHERE_PUBLIC = reach.Reach()


class NotToBeAsked(Exception):
    """The token address leads where a server may not lead, or in clear. Nothing was connected to."""


def may_be_asked(token_url: str) -> bool:
    """May a server be entered with this token address? A name is not looked up: that is done on asking."""
    try:
        parts = urlsplit(token_url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return False
    if parts.scheme == "http":
        return any(_may_be(number, port or HTTP_PORT, is_tls=False) for number in reach.numbers_of(host, 0))
    return parts.scheme == "https" and bool(host) and ANYWHERE_PUBLIC.may_be_called(host, port or HTTPS_PORT)


def transport() -> httpx.AsyncBaseTransport:
    """Look the name up, check the address and connect to that very one; the certificate is the name's."""
    import httpx

    class Checked(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            url = request.url
            address = await asyncio.to_thread(_checked_address, url.host, url.port, url.scheme == "https")
            request.extensions = {**request.extensions, "sni_hostname": url.host}
            request.url = url.copy_with(host=address)
            return await super().handle_async_request(request)

    return Checked()


def _checked_address(host: str, port: int | None, is_tls: bool) -> str:
    """Raises NotToBeAsked, with the remedy, and OSError for a name that is nobody's."""
    port = port or (HTTPS_PORT if is_tls else HTTP_PORT)
    addresses = reach.addresses_of(host, port)
    if not addresses:
        raise OSError(f"{host} cannot be found")
    for address in addresses:
        if _may_be(address, port, is_tls=is_tls):
            return address
    raise NotToBeAsked(
        f"{host} may not be asked for an access token: it is not in the open internet, or its address does "
        "not begin with https://. Correct the token address in the server's settings, or ask an operator "
        "(POSTROOM_PRIVATE_NETWORKS)."
    )


def _may_be(address: str, port: int, *, is_tls: bool) -> bool:
    """In clear only within the networks that an operator has named: a refresh token is a secret."""
    return ANYWHERE_PUBLIC(address, port) and (is_tls or reach.is_named(address))
