"""A chart's marks and the cells of its table, as HTML."""

from __future__ import annotations

from datetime import timedelta

from codexproxy.charts import Series, stacked
from codexproxy.templatetags.marks import columns, lines, touches
from tests.builders import NOW

CHART = stacked(
    "T",
    "S",
    [NOW, NOW + timedelta(hours=1)],
    [Series("a<b", "good", [1, 0]), Series("y", "bad", [1, 5])],
    str,
)


def test_each_part_of_a_column_is_a_mark_in_its_colour() -> None:
    assert columns(CHART) == (
        '<path class="cp-mark-good" d="M30.0 112.0h240.0v28.0h-240.0z"/>'
        '<path class="cp-mark-bad" d="M30.0 84.0h240.0v28.0h-240.0zM330.0 0.0h240.0v140.0h-240.0z"/>'
    )


def test_over_each_column_are_its_words() -> None:
    first = touches(CHART).split("</rect>")[0]
    assert first == (
        '<rect class="cp-mark-touch" x="0.0" y="0" width="300.0" height="140">'
        '<title data-at="2026-11-20T12:00:00+00:00">2026-11-20 12:00 UTC · a&lt;b 1, y 1</title>'
    )


def test_each_column_is_a_line_of_the_table() -> None:
    last = lines(CHART).split("</tr>")[1]
    assert last == (
        '<tr><th scope="row"><time class="cp-number" datetime="2026-11-20T13:00:00+00:00" data-local="">'
        '2026-11-20 13:00 UTC</time></th><td class="cp-number">0</td><td class="cp-number">5</td>'
    )
