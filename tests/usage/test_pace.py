from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage.pace import (
    HORIZON_S,
    Forecast,
    Pace,
    Reading,
    Share,
    pool_forecast,
    pool_pace,
    use_rate,
    window_pace,
)

NOW = 1_700_000_000.0
HOUR = 3600.0


def readings(*used: float, every_s: float = 60.0, reset_at: float | None = NOW + HOUR) -> list[Reading]:
    return [Reading(NOW + index * every_s, value, reset_at) for index, value in enumerate(used)]


def share(used: float, rate: float | None, reset_in_s: float | None = None, capacity: float = 100.0) -> Share:
    return Share(capacity, used, None if reset_in_s is None else NOW + reset_in_s, rate)


def test_a_steady_use_has_its_rate() -> None:
    assert use_rate(readings(10, 11, 12, 13)) == pytest.approx(1 / 60)


def test_a_rest_lets_the_rate_fade_with_time() -> None:
    busy = readings(0, 6, every_s=60)
    rested = [*busy, Reading(NOW + 60 + 1800, 6, NOW + HOUR)]
    assert use_rate(rested) == pytest.approx(0.1 / math.e)


@pytest.mark.parametrize("used", [(), (50,)])
def test_too_little_is_known_of_one_reading(used: tuple[float, ...]) -> None:
    assert use_rate(readings(*used)) is None


def test_a_fall_begins_a_new_window() -> None:
    assert use_rate(readings(90, 95, 0)) is None
    assert use_rate(readings(90, 95, 0, 3)) == pytest.approx(3 / 60)


def test_another_end_begins_a_new_window() -> None:
    rolled = [*readings(10, 20), Reading(NOW + 120, 30, NOW + 10 * HOUR)]
    assert use_rate(rolled) is None


def test_an_end_that_wavers_is_the_same() -> None:
    wavering = [Reading(NOW, 10, NOW + HOUR), Reading(NOW + 60, 16, NOW + HOUR + 30)]
    assert use_rate(wavering) == pytest.approx(0.1)


def test_readings_of_the_same_moment_say_nothing_of_speed() -> None:
    assert use_rate([Reading(NOW, 10, None), Reading(NOW, 20, None)]) is None


def test_the_pool_runs_dry_when_all_is_used() -> None:
    found = pool_forecast([share(50, 0.01), share(0, 0.01)], NOW)
    assert found == Forecast(dry_at=pytest.approx(NOW + 150 / 0.02))


def test_a_reset_that_comes_in_time_postpones_it() -> None:
    # 10 left for 1,000 s; after 500 s the 90 come back, and last 9,000 s more.
    assert pool_forecast([share(90, 0.01, 500)], NOW) == Forecast(
        dry_at=pytest.approx(NOW + 10_000), postponed_at=NOW + 500
    )


def test_a_reset_can_save_the_pool_for_good() -> None:
    slow = 50 / HORIZON_S
    assert pool_forecast([share(99.9, slow, 60)], NOW) == Forecast(saved_at=NOW + 60)


def test_a_reset_that_comes_too_late_saves_nothing() -> None:
    found = pool_forecast([share(90, 1.0, 500), share(100, 0.0, 900)], NOW)
    assert found == Forecast(dry_at=pytest.approx(NOW + 10), too_late_at=NOW + 500)


def test_a_pool_that_rests_never_runs_dry() -> None:
    assert pool_forecast([share(90, 0.0)], NOW) == Forecast()


def test_nothing_is_said_where_no_rate_is_known() -> None:
    assert pool_forecast([share(90, None)], NOW) is None
    assert pool_forecast([], NOW) is None


def test_plans_without_a_capacity_do_not_count() -> None:
    assert pool_forecast([share(90, 0.01, capacity=0.0)], NOW) is None


def test_an_account_whose_rate_is_unknown_still_has_room() -> None:
    found = pool_forecast([share(50, 0.01), share(0, None)], NOW)
    assert found == Forecast(dry_at=pytest.approx(NOW + 15_000))


@pytest.mark.parametrize(
    ("used", "left_s", "expected", "word"),
    [(50, 2 * HOUR, 60, "slow"), (60, 2 * HOUR, 60, "even"), (90, 2 * HOUR, 60, "fast")],
)
def test_the_pace_is_told_against_even_use(used: float, left_s: float, expected: float, word: str) -> None:
    found = window_pace(Reading(NOW, used, NOW + left_s), 5 * HOUR, NOW)
    assert found is not None
    assert found.expected_percent == pytest.approx(expected)
    assert found.word == word


def test_the_pace_of_a_pool_is_weighed_by_what_its_accounts_hold() -> None:
    found = pool_pace([(300, Pace(50, 20)), (100, Pace(10, -20)), (0, Pace(99, 99))])
    assert found == Pace(pytest.approx(40), pytest.approx(10))
    assert pool_pace([(0, Pace(50, 20))]) is None
    assert pool_pace([]) is None


@pytest.mark.parametrize("reset_at", [None, NOW - 1])
def test_a_window_without_an_end_has_no_pace(reset_at: float | None) -> None:
    assert window_pace(Reading(NOW, 50, reset_at), 5 * HOUR, NOW) is None


SHARES = st.builds(
    Share,
    capacity=st.floats(0, 50_000),
    used_percent=st.floats(0, 120),
    reset_at=st.none() | st.floats(NOW - HOUR, NOW + 2 * HORIZON_S),
    rate=st.none() | st.floats(-0.01, 1),
)


@given(st.lists(SHARES, max_size=6))
def test_a_forecast_is_never_in_the_past_nor_beyond_the_horizon(shares: list[Share]) -> None:
    found = pool_forecast(shares, NOW)
    if found is not None and found.dry_at is not None:
        assert NOW <= found.dry_at <= NOW + HORIZON_S
        assert found.saved_at is None
        assert found.postponed_at is None or NOW <= found.postponed_at <= found.dry_at
        assert found.too_late_at is None or found.too_late_at >= found.dry_at


@given(st.lists(st.tuples(st.floats(0, 100), st.none() | st.floats(NOW, NOW + HORIZON_S)), max_size=20))
def test_a_rate_is_never_negative(given_readings: list[tuple[float, float | None]]) -> None:
    found = use_rate([Reading(NOW + 60 * n, used, end) for n, (used, end) in enumerate(given_readings)])
    assert found is None or found >= 0
