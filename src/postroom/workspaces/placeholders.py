"""Addresses that stand in for a real one until somebody replaces them."""

from postroom.workspaces.models import Workspace

_RESERVED_DOMAINS = ("example.com", "example.net", "example.org", "example", "invalid", "test")


def is_placeholder(addr_spec: str, workspace: Workspace) -> bool:
    """Is this admin@ a reserved domain (RFC 2606), or an address that only leads back to the workspace?

    Takes a normalised address.
    """
    local_part, _, domain = addr_spec.rpartition("@")
    if domain == workspace.subdomain:
        return True
    return local_part == "admin" and any(
        domain == reserved or domain.endswith(f".{reserved}") for reserved in _RESERVED_DOMAINS
    )
