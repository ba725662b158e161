"""The charts of the overview."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from codexproxy.charts import Chart
from codexproxy.overview_charts import charts
from requestlogs.figures import Totals
from requestlogs.timeline import SPANS, Timeline
from tests.builders import NOW, make_account
from tests.codexproxy.browsing import browser
from tests.codexproxy.test_overview import store


def cost_chart(costs: list[tuple[str, list[int]]]) -> Chart:
    hour = SPANS["1h"]
    parts = tuple((NOW + n * hour.part, Totals()) for n in range(2))
    given = [(name, [Decimal(cost) for cost in found]) for name, found in costs]
    return charts(Timeline(hour, parts, Totals()), given)[2]


def test_the_dearest_come_first_and_what_is_left_is_one_more() -> None:
    chart = cost_chart([(name, [cost, 1]) for name, cost in zip("abcdef", (1, 9, 3, 4, 5, 6), strict=True)])
    assert [series.name for series in chart.series] == ["b", "f", "e", "d", "Others"]
    assert list(chart.series[-1].values) == [4, 2]
    assert chart.summary.endswith("most of it b.")


def test_without_any_cost_the_chart_is_empty_and_still_a_chart() -> None:
    chart = cost_chart([])
    assert chart.rects == ()
    assert chart.summary == "$0.00 in all."


def test_the_first_token_has_its_median_and_its_slow_end() -> None:
    hour = SPANS["1h"]
    parts = ((NOW, Totals(first_tokens_500=10, first_tokens_4000=10)), (NOW + hour.part, Totals()))
    chart = charts(Timeline(hour, parts, Totals()), [])[3]
    assert chart.summary == "Half of the answers began within 0.5 s, 95 % within 3.8 s, about."
    assert [(series.name, list(series.values)) for series in chart.series] == [
        ("Half of them within", [0.5, 0.0]),
        ("95 % within", [3.8, 0.0]),
    ]
    assert chart.rows[0].cells == ("0.5 s", "3.8 s")
    # One column, as high as the slow end.
    assert sum(rect.height for rect in chart.rects) == pytest.approx(140 * 3.8 / 5)


@pytest.mark.django_db
@pytest.mark.parametrize("range_", ["1h", "24h"])
@pytest.mark.parametrize(("by", "name"), [("account", "Work"), ("model", "gpt-5.1"), ("key", "No key")])
def test_the_cost_is_told_apart_by_account_model_or_key(range_: str, by: str, name: str) -> None:
    make_account("a", alias="Work")
    store(2, ago=timedelta(seconds=1))
    shown = " ".join(browser().get(f"/admin/?range={range_}&by={by}").content.decode().split())
    assert f'<th scope="col">{name}</th>' in shown
    assert 'aria-current="page">by' in shown


@pytest.mark.django_db
def test_the_columns_moments_are_told_in_words_too() -> None:
    store()
    shown = browser().get("/admin/").content.decode()
    hour = timezone.now().replace(minute=0)
    assert f"{hour:%Y-%m-%d %H:%M} UTC · answered 1, cancelled 0, failed 0" in shown
