"""The three questions of the very first start at a terminal."""

from __future__ import annotations

import re

import typer


def ask_for_workspace() -> None:
    """Ask for name, administrator and password, each until it is good, and found the workspace."""
    from postroom.flows.founding import found_workspace
    from postroom.workspaces.refusals import RequestRefused

    print("This is the first start. Three questions:")
    name = _ask_name()
    address = _ask_address()
    password = _ask_password(address)
    while True:
        try:
            founded = found_workspace(name=name, slug=slug_of(name), admin_address=address, password=password)
        except RequestRefused as refusal:  # of the name: the other two are known to be good
            print(refusal)
            name = _ask_name()
            continue
        print(f"Log in as {address} at {founded.login_url}")
        return


def _ask_name() -> str:
    return str(typer.prompt("Name of the workspace", default="My company"))


def _ask_address() -> str:
    from postroom.wire.address import AddressError, normalise

    while True:
        try:
            return normalise(typer.prompt("Address of the administrator", default="admin@example.com"))
        except AddressError as error:
            print(error)


def _ask_password(address: str) -> str:
    from django.contrib.auth import get_user_model
    from django.contrib.auth.password_validation import validate_password
    from django.core.exceptions import ValidationError

    while True:
        password = str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
        try:
            validate_password(password, get_user_model()(email=address))
        except ValidationError as error:
            print(" ".join(error.messages))
            continue
        return password


def slug_of(name: str) -> str:
    """A short name made from a name: "Casa Verde S.A." becomes casa-verde-s-a."""
    import unicodedata

    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "main"
