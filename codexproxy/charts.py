"""Pure: where the marks of a chart are. The templates draw them as SVG, and as a table beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

WIDTH, HEIGHT = 600.0, 140.0
SPARK_WIDTH, SPARK_HEIGHT = 100.0, 24.0
# Less is nothing: no figure that is shown has so many decimals.
_LEAST = 1e-9
# Of a column's place, what stays free.
_GAP = 0.2


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of figure; `mark` names its colour."""

    name: str
    mark: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Rect:
    x: float
    y: float
    width: float
    height: float
    mark: str


@dataclass(frozen=True, slots=True)
class Row:
    """One part of the time, as a line of the table and as the words for its column."""

    at: datetime
    # The same for the page, here since a template takes longer over it; a page has hundreds.
    iso: str
    utc: str
    cells: tuple[str, ...]
    words: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    summary: str
    series: tuple[Series, ...]
    rects: tuple[Rect, ...]
    rows: tuple[Row, ...]
    # The scale's end, in words.
    top: str

    @property
    def middle(self) -> Row | None:
        return self.rows[len(self.rows) // 2] if self.rows else None


def stacked(
    title: str,
    summary: str,
    moments: Sequence[datetime],
    series: Sequence[Series],
    words: Callable[[float], str],
) -> Chart:
    """Columns of parts on each other. `words` says one figure."""
    sums = [sum(each.values[n] for each in series) for n in range(len(moments))]
    top = scale_end(max(sums, default=0.0))
    step = WIDTH / max(1, len(moments))
    rects = []
    for n in range(len(moments)):
        base = HEIGHT
        for each in series:
            height = HEIGHT * each.values[n] / top
            if height > 0:
                base -= height
                rects.append(
                    Rect(
                        round(n * step + step * _GAP / 2, 2),
                        round(base, 2),
                        round(step * (1 - _GAP), 2),
                        round(height, 2),
                        each.mark,
                    )
                )
    rows = [_row(n, at, series, words, step) for n, at in enumerate(moments)]
    return Chart(title, summary, tuple(series), tuple(rects), tuple(rows), words(top))


def overlaid(
    title: str,
    summary: str,
    moments: Sequence[datetime],
    series: Sequence[Series],
    words: Callable[[float], str],
) -> Chart:
    """Columns each of which reaches to the largest of its figures; they grow from one series to the next."""
    grown = [series[0]]
    for before, each in pairwise(series):
        more = [max(0.0, value - lower) for lower, value in zip(before.values, each.values, strict=True)]
        grown.append(Series(each.name, each.mark, more))
    chart = stacked(title, summary, moments, grown, words)
    rows = [_row(n, at, series, words, WIDTH / max(1, len(moments))) for n, at in enumerate(moments)]
    return replace(chart, series=tuple(series), rows=tuple(rows))


def _row(n: int, at: datetime, series: Sequence[Series], words: Callable[[float], str], step: float) -> Row:
    cells = tuple(words(each.values[n]) for each in series)
    named = ", ".join(f"{each.name.lower()} {cell}" for each, cell in zip(series, cells, strict=True))
    return Row(
        at, at.isoformat(), f"{at:%Y-%m-%d %H:%M} UTC", cells, named, round(n * step, 2), round(step, 2)
    )


def scale_end(highest: float) -> float:
    """The next of 1, 2, 5 times a power of ten: a scale that can be read."""
    if highest < _LEAST:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= highest * (1 - 1e-9))


def sparkline(values: Sequence[float]) -> str:
    """The points of a polyline from the left to the right; a flat one lies at the bottom."""
    highest = max(values, default=0.0) or 1.0
    step = SPARK_WIDTH / max(1, len(values) - 1)
    return " ".join(
        f"{n * step:.1f},{SPARK_HEIGHT - 1 - (SPARK_HEIGHT - 2) * value / highest:.1f}"
        for n, value in enumerate(values)
    )
