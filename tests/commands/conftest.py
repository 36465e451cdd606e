"""Runs `postroom …` inside this process and shows what it printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from postroom.commands import main
from postroom.diagnostics import mail_log
from tests.people import Cast, cast


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it printed."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What a command printed with --json."""
        assert self.exit_code == 0, self.err
        return json.loads(self.out)


Postroom = Callable[..., Ran]


@pytest.fixture
def postroom(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Postroom]:
    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["postroom", *arguments])
        monkeypatch.delenv("COLUMNS", raising=False)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 0, printed.out, printed.err)

    yield run
    mail_log.close_log()  # a process of its own would have ended


@pytest.fixture
def people(db: None) -> Cast:
    return cast()
