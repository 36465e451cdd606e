"""What programs are shown of capture mode: the same shape on the command line (`--json`) and in the API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from postroom.workspaces import installation
from postroom.workspaces.capture_rules import Capture
from postroom.workspaces.models import Installation, Workspace


@dataclass(frozen=True, slots=True)
class CaptureLevelShape:
    """One switch that is on: `level` is environment, installation or workspace (then `workspace` names it).

    `mode` is all, redirect (to `to`) or allow (only the domains and addresses in `allowed`).
    """

    level: str
    workspace: str | None
    mode: str
    to: str | None
    allowed: str | None


@dataclass(frozen=True, slots=True)
class CaptureShape:
    """Does mail leave? `installation` and `workspaces` say what captures; `reason` is by_hand or copy.

    `levels` are all switches that are on; the strictest of those that concern a workspace counts.
    """

    installation: bool
    since: datetime | None
    reason: str | None
    workspaces: list[str]
    levels: list[CaptureLevelShape]


def shape_of_capture(workspaces: Sequence[Workspace]) -> CaptureShape:
    """The levels that concern these workspaces, that of the installation always among them."""
    row = Installation.objects.first()
    capturing = [each for each in workspaces if each.is_capturing]
    levels = [level_of(installation.of_environment()), level_of(installation.of_installation(row))]
    levels += [level_of(installation.of_workspace(each), each.slug) for each in capturing]
    return CaptureShape(
        installation=row is not None and row.capturing_since is not None,
        since=row.capturing_since if row else None,
        reason=(row.capture_reason or None) if row else None,
        workspaces=[each.slug for each in capturing],
        levels=[level for level in levels if level is not None],
    )


def level_of(capture: Capture, slug: str | None = None) -> CaptureLevelShape | None:
    """One switch; None if it is off."""
    if not capture.mode:
        return None
    return CaptureLevelShape(
        capture.level, slug, capture.mode, capture.to or None, capture.allowed_text or None
    )
