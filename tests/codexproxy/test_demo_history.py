"""The demo's invented week."""

from __future__ import annotations

from datetime import timedelta

import pytest

from codexproxy import demo_history
from requestlogs.figures import hours_since, totals
from requestlogs.models import RequestRecord
from requestlogs.rollups import rollups_differences
from tests.builders import NOW, make_account
from usage.models import CurrentWindow, WindowSample

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def week() -> None:
    for name in ("a", "b"):
        account = make_account(name)
        CurrentWindow.objects.create(
            account=account, window="secondary", used_percent=40, window_minutes=10_080, recorded_at=NOW,
            reset_at=NOW + timedelta(days=4),
        )  # fmt: skip
    demo_history.seed(NOW)


def test_its_requests_are_in_the_sums_that_the_charts_read() -> None:
    assert totals(hours_since(NOW - timedelta(days=8))).requests == demo_history.ROWS
    assert rollups_differences(since=NOW - timedelta(days=8), until=NOW + timedelta(hours=1)) == []


def test_it_has_requests_of_every_outcome_and_some_that_were_tried_twice() -> None:
    outcomes = set(RequestRecord.objects.values_list("status", flat=True))
    assert outcomes == {"success", "error", "cancelled"}
    assert any(len(row.attempts) == 2 for row in RequestRecord.objects.all())


def test_it_is_written_once() -> None:
    demo_history.seed(NOW)
    assert RequestRecord.objects.count() == demo_history.ROWS


def test_the_weeks_of_its_accounts_go_down_to_what_is_left_now() -> None:
    readings = WindowSample.objects.filter(account_id="a").order_by("recorded_at")
    assert readings.count() == 84
    newest, first = readings.last(), readings.first()
    assert newest is not None and first is not None
    assert newest.used_percent == pytest.approx(40, abs=2)
    assert first.reset_at == NOW - timedelta(days=3)
