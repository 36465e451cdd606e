"""What commands print: a table for people, or one JSON object for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")
_GAP = "  "
_NARROWEST = 6
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object of a stable shape.")]
InWorkspace = Annotated[
    str, typer.Option("--workspace", metavar="SLUG", help="Which workspace, where there are several.")
]


def print_json(shape: DataclassInstance | dict[str, Any]) -> None:
    """Print a shape as one JSON object; times in RFC 3339, UTC."""
    whole = shape if isinstance(shape, dict) else asdict(shape)
    json.dump(whole, sys.stdout, ensure_ascii=False, indent=2, default=_plain)
    sys.stdout.write("\n")


def print_list(
    shapes: Iterable[S], columns: Sequence[str], *, as_json: bool, words: Callable[[S], str] | None = None
) -> None:
    """Print several shapes: `{"data": [...]}` for programs, the named columns as a table for people.

    The column `what`, where it is named, holds the `words` for a shape and comes last.
    """
    listed = list(shapes)
    rows = [asdict(shape) for shape in listed]
    if as_json:
        print_json({"data": rows})
        return
    if words is not None:
        rows = [{**row, "what": words(shape)} for row, shape in zip(rows, listed, strict=True)]
    _print_table(rows, columns)


def print_one(shape: DataclassInstance, sentence: str, *, as_json: bool) -> None:
    """Print one shape for programs, or a sentence for people."""
    if as_json:
        print_json(shape)
    else:
        print_words(sentence)


def print_words(text: str) -> None:
    """Print sentences, line by line; what strangers wrote in them moves no cursor."""
    print("\n".join(map(on_terminal, text.split("\n"))))


def _print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    if not rows:
        print("Nothing there.")
        return
    heads = [column.replace("_", " ").capitalize() for column in columns]
    cells = [[cell(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    _make_fit(widths, [not isinstance(rows[0][column], datetime) for column in columns])
    for line in (heads, ["─" * width for width in widths]):
        print(_GAP.join(map(_cut, line, widths)).rstrip())
    for row in cells:
        _print_row(row, widths, is_last_wrapped=columns[-1] == "what")


def _print_row(row: Sequence[str], widths: Sequence[int], *, is_last_wrapped: bool) -> None:
    """One line, what does not fit is cut; a sentence in the last column goes on below, whole."""
    pieces = textwrap.wrap(row[-1], widths[-1]) if is_last_wrapped else [row[-1]]
    print(_GAP.join(map(_cut, (*row[:-1], pieces[0]), widths)).rstrip())
    for piece in pieces[1:]:
        print(" " * (sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)) + piece)


def _make_fit(widths: list[int], may_be_cut: Sequence[bool]) -> None:
    """Make the widest narrower until a line fits the terminal. Times are never cut, nor what is piped."""
    room = _room() - len(_GAP) * (len(widths) - 1)
    while sum(widths) > room:
        width, widest = max((width, at) for at, width in enumerate(widths) if may_be_cut[at])
        if width <= _NARROWEST:
            return
        widths[widest] -= 1


def _room() -> int:
    is_limited = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal()
    return shutil.get_terminal_size().columns if is_limited else sys.maxsize


def _cut(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"


def cell(value: Any) -> str:
    """One value as people read it, on one line."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value)) or "–"
    return on_terminal(str(value))


def on_terminal(text: str) -> str:
    """What strangers wrote may hold line ends, or what moves the cursor of a terminal: each is a space."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no JSON form")
