"""Just enough of JSON Schema to hold what commands print against docs/reference/schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def problems(
    value: Any, schema: dict[str, Any], *, root: dict[str, Any] | None = None, at: str = "$"
) -> Iterator[str]:
    """Everything about the value that the schema does not allow; a property it does not know is one too."""
    root = root or schema
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        if all(list(problems(value, option, root=root, at=at)) for option in schema["anyOf"]):
            yield f"{at}: {value!r} fits none of the options"
        return
    if "type" in schema and not _TYPES[schema["type"]](value):
        yield f"{at}: {value!r} is no {schema['type']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    if schema.get("format") == "date-time" and datetime.fromisoformat(value).tzinfo is None:
        yield f"{at}: {value!r} has no time zone"
    yield from _inside(value, schema, root, at)


def _inside(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str) -> Iterator[str]:
    if isinstance(value, list) and "items" in schema:
        for position, item in enumerate(value):
            yield from problems(item, schema["items"], root=root, at=f"{at}[{position}]")
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        yield from (f"{at}.{name}: missing" for name in schema.get("required", []) if name not in value)
        yield from (f"{at}.{name}: not in the schema" for name in value if name not in known)
        for name in value.keys() & known.keys():
            yield from problems(value[name], known[name], root=root, at=f"{at}.{name}")
