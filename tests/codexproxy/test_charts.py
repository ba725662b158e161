from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexproxy.charts import HEIGHT, WIDTH, Series, scale_end, sparkline, stacked
from tests.builders import NOW

MOMENTS = [NOW + timedelta(hours=n) for n in range(3)]


def test_columns_stand_on_each_other_and_on_the_ground() -> None:
    chart = stacked(
        "T", "S", MOMENTS, [Series("x", "good", [1, 0, 2]), Series("y", "bad", [1, 0, 3])], lambda n: f"{n:g}"
    )
    assert chart.top == "5"
    first, second = chart.rects[0], chart.rects[1]
    assert (first.y + first.height, second.y + second.height) == (HEIGHT, first.y)
    assert chart.rects[-1].y == 0
    assert [rect.mark for rect in chart.rects] == ["good", "bad", "good", "bad"]
    assert [row.cells for row in chart.rows] == [("1", "1"), ("0", "0"), ("2", "3")]
    assert [row.words for row in chart.rows] == ["x 1, y 1", "x 0, y 0", "x 2, y 3"]
    assert chart.middle is not None and chart.middle.at == MOMENTS[1]


@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=40))
def test_every_mark_is_within_the_chart(values: list[float]) -> None:
    chart = stacked("T", "S", [NOW] * len(values), [Series("x", "good", values)], str)
    for rect in chart.rects:
        assert rect.x >= -0.01 and rect.x + rect.width <= WIDTH + 0.01
        assert rect.y >= -0.01 and rect.y + rect.height <= HEIGHT + 0.01


@pytest.mark.parametrize(
    ("highest", "end"), [(0, 1), (5e-324, 1), (1, 1), (1.1, 2), (3, 5), (7, 10), (0.03, 0.05), (1234, 2000)]
)
def test_a_scale_ends_at_a_round_figure(highest: float, end: float) -> None:
    assert scale_end(highest) == pytest.approx(end)


def test_a_line_of_nothing_lies_at_the_bottom() -> None:
    assert sparkline([0, 0]) == "0.0,23.0 100.0,23.0"
    assert sparkline([0, 4]) == "0.0,23.0 100.0,1.0"
    assert sparkline([]) == ""
