"""The house limits, measured, so that drift is seen before it hurts."""

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(p for p in (ROOT / "src").rglob("*.py") if "migrations" not in p.parts)
TESTS = sorted(p for folder in ("tests", "bench") for p in (ROOT / folder).rglob("*.py"))
FORBIDDEN_WORDS = {"manager", "handler", "helper", "helpers", "utils", "service", "process", "data", "info"}
#: Names that the outside world gives us: Django, the config variables, Python's own modules.
GIVEN = {"data", "get_asgi_application", "data_received", "form_data", "cleaned_data"}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def described(sizes: list[tuple[int, str]]) -> str:
    return "\n".join(f"{size:5d}  {name}" for size, name in sorted(sizes, reverse=True)[:5])


def test_no_function_is_longer_than_60_lines_and_half_of_them_not_longer_than_8() -> None:
    sizes = [(length(f), f"{p.relative_to(ROOT)}:{f.name}") for p in SOURCES for f in functions(p)]
    assert max(sizes)[0] <= 60, described(sizes)
    assert statistics.median(size for size, _ in sizes) <= 8, described(sizes)


def test_no_file_is_longer_than_500_lines() -> None:
    sizes = [(len(p.read_text("utf-8").splitlines()), str(p.relative_to(ROOT))) for p in SOURCES + TESTS]
    assert max(sizes)[0] <= 500, described(sizes)


def test_no_name_uses_a_word_that_says_nothing() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        for name in [
            path.stem,
            *(n.name for n in ast.walk(ast.parse(path.read_text("utf-8"))) if hasattr(n, "name")),
        ]
        if isinstance(name, str) and name not in GIVEN and words_of(name) & forbidden_in(path)
    ]
    assert not found, found


def forbidden_in(path: Path) -> set[str]:
    # DATA is a verb of SMTP: where sockets are, it is the right word.
    return FORBIDDEN_WORDS - {"data"} if "smtp" in path.parts else FORBIDDEN_WORDS


def words_of(name: str) -> set[str]:
    return set(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    if path.name == "__init__.py" and not path.read_text("utf-8").strip():
        return
    assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), f"{path} has no docstring"


def test_public_functions_of_the_lower_floors_and_the_flows_have_docstrings() -> None:
    rooms = ("wire", "smtp", "flows")
    missing = [
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in SOURCES
        if any(room in path.parts for room in rooms)
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not missing, missing


def test_tests_are_sentences() -> None:
    short = [
        f"{path.relative_to(ROOT)}:{f.name}"
        for path in TESTS
        for f in functions(path)
        if f.name.startswith("test_") and len(f.name.split("_")) < 4
    ]
    assert not short, short


def test_nothing_in_the_tree_names_this_machine_or_a_registry() -> None:
    pattern = re.compile(
        "|".join(["/wor" + "k/", "/roo" + "t/", "pypi" + r"\.org", "files.python" + "hosted"])
    )
    texts = [
        p for p in ROOT.rglob("*") if p.suffix in {".py", ".md", ".toml", ".yml", ".lock", ".html", ".txt"}
    ]
    tree = [
        p for p in texts if not {".venv", ".git", "node_modules", "site"} & set(p.relative_to(ROOT).parts)
    ]
    found = [
        str(p.relative_to(ROOT)) for p in tree if p.name != "uv.lock" and pattern.search(p.read_text("utf-8"))
    ]
    assert not found, found
