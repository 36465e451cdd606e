"""What each stored field is about, so that erasure and export can be worked out from the code.

Every model carries `classified = Classified(...)`. A test refuses a field that is not named there.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kept(StrEnum):
    """How long rows of a table stay."""

    WITH_WORKSPACE = "with the workspace"
    WITH_RECORD = "with the record"
    WITH_MESSAGE = "with the message"
    UNTIL_REFERENCED_NO_MORE = "until nothing refers to it"
    LIMITED = "for a limited time, then removed by Auto-Vacuum"
    INSTALLATION = "with the installation"


@dataclass(frozen=True, slots=True)
class Classified:
    """The fields of one model by what they hold.

    `personal`: an address, a name or anything else that says who somebody is. `content`: what was said.
    `secret`: keys and their digests. `plain`: neither. `kept`: how long a row stays.
    """

    kept: Kept
    plain: tuple[str, ...]
    personal: tuple[str, ...] = ()
    content: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """Every field named, in no particular order."""
        return self.plain + self.personal + self.content + self.secret
