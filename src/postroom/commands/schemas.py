"""The shape of every `--json` output as JSON Schema, generated from the code.

`python -m postroom.commands.schemas docs/reference/schemas` writes them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    """The name of each command (`queue list`) with the schema of what it prints with --json."""
    for command, shape in _shapes().items():
        yield command, _schema_of(command, shape)


def write(folder: Path) -> None:
    """Write one file per command: `queue-list.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    for command, schema in schemas():
        path = folder / f"{command.replace(' ', '-')}.json"
        path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _shapes() -> dict[str, Any]:
    """What each command prints: a shape, or a list of one for `{"data": [...]}`."""
    from postroom.commands import (
        explaining,
        inbound,
        keys,
        log_search,
        queue,
        settings,
        target,
        users,
        workspaces,
    )
    from postroom.flows import capture_shapes, parameter_shapes, shapes

    return {
        "workspace create": workspaces.FoundedShape,
        "workspace list": list[shapes.WorkspaceShape],
        "workspace set": shapes.WorkspaceShape,
        "user list": list[shapes.MemberShape],
        "user invite": users.LinkShape,
        "user reset-link": users.LinkShape,
        "record list": list[shapes.RecordShape],
        "record put": shapes.RecordShape,
        "message post": shapes.MessageShape | shapes.ScheduledShape,
        "message scheduled": list[shapes.ScheduledShape],
        "message reschedule": shapes.ScheduledShape | shapes.MessageShape,
        "message call-off": shapes.ScheduledShape | shapes.MessageShape,
        "queue list": list[shapes.EmailShape],
        "queue retry": queue.CountShape,
        "queue send-now": queue.CountShape,
        "queue cancel": queue.CountShape,
        "inbound log": list[shapes.ReceivedShape],
        "inbound repost": shapes.ReceivedShape,
        "inbound feed": inbound.ReplyShape,
        "explain": explaining.ExplanationShape | explaining.TrailShape,
        "capture status": capture_shapes.CaptureShape,
        "capture on": capture_shapes.CaptureShape,
        "capture off": capture_shapes.CaptureShape,
        "key create": keys.NewKeyShape,
        "key list": list[shapes.KeyShape],
        "key revoke": shapes.KeyShape,
        "parameter list": list[parameter_shapes.ParameterShape],
        "parameter set": parameter_shapes.ParameterShape,
        "config show": list[settings.SettingShape],
        "readyz": settings.ReadinessShape,
        "log search": list[log_search.LogLineShape],
        "target list": list[target.TargetMailShape],
        "target show": target.TargetMailShape,
        **_shapes_of_ways_out(),
        **_shapes_of_store(),
    }


def _shapes_of_store() -> dict[str, Any]:
    from postroom.commands import backup, moving, restoring

    return {
        "backup create": backup.BackupShape,
        "backup verify": backup.BackupShape,
        "restore": restoring.RestoredShape,
        "migrate-store": moving.MovedShape,
    }


def _shapes_of_ways_out() -> dict[str, Any]:
    from postroom.commands import sealing
    from postroom.flows import action_shapes, domain_shapes, limit_shapes, server_shapes

    return {
        "quota show": limit_shapes.QuotaShape,
        "quota withdraw": limit_shapes.QuotaShape,
        "quota set": limit_shapes.QuotaShape,
        "quota requests": list[limit_shapes.LimitRequestShape],
        "quota grant": limit_shapes.LimitRequestShape,
        "quota decline": limit_shapes.LimitRequestShape,
        "action list": list[action_shapes.ActionShape],
        "action show": action_shapes.ActionShape,
        "action run": action_shapes.ChangedActionShape,
        "action set": action_shapes.ChangedActionShape,
        "action enable": action_shapes.ChangedActionShape,
        "action disable": action_shapes.ChangedActionShape,
        "dkim list": list[domain_shapes.DkimKeyShape],
        "dkim make": domain_shapes.DkimKeyShape,
        "dkim check": domain_shapes.DomainShape,
        "dkim activate": domain_shapes.DkimKeyShape,
        "dkim rotate": domain_shapes.DkimKeyShape,
        "dkim revoke": domain_shapes.DkimKeyShape,
        "server list": list[server_shapes.ServerShape],
        "server show": server_shapes.ServerShape,
        "server add": server_shapes.ServerShape,
        "server change": server_shapes.ServerShape,
        "server archive": server_shapes.ServerShape,
        "server unarchive": server_shapes.ServerShape,
        "server remove": server_shapes.ServerShape,
        "server test": server_shapes.ConnectionTestShape,
        "secret status": list[sealing.SecretKeyShape],
        "secret rotate": sealing.RotationShape,
        "secret reseal": sealing.RotationShape,
    }


def _schema_of(command: str, shape: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter

    schema = TypeAdapter(shape).json_schema()
    if schema.get("type") == "array":
        definitions = schema.pop("$defs", {})
        schema = {
            "type": "object",
            "properties": {"data": schema},
            "required": ["data"],
            "$defs": definitions,
        }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**head, **schema, "title": f"postroom {command} --json"}


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "postroom_server.settings")
    import django

    django.setup()
    write(Path(sys.argv[1]))
