"""What a chart draws, and that its table says the same."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.web.charts import HEIGHT, TABLE_ROWS, WIDTH, Chart, Line

BEGIN = datetime(2026, 11, 21, tzinfo=UTC)
HOUR = timedelta(hours=1)


def chart(*lines: Line, count: int = 4, is_peak: bool = False) -> Chart:
    return Chart("Attempts", lines, BEGIN, HOUR, count, is_peak=is_peak)


def line(*values: float, words: str = "Sent") -> Line:
    return Line(words, {BEGIN + HOUR * number: value for number, value in enumerate(values)})


def heights(drawn: Chart) -> list[list[float]]:
    picture = ElementTree.fromstring(drawn.picture)
    points = [each.attrib["points"] for each in picture if each.tag == "polyline"]
    return [[float(point.split(",")[1]) for point in each.split()] for each in points]


def test_the_highest_value_reaches_the_top_and_nothing_lies_on_the_ground() -> None:
    [drawn] = heights(chart(line(0, 50, 100)))
    assert drawn[0] == drawn[3] == HEIGHT - 1
    assert drawn[2] == 2
    assert drawn[1] == (drawn[0] + drawn[2]) / 2


def test_an_empty_chart_is_a_flat_line() -> None:
    [drawn] = heights(chart(Line("Sent", {})))
    assert set(drawn) == {HEIGHT - 1}


@given(st.lists(st.lists(st.floats(0, 1e9), max_size=40), min_size=1, max_size=3))
def test_every_point_lies_inside_the_picture(values: list[list[float]]) -> None:
    drawn = chart(*(line(*each) for each in values), count=40)
    for row in heights(drawn):
        assert len(row) == 40
        assert all(0 <= height <= HEIGHT for height in row)
    places = re.findall(r"[\" ]([\d.]+),[\d.]+(?=[ \"])", re.sub(r'aria-label="[^"]*"', "", drawn.picture))
    assert len(places) == 40 * len(values)
    assert all(0 <= float(place) <= WIDTH for place in places)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300))
def test_the_table_adds_up_to_what_was_counted(values: list[int]) -> None:
    drawn = chart(line(*values), count=len(values))
    assert sum(int(figures[0].replace(",", "")) for _, figures in drawn.rows) == sum(values)
    assert len(drawn.rows) <= TABLE_ROWS


def test_the_table_of_what_was_measured_shows_the_peaks_the_newest_first() -> None:
    drawn = chart(line(*range(56)), count=56, is_peak=True)
    assert drawn.rows[0] == (BEGIN + 54 * HOUR, ["55"])
    assert drawn.rows[-1] == (BEGIN, ["1"])


def test_the_picture_has_words_and_no_style_that_the_page_forbids() -> None:
    drawn = chart(line(3, 4, words='Sent & "taken"'))
    assert "style=" not in drawn.picture
    assert ElementTree.fromstring(drawn.picture).attrib["aria-label"] == (
        'Attempts, in all: Sent & "taken": 7'
    )


@pytest.mark.parametrize(("is_peak", "figure"), [(False, "7"), (True, "4")])
def test_the_summary_adds_up_or_takes_the_peak(is_peak: bool, figure: str) -> None:
    assert chart(line(3, 4), is_peak=is_peak).summary.endswith(f"Sent: {figure}")
