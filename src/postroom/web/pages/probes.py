"""Is this process alive, and may it be given work?"""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache

from postroom.diagnostics import readiness
from postroom.web.pages.metrics import may_watch


def livez(request: HttpRequest) -> JsonResponse:
    """Alive: this process answers."""
    return JsonResponse({"status": "ok"})


@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """Ready: database and tables are as they should be, an engine runs somewhere, the disk has room.

    It answers within some seconds, also while the database hangs. Strangers read no more than that; what was
    found is for those who may read the metrics.
    """
    found = readiness.look()
    said: dict[str, object] = {"status": "ok" if found.is_ready else "not ready"}
    if may_watch(request):
        said |= {"checks": found.checks, "figures": found.figures}
    return JsonResponse(said, status=200 if found.is_ready else 503)
