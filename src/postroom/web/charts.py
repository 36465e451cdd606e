"""Small charts as SVG that the server draws: no script, no style attribute, and a table that says the same.

A line is told by its colour and its dashes; colours are those of the stylesheet, so both themes have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

WIDTH, HEIGHT = 600, 100
TABLE_ROWS = 28


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: its words, its look, and what it is at each time (a time that is missing is 0).

    `dashes` is an SVG dash pattern, "" a whole line; `colour` the name of a colour of the stylesheet.
    """

    words: str
    values: Mapping[datetime, float]
    colour: str = "ink-2"
    dashes: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart over pieces of time from `begins_at` on, each `step` long. `unit` follows a figure ("s")."""

    title: str
    lines: Sequence[Line]
    begins_at: datetime
    step: timedelta
    count: int
    unit: str = ""
    is_peak: bool = False

    @property
    def times(self) -> list[datetime]:
        """When each piece begins."""
        return [self.begins_at + self.step * number for number in range(self.count)]

    @property
    def last_at(self) -> datetime | None:
        """When the last piece begins for which there is a figure; None: there is none."""
        return max((at for line in self.lines for at in line.values), default=None)

    @property
    def most(self) -> float:
        """The highest value there is; 0 where nothing was."""
        return max((value for line in self.lines for value in line.values.values()), default=0.0)

    @property
    def top(self) -> str:
        """What the upper edge stands for, in words."""
        return self.shown(self.most)

    @property
    def summary(self) -> str:
        """The chart in a sentence, for who does not see it."""
        parts = ", ".join(f"{line.words}: {self.shown(self.of(line))}" for line in self.lines)
        how = _("highest values") if self.is_peak else _("in all")
        return f"{self.title}, {how}: {parts}"

    def of(self, line: Line) -> float:
        """A line as one figure: its highest value, or the sum of what was counted."""
        values = line.values.values()
        return max(values, default=0.0) if self.is_peak else sum(values)

    def shown(self, value: float) -> str:
        """A figure with its unit."""
        return f"{value:,.0f}{self.unit}"

    @property
    def picture(self) -> SafeString:
        """The chart itself."""
        lines = format_html_join("", "{}", ((self._drawn(line),) for line in self.lines))
        return format_html(
            '<svg class="chart" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
            '<path d="M0 {}H{}M0 .5H{}" stroke="var(--line)"/>{}</svg>',
            WIDTH, HEIGHT, self.summary, HEIGHT - 0.5, WIDTH, WIDTH, lines,
        )  # fmt: skip

    def _drawn(self, line: Line) -> SafeString:
        points = " ".join(
            f"{number * WIDTH / max(1, self.count - 1):.1f},{self._height(line.values.get(at, 0.0)):.1f}"
            for number, at in enumerate(self.times)
        )
        return format_html(
            '<polyline points="{}" fill="none" stroke="var(--{})" stroke-width="1.5" stroke-dasharray="{}" '
            'vector-effect="non-scaling-stroke"/>',
            points, line.colour, line.dashes or "none",
        )  # fmt: skip

    def _height(self, value: float) -> float:
        return HEIGHT - 1 - (HEIGHT - 3) * (value / self.most if self.most else 0.0)

    @property
    def keys(self) -> list[tuple[SafeString, str]]:
        """A sample of each line, and its words."""
        return [(_sample(line), line.words) for line in self.lines]

    @property
    def rows(self) -> list[tuple[datetime, list[str]]]:
        """The table beside it: several pieces a row, for nobody reads hundreds; the newest first."""
        pieces = -(-self.count // TABLE_ROWS)
        times = self.times
        groups = [times[start : start + pieces] for start in range(0, self.count, pieces)]
        return [(group[0], [self._figure(line, group) for line in self.lines]) for group in reversed(groups)]

    def _figure(self, line: Line, group: Sequence[datetime]) -> str:
        values = [line.values.get(at, 0.0) for at in group]
        return self.shown(max(values) if self.is_peak else sum(values))


def _sample(line: Line) -> SafeString:
    return format_html(
        '<svg viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d="M0 8H16" stroke="var(--{})" '
        'stroke-width="2" stroke-dasharray="{}"/></svg>',
        line.colour, line.dashes or "none",
    )  # fmt: skip
