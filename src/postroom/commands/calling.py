"""How this very command is called, so that what we suggest can be pasted and runs."""

from __future__ import annotations

import os
import shlex
import shutil
import sys


def line_for(arguments: str) -> str:
    """The line that runs `postroom <arguments>` on the data folder that is in use now."""
    return " ".join([*_folder(), _command(), arguments])


def as_called(sentence: str) -> str:
    """The sentence, with every `postroom …` in it as the line that runs here."""
    return sentence.replace("`postroom ", f"`{line_for('')}")


def _folder() -> list[str]:
    folder = os.environ.get("POSTROOM_DATA", "")
    return [f"POSTROOM_DATA={shlex.quote(folder)}"] if folder else []


def _command() -> str:
    if "UV" in os.environ:  # set by `uv run` alone
        return "uv run postroom"
    called = sys.argv[0] if sys.argv else ""
    is_on_path = shutil.which("postroom") is not None
    return shlex.quote(called) if called.endswith("/postroom") and not is_on_path else "postroom"
