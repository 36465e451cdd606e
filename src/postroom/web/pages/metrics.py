"""What Prometheus reads."""

from __future__ import annotations

import ipaddress
import secrets

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from postroom.diagnostics import scrape

KEPT_SECONDS = 5
_REFUSED = (
    "Metrics are read from this machine itself, at localhost or 127.0.0.1, as long as no token is set, or "
    "with a token from anywhere: "
    "set POSTROOM_METRICS_TOKEN (or POSTROOM_METRICS_TOKEN_FILE) and send it as "
    "“Authorization: Bearer <token>”.\n"
)
_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_REAL_IP")


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics, as of five seconds ago at most. Who may not read them is told what would help (403)."""
    if not may_watch(request):
        return HttpResponse(_REFUSED, status=403, content_type="text/plain; charset=utf-8")
    accept = request.headers.get("Accept", "")
    is_open = "application/openmetrics-text" in accept
    key = f"postroom.metrics.{is_open}"
    body, content_type = cache.get_or_set(key, lambda: scrape.written(accept), KEPT_SECONDS) or (b"", "")
    return HttpResponse(body, content_type=content_type)


def may_watch(request: HttpRequest) -> bool:
    """May whoever asks read how the installation is? With the token; without one set, on this machine."""
    token = str(getattr(settings, "POSTROOM_METRICS_TOKEN", ""))
    if not token:
        return _is_from_here(request)
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and secrets.compare_digest(given.strip().encode(), token.encode())


def _is_from_here(request: HttpRequest) -> bool:
    """Somebody on this machine, and not a proxy on it that speaks for somebody else."""
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    if not address.is_loopback or any(name in request.META for name in _FORWARDED):
        return False
    host = request.META.get("HTTP_HOST")
    return host is None or _is_this_machine(host)  # no browser leaves it out


def _is_this_machine(host: str) -> bool:
    """Does the Host header name this machine? A page that a browser here shows may be from a host whose name
    leads here only since it was loaded; what is asked for it names that host.
    """
    name = split_domain_port(host)[0].strip("[]")
    if name == "localhost" or name.endswith(".localhost"):  # no name of DNS (RFC 6761 §6.3)
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified  # POSTROOM_HTTP may say 0.0.0.0, and leads here, too
