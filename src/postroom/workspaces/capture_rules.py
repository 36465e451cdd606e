"""Which mail capture mode keeps in: three levels, of which the strictest counts. No database here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from postroom.wire.address import AddressError, normalise
from postroom.wire.from_filter import FromFilter

ALL: Final = "all"
REDIRECT: Final = "redirect"
ALLOW: Final = "allow"
ENVIRONMENT: Final = "environment"
INSTALLATION: Final = "installation"
WORKSPACE: Final = "workspace"
FORMS: Final = "off, all, redirect:you@example.com or allow:example.com,ana@example.org"


@dataclass(frozen=True, slots=True)
class Capture:
    """What happens to mail: `mode` is "" (it leaves), all, redirect (to `to`) or allow (only `allowed`).

    Every list in `allowed` must have an address that is to be let through. `level` names who set it:
    environment, installation or workspace ("" without a mode).
    """

    mode: str = ""
    to: str = ""
    allowed: tuple[FromFilter, ...] = ()
    level: str = ""

    def lets_through(self, addr_spec: str) -> bool:
        """May mail to this (normalised) address leave, and to this very address?"""
        if self.mode == ALLOW:
            return bool(self.allowed) and all(_names(named, addr_spec) for named in self.allowed)
        return self.mode == ""

    @property
    def allowed_text(self) -> str:
        """The lists as people read them."""
        return " · ".join(map(str, self.allowed))


NO_CAPTURE: Final = Capture()


def _names(named: FromFilter, addr_spec: str) -> bool:
    return not named.is_any and named.accepts_address(
        addr_spec
    )  # a list that names nobody lets nobody through


def capture(mode: str, *, to: str = "", allowed: str = "", level: str = "") -> Capture:
    """A mode with what it needs. Raises ValueError, naming the remedy, if that is missing or unreadable."""
    match mode:
        case "all":
            return Capture(ALL, level=level)
        case "redirect":
            return Capture(REDIRECT, to=_address(to), level=level)
        case "allow":
            named = FromFilter.parse(allowed)
            if named.is_any:
                raise ValueError("Name at least one domain or address that mail may go to.")
            return Capture(ALLOW, allowed=(named,), level=level)
        case _:
            raise ValueError(f"There is no capture mode {mode!r}. Choose all, redirect or allow.")


def _address(text: str) -> str:
    try:
        return normalise(text)
    except AddressError as error:
        raise ValueError("Name the one address that gets all mail, such as you@example.com.") from error


def stored(mode: str, *, to: str, allowed: str, level: str) -> Capture:
    """As `capture`, for what lies in a table: what cannot be read there keeps everything in."""
    try:
        return capture(mode, to=to, allowed=allowed, level=level)
    except ValueError:
        return Capture(ALL, level=level)


@lru_cache(maxsize=16)
def of_environment(text: str) -> Capture:
    """What POSTROOM_CAPTURE says. Raises ValueError with the forms that it may have."""
    mode, _, rest = text.strip().partition(":")
    if mode in ("", "off") and not rest:
        return NO_CAPTURE
    try:
        return capture(mode.strip(), to=rest, allowed=rest, level=ENVIRONMENT)
    except ValueError as error:
        raise ValueError(f"{error} POSTROOM_CAPTURE is {FORMS}.") from error


def strictest(captures: Iterable[Capture]) -> Capture:
    """The one that counts, the first of a kind where several are: all before redirect before allow.

    Where several levels have lists, an address must be in all of them. A redirection to an address that a
    list of another level does not have keeps everything in.
    """
    active = [each for each in captures if each.mode]
    for mode in (ALL, REDIRECT, ALLOW):
        for found in active:
            if found.mode == mode:
                return _beside(found, [each for each in active if each.mode == ALLOW])
    return NO_CAPTURE


def _beside(found: Capture, lists: list[Capture]) -> Capture:
    if found.mode == ALLOW:
        return replace(found, allowed=tuple(named for each in lists for named in each.allowed))
    if found.mode == REDIRECT:
        for each in lists:
            if not each.lets_through(found.to):
                return Capture(ALL, level=each.level)
    return found
