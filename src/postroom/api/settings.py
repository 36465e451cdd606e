"""/workspace, /capture, /parameters: what administrators set for a workspace, operators for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from django.db import transaction
from django.http import HttpRequest
from ninja import Router
from pydantic import Field

from postroom.api.callers import key_of
from postroom.api.problems import only_for
from postroom.api.records import READ_PROBLEMS
from postroom.api.shapes import Asked
from postroom.flows import arranging, capture
from postroom.flows.capture_shapes import CaptureShape, shape_of_capture
from postroom.flows.parameter_shapes import ParameterShape, shapes_of_parameters
from postroom.flows.shapes import WorkspaceShape
from postroom.flows.showing import shape_of_workspace
from postroom.workspaces.models import Member, Workspace

router = Router(tags=["settings"])


class WorkspaceToChange(Asked):
    """What is changed of the workspace; what is left out stays."""

    name: str = Field("", min_length=1, max_length=120)
    time_zone: str = Field("", min_length=1, max_length=64, description="An IANA name: Europe/Bucharest.")


class CaptureToPut(Asked):
    """How one level captures from now on; `mode` off ends it. Level installation is for operators."""

    level: Literal["workspace", "installation"] = "workspace"
    mode: Literal["off", "all", "redirect", "allow"]
    to: str = Field("", max_length=320, description="Who gets everything (redirect).")
    allow: list[str] = Field(
        default_factory=list, max_length=100, description="Domains and addresses that get mail (allow)."
    )
    retry_captured: bool = Field(False, description="With off: also send what was captured.")


class ParametersToPut(Asked):
    """Values by key, as text; an empty one goes back to the default. What is not named stays."""

    values: dict[str, str] = Field(min_length=1, max_length=100)


@dataclass(frozen=True, slots=True)
class ParameterList:
    """All parameters of the workspace."""

    data: list[ParameterShape]


@router.get("/workspace", response={200: WorkspaceShape, **READ_PROBLEMS})
def get_workspace(request: HttpRequest) -> WorkspaceShape:
    """The workspace of the key. Only for keys that act as an administrator."""
    return shape_of_workspace(_workspace_of(_admin_of(request)))


@router.patch("/workspace", response={200: WorkspaceShape, **READ_PROBLEMS})
def change_workspace(request: HttpRequest, payload: WorkspaceToChange) -> WorkspaceShape:
    """Change its name or its time zone. Only for keys that act as an administrator."""
    by = _admin_of(request)
    here = _workspace_of(by)
    with transaction.atomic():
        if payload.name:
            arranging.rename(here, payload.name, by=by)
        if payload.time_zone:
            arranging.set_time_zone(here, payload.time_zone, by=by)
    return shape_of_workspace(here)


@router.get("/capture", response={200: CaptureShape, **READ_PROBLEMS})
def get_capture(request: HttpRequest) -> CaptureShape:
    """Does mail of this workspace leave, and to whom? Only for keys that act as an administrator."""
    return shape_of_capture([_workspace_of(_admin_of(request))])


@router.put("/capture", response={200: CaptureShape, **READ_PROBLEMS})
def put_capture(request: HttpRequest, payload: CaptureToPut) -> CaptureShape:
    """Switch capture mode on, change it or switch it off. Only for keys that act as an administrator."""
    by = _admin_of(request)
    here = _workspace_of(by)
    if payload.level == "installation" and not by.is_operator:
        raise only_for("an operator")
    meant = here if payload.level == "workspace" else None
    if payload.mode == "off":
        capture.switch_off(meant, is_captured_retried=payload.retry_captured, by=by)
    else:
        capture.switch_on(meant, mode=payload.mode, to=payload.to, allowed=", ".join(payload.allow), by=by)
    return shape_of_capture([_workspace_of(by)])


@router.get("/parameters", response={200: ParameterList, **READ_PROBLEMS})
def get_parameters(request: HttpRequest) -> ParameterList:
    """The system parameters of the workspace. Only for keys that act as an administrator."""
    return ParameterList(shapes_of_parameters(_workspace_of(_admin_of(request))))


@router.put("/parameters", response={200: ParameterList, **READ_PROBLEMS})
def put_parameters(request: HttpRequest, payload: ParametersToPut) -> ParameterList:
    """Set them: all that are named, or where one is refused, none."""
    by = _admin_of(request)
    here = _workspace_of(by)
    with transaction.atomic():
        for key, value in payload.values.items():
            arranging.set_parameter(here, key, value.strip(), by=by)
    return ParameterList(shapes_of_parameters(here))


def _admin_of(request: HttpRequest) -> Member:
    member = key_of(request).member
    if not member.is_admin:
        raise only_for("an administrator")
    return member


def _workspace_of(member: Member) -> Workspace:
    return Workspace.objects.get(pk=member.workspace_id)
