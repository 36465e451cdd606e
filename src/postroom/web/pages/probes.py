"""Is this process alive, and may it be given work?"""

from __future__ import annotations

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.utils import timezone

from postroom.web.context import ENGINE_SILENT_AFTER
from postroom.workspaces.models import Installation


def livez(request: HttpRequest) -> JsonResponse:
    """Alive: this process answers."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """Ready: the database answers, its tables are of this version, and the engine, if any, beats."""
    checks = {"database": False, "migrations": False, "engine": False}
    try:
        checks["migrations"] = _are_migrations_done()
        checks["database"] = True
        checks["engine"] = checks["migrations"] and _is_engine_well()
    except DatabaseError:
        pass  # the answer says so
    is_ready = all(checks.values())
    status = "ok" if is_ready else "not ready"
    return JsonResponse({"status": status, "checks": checks}, status=200 if is_ready else 503)


def _are_migrations_done() -> bool:
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


def _is_engine_well() -> bool:
    """Has the engine been seen lately? An installation whose engine never ran is well too."""
    seen_at = Installation.objects.values_list("engine_seen_at", flat=True).first()
    return seen_at is None or timezone.now() - seen_at < ENGINE_SILENT_AFTER
