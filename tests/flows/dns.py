"""DNS as a table."""

from __future__ import annotations

from dataclasses import dataclass, field

from postroom.flows.domain_check import DnsTrouble, name_of, text_of
from postroom.workspaces.models import DkimKey


@dataclass
class Zone:
    """What is published; names in `dead` are never answered."""

    txt: dict[str, list[str]] = field(default_factory=dict)
    mx: dict[str, list[str]] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)

    def texts(self, name: str) -> list[str]:
        """TXT."""
        return self._answer(self.txt, name)

    def exchanges(self, name: str) -> list[str]:
        """MX."""
        return self._answer(self.mx, name)

    def publish(self, key: DkimKey) -> None:
        """Do what the page asks for."""
        self.txt[name_of(key)] = [text_of(key)]

    def _answer(self, table: dict[str, list[str]], name: str) -> list[str]:
        if name in self.dead:
            raise DnsTrouble("The DNS operation timed out")
        return table.get(name, [])
