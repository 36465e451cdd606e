"""What commands print: a table for people, or one JSON object for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object of a stable shape.")]
InWorkspace = Annotated[
    str, typer.Option("--workspace", metavar="SLUG", help="Which workspace, where there are several.")
]


def print_json(shape: DataclassInstance | dict[str, Any]) -> None:
    """Print a shape as one JSON object; times in RFC 3339, UTC."""
    whole = shape if isinstance(shape, dict) else asdict(shape)
    json.dump(whole, sys.stdout, ensure_ascii=False, indent=2, default=_plain)
    sys.stdout.write("\n")


def print_list(shapes: Iterable[DataclassInstance], columns: Sequence[str], *, as_json: bool) -> None:
    """Print several shapes: `{"data": [...]}` for programs, the named columns as a table for people."""
    rows = [asdict(shape) for shape in shapes]
    if as_json:
        print_json({"data": rows})
    else:
        _print_table(rows, columns)


def print_one(shape: DataclassInstance, sentence: str, *, as_json: bool) -> None:
    """Print one shape for programs, or a sentence for people."""
    if as_json:
        print_json(shape)
    else:
        print(sentence)


def _print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    if not rows:
        print("Nothing there.")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " ").capitalize(), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    Console(highlight=False, soft_wrap=not sys.stdout.isatty(), markup=False).print(table)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no JSON form")
