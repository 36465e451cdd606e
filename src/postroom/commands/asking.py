"""The three questions of the very first start at a terminal."""

from __future__ import annotations

import re

import typer


def ask_for_workspace() -> None:
    """Ask for name, administrator and password until they are good, and found the workspace."""
    from postroom.flows.founding import found_workspace
    from postroom.wire.address import AddressError
    from postroom.workspaces.refusals import RequestRefused

    print("This is the first start. Three questions:")
    while True:
        name = typer.prompt("Name of the workspace", default="My company")
        address = typer.prompt("Address of the administrator", default="admin@example.com")
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        try:
            founded = found_workspace(name=name, slug=slug_of(name), admin_address=address, password=password)
        except (AddressError, RequestRefused) as error:
            print(error)
            continue
        print(f"Log in as {address} at {founded.login_url}")
        return


def slug_of(name: str) -> str:
    """A short name made from a name: "Casa Verde S.A." becomes casa-verde-s-a."""
    import unicodedata

    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "main"
