"""The reference of all commands, generated from the commands themselves.

`python -m postroom.commands.reference docs/reference/cli.md` writes it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEAD = """# Commands

Every command says what it does with `--help`. It exits 0 only on success, 1 with one sentence on stderr
when it cannot be done, and 2 when it was used wrongly. With `--json` it prints one JSON object; the shapes
are in `docs/reference/schemas` as JSON Schema, one file per command.

Commands work on the data folder that `POSTROOM_DATA` names (`postroom-data` if it names none;
`postroom demo` uses `postroom-demo`). They may run beside a running `postroom up`.
"""


def reference() -> str:
    """The whole page as Markdown."""
    import typer

    from postroom.commands.line import app

    return "\n".join([HEAD, *_of_group(typer.main.get_command(app), "postroom")])


def _of_group(group: Any, words: str) -> Iterator[str]:
    for name, command in group.commands.items():
        here = f"{words} {name}"
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield from _of_command(command, here)
        if hasattr(command, "commands"):
            yield from _of_group(command, here)


def _of_command(command: Any, words: str) -> Iterator[str]:
    arguments = " ".join(
        f"`{param.metavar or param.name.upper()}`" for param in command.params if _is_argument(param)
    )
    yield f"## {words}\n"
    yield " ".join((command.help or "").split()) + "\n"
    if arguments:
        yield f"Takes {arguments}.\n"
    if command.epilog:
        yield f"    {command.epilog.removeprefix('Example: ')}\n"
    options = [
        param for param in command.params if not _is_argument(param) and param.help and not param.hidden
    ]
    yield from (f"- `{_spelled(option)}`: {option.help}" for option in options if option.name != "help")
    yield ""


def _is_argument(param: Any) -> bool:
    return bool(param.param_type_name == "argument")


def _spelled(option: Any) -> str:
    names = " / ".join([*option.opts, *option.secondary_opts])
    return f"{names} {option.metavar}" if option.metavar else names


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), "utf-8")
