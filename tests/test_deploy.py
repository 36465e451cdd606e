"""What is shipped for monitoring names only what exists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from postroom.diagnostics.metric_names import METRICS, series_names

ROOT = Path(__file__).parent.parent
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
BOARD = ROOT / "deploy/grafana/postroom.json"
RUNBOOK = ROOT / "docs/howto/runbook.md"
_NAME = re.compile(r"\bpostroom_[a-z_]+")


def alerts() -> dict[str, str]:
    """The lines of each alert by its name; read as text, so that no YAML reader is needed."""
    parts = re.split(r"^ +- alert: (\w+)$", ALERTS.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def expressions() -> list[str]:
    board = json.loads(BOARD.read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = re.findall(r"^ +expr: (.+)$", ALERTS.read_text(), re.MULTILINE)
    return [*rules, *queries]


def labels_of(name: str) -> set[str]:
    known = METRICS.get(name) or METRICS[re.sub("_(bucket|sum|count)$", "", name)]
    return set(known.labels) | {"le"}


def test_there_are_six_alerts_each_with_an_expression_and_a_time() -> None:
    assert len(alerts()) == 6
    for text in alerts().values():
        assert re.search(r"expr: \S", text)
        assert re.search(r"for: \d+m", text)


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_in_an_alert_or_on_the_board_exists(expression: str) -> None:
    found = _NAME.findall(expression)
    assert found
    assert set(found) <= series_names()


@pytest.mark.parametrize("expression", expressions())
def test_every_label_that_is_asked_for_exists(expression: str) -> None:
    for name, wanted in re.findall(r"(postroom_[a-z_]+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*(?:=~|!=|=)", wanted)) <= labels_of(name)
    allowed = set().union(*(labels_of(name) for name in _NAME.findall(expression)))
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {label.strip() for label in grouped.split(",")} <= allowed


def test_every_metric_is_on_the_board() -> None:
    shown = " ".join(expressions())
    assert [name for name in METRICS if name not in shown] == []


@pytest.mark.parametrize("alert", alerts())
def test_every_alert_leads_to_its_section_of_the_runbook(alert: str) -> None:
    [anchor] = re.findall(r"runbook: docs/howto/runbook\.md#(\S+)$", alerts()[alert], re.MULTILINE)
    headings = re.findall(r"^## (.+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-") for heading in headings}
    assert f"*{alert}:" in RUNBOOK.read_text()


def test_the_alerts_are_yaml_as_prometheus_wants_it() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is installed with the group lint")
    read: dict[str, Any] = yaml.safe_load(ALERTS.read_text())
    [group] = read["groups"]
    assert [rule["alert"] for rule in group["rules"]] == list(alerts())
    for rule in group["rules"]:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}


def test_no_two_panels_of_the_board_share_an_id_or_a_place() -> None:
    panels = json.loads(BOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
