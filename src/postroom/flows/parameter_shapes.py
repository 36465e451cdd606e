"""What programs are shown of System Parameters, on the command line (`--json`) and in the API."""

from __future__ import annotations

from dataclasses import dataclass

from postroom.workspaces.models import Workspace
from postroom.workspaces.parameters import KNOWN, set_in


@dataclass(frozen=True, slots=True)
class ParameterShape:
    """A System Parameter; `is_default`: nothing overrides it, `takes`: the values that it allows."""

    key: str
    value: str
    is_default: bool
    purpose: str
    takes: str


def shapes_of_parameters(workspace: Workspace) -> list[ParameterShape]:
    """All that are known, with what a workspace has set."""
    set_here = set_in(workspace.pk)
    return [
        ParameterShape(
            key, set_here.get(key, known.default), key not in set_here, str(known.purpose), str(known.parse)
        )
        for key, known in sorted(KNOWN.items())
    ]
