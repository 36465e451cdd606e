"""FROM Filtering: from which domains and addresses a server lets us send."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from postroom.wire.address import AddressError, clean_name, normalise

_SEPARATOR: Final = re.compile(r"[\s,;]+")


@dataclass(frozen=True, slots=True)
class FromFilter:
    """Normalised addresses and domains that a server accepts in From; an empty filter accepts any.

    A domain stands for the addresses on exactly that domain, not for those on its subdomains.
    """

    addresses: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> FromFilter:
        """Read domains and addresses separated by commas or white space; a domain may be written `@domain`.

        Raises ValueError, whose message names the entry that is neither and says how to write it.
        """
        entries = [entry for entry in _SEPARATOR.split(text) if entry]
        read = [_normal(entry) for entry in entries]
        return cls(
            frozenset(entry for entry in read if "@" in entry),
            frozenset(entry for entry in read if "@" not in entry),
        )

    def __str__(self) -> str:
        return ", ".join([*sorted(self.domains), *sorted(self.addresses)])

    @property
    def is_any(self) -> bool:
        """Does it name nothing, so that every From is accepted?"""
        return not (self.addresses or self.domains)

    @property
    def all_domains(self) -> frozenset[str]:
        """The domains that are named, be it by one address."""
        return self.domains | {_domain_of(address) for address in self.addresses}

    def accepts_address(self, addr_spec: str) -> bool:
        """May a (normalised) address be From: because nothing is named, or it or its domain is?"""
        return self.is_any or self.accepts_exactly(addr_spec) or self.accepts_domain(_domain_of(addr_spec))

    def accepts_exactly(self, addr_spec: str) -> bool:
        """Is this very address named?"""
        return addr_spec in self.addresses

    def accepts_domain(self, domain: str) -> bool:
        """Is this whole domain named?"""
        return domain in self.domains

    def covers(self, other: FromFilter) -> bool:
        """Is everything that the other accepts accepted here, too? Only an empty one covers an empty one."""
        if self.is_any or other.is_any:
            return self.is_any
        return other.domains <= self.domains and all(map(self.accepts_address, other.addresses))


def _domain_of(addr_spec: str) -> str:
    return addr_spec.rpartition("@")[2]


def _normal(entry: str) -> str:
    """An address, or a domain without its @."""
    local_part, _, domain = entry.rpartition("@")
    try:
        if "*" in entry:
            raise AddressError("a wildcard")
        address = normalise(f"{local_part or 'anybody'}@{domain}")
    except AddressError:
        raise ValueError(
            f"“{clean_name(entry)[:80]}” is neither a domain nor an address. Write for example "
            "example.com, sales@example.org"
        ) from None
    return address if local_part else _domain_of(address)
