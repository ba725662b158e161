"""What the overview says of the pool."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils.html import strip_tags

from accounts.models import Account
from codexproxy.pool_meters import even_percent, forecast_words, pace_words, pool_meters, shares
from requestlogs.figures import WindowState
from tests.builders import NOW, make_account
from usage.pace import Forecast, Pace


def state(name: str, used: float, capacity: float = 100, **fields: object) -> tuple[Account, WindowState]:
    return Account(pk=name, email=name), WindowState(used, capacity=capacity, **fields)  # type: ignore[arg-type]


def words(expected: Forecast | None) -> str:
    return strip_tags(forecast_words(expected, NOW))


def test_whoever_has_most_left_comes_first_in_the_bar_and_all_is_in_percent_of_the_whole() -> None:
    found = shares([state("a", 90), state("b", 50, 300), state("c", 40)])
    assert [(part.x, part.width, part.level) for part in found] == [
        (0, 30, "fair"), (30, 12, "good"), (42, 2, "bad"),
    ]  # fmt: skip
    assert found[0].words == "b 50 % left, 150 credits"


@pytest.mark.django_db
def test_a_pool_of_months_is_called_so_and_has_a_forecast() -> None:
    reading = {"reset_at": NOW + timedelta(days=20), "window_minutes": 43_200, "recorded_at": NOW}
    make_account(plan_type="free").windows.create(window="monthly", used_percent=25, **reading)
    accounts = list(Account.objects.prefetch_related("windows"))
    (meter,) = pool_meters(accounts, {"secondary": Forecast()}, NOW)
    assert (meter["label"], meter["text"]) == ("Month", "75 % left")
    assert meter["forecast"] == "At the present rate it does not run dry."


def test_an_even_pace_is_weighed_by_the_accounts_capacity() -> None:
    soon, late = NOW + timedelta(hours=1), NOW + timedelta(hours=4)
    known = [state("a", 0, reset_at=soon, minutes=300), state("b", 0, 300, reset_at=late, minutes=300)]
    assert even_percent(known, NOW) == 65


def test_without_a_known_end_there_is_no_even_pace() -> None:
    assert even_percent([state("a", 0)], NOW) is None
    assert shares([]) == []


def test_the_forecast_is_a_sentence() -> None:
    at = NOW.timestamp()
    assert words(None) == ""
    assert words(Forecast()) == "At the present rate it does not run dry."
    assert words(Forecast(dry_at=at + 3600)) == (
        "At the present rate it runs dry at 2026-11-20 13:00 UTC, in 1 h."
    )
    assert words(Forecast(saved_at=at + 60)) == (
        "At the present rate the reset at 2026-11-20 12:01 UTC saves it."
    )
    assert words(Forecast(dry_at=at + 3600, postponed_at=at + 60)).endswith(
        "although the reset at 2026-11-20 12:01 UTC gives some back."
    )
    assert words(Forecast(dry_at=at + 3600, too_late_at=at + 7200)).endswith(
        "in 1 h; the next reset, at 2026-11-20 14:00 UTC, does not save it."
    )


@pytest.mark.parametrize(
    ("pace", "words"),
    [
        (None, ""),
        (Pace(60, 2), "Even use would be at 40 % left, and so it is."),
        (Pace(60, 20), "It is used faster than evenly: even use would be at 40 % left."),
        (Pace(60, -20), "It is used more slowly than evenly: even use would be at 40 % left."),
    ],
)
def test_the_pace_is_a_sentence(pace: Pace | None, words: str) -> None:
    assert pace_words(pace) == words
