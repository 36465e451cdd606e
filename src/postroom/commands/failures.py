"""Turns what can go wrong by somebody's doing into one sentence with its remedy."""

from __future__ import annotations

import errno
from dataclasses import dataclass

WRONG_USE = 2


class Stopped(Exception):
    """A command cannot go on; the message names the remedy. Exits 1, or 2 if the command was used wrongly."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def wrong_use(sentence: str) -> Stopped:
    """What is raised for an argument that cannot be meant."""
    return Stopped(sentence, WRONG_USE)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is said on stderr, and the exit code."""

    sentence: str
    exit_code: int = 1


# By name, so that knowing an error does not mean importing what raises it.
_SAID_AS_THEY_ARE = {
    "postroom_server.config.FolderUnusable": 1,
    "postroom_server.config.ConfigError": WRONG_USE,
    "postroom.workspaces.refusals.RequestRefused": 1,
    "postroom.workspaces.installation.KeysDoNotFit": 1,
    "postroom.workspaces.installation.AnotherRuns": 1,
    "postroom.engine.bells.EngineTaken": 1,
    "postroom_server.store.refusals.StoreRefused": 1,
    "postroom.wire.address.AddressError": WRONG_USE,
}


def sentence_for(error: BaseException) -> Refusal | None:
    """The sentence for an error that people can cause; None for a defect."""
    if isinstance(error, Stopped):
        return Refusal(str(error), error.exit_code)
    for kind in type(error).__mro__:
        code = _SAID_AS_THEY_ARE.get(f"{kind.__module__}.{kind.__qualname__}")
        if code is not None:
            return Refusal(str(error), code)
    return _of_database(error) or _of_files(error)


_MOVED = "no such function: This installation was moved to "  # a trigger of `migrate-store` says it


def _of_database(error: BaseException) -> Refusal | None:
    if type(error).__module__ != "django.db.utils":
        return None
    reason = " ".join(str(error).split())
    if reason.startswith(_MOVED):
        return Refusal(reason.removeprefix("no such function: "))
    if "no such table" in reason or "does not exist" in reason:
        return Refusal(f"The database is not set up ({reason}). Start `postroom up` once, then try again.")
    if "readonly database" in reason or "unable to open database file" in reason:
        return Refusal(
            f"The database cannot be written to ({reason}). Give this user the right to write to the data "
            "folder and everything in it, or name another with POSTROOM_DATA."
        )
    if type(error).__name__ in ("OperationalError", "InterfaceError"):
        return Refusal(
            f"The database does not answer: {reason}. Look at DATABASE_URL (`postroom config show`)."
        )
    return None


def _of_files(error: BaseException) -> Refusal | None:
    if not isinstance(error, OSError) or error.filename is None:
        return None
    remedy = {
        errno.ENOENT: "Name a file or folder that exists.",
        errno.EACCES: "Give this user the right to use it.",
        errno.EPERM: "Give this user the right to use it.",
        errno.EROFS: "Name a place that can be written to.",
        errno.EEXIST: "Something else is in its place: move that away, or name another folder.",
        errno.ENOTDIR: "A file is where a folder has to be: name another folder.",
        errno.EISDIR: "Name a file, not a folder.",
        errno.ENOSPC: "Make room on that disk.",
    }
    if error.errno not in remedy:
        return None
    return Refusal(f"{error.filename}: {error.strerror}. {remedy[error.errno]}")
