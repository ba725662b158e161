"""What lifts a block, and the state that follows a reading."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage.quota import Block, Known, Standing, lifts_block, status_after
from usage.windows import Sample, WindowReading

NOW = 1_700_000_000.0
HOUR = 3600.0


def reading(
    used: float, reset_at: float | None = None, *, window: str = "primary", at: float = NOW + 5
) -> Sample:
    return Sample((WindowReading(window, used, reset_at, 300),), at, "usage")


BLOCK = Block(NOW, NOW + HOUR, {"primary": 99.0, "secondary": 60.0}, NOW + HOUR)


def test_a_later_reset_lifts_a_block() -> None:
    assert lifts_block(BLOCK, reading(99, NOW + 5 * HOUR))


def test_a_use_that_fell_lifts_a_block() -> None:
    assert lifts_block(BLOCK, reading(3))


def test_less_than_100_percent_proves_nothing() -> None:
    assert not lifts_block(Block(NOW, NOW + HOUR), reading(50, NOW + HOUR))


def test_a_reading_from_before_the_block_proves_nothing() -> None:
    assert not lifts_block(BLOCK, reading(3, NOW + 5 * HOUR, at=NOW))


@pytest.mark.parametrize("jitter_s", [-60, -5, 5, 60])
def test_resets_differ_by_seconds_without_a_window_having_rolled(jitter_s: float) -> None:
    assert not lifts_block(BLOCK, reading(99, NOW + HOUR + jitter_s))


def test_a_source_that_rounds_does_not_look_like_a_window_that_rolled() -> None:
    block = Block(NOW, NOW + HOUR, {"primary": 99.9}, NOW + HOUR)
    assert not lifts_block(block, reading(99, NOW + HOUR))


def test_a_window_that_is_full_keeps_the_block() -> None:
    windows = (
        WindowReading("primary", 0, NOW + 5 * HOUR, 300),
        WindowReading("secondary", 100, NOW + 50 * HOUR, 10_080),
    )
    assert not lifts_block(BLOCK, Sample(windows, NOW + 5, "usage"))


def test_a_block_of_the_week_is_not_lifted_by_the_next_five_hours() -> None:
    block = Block(NOW, NOW + HOUR, {"primary": 80.0, "secondary": 99.0}, NOW + 60 * HOUR)
    assert not lifts_block(block, reading(0, NOW + 6 * HOUR, at=NOW + 2 * HOUR))
    assert lifts_block(block, reading(0, NOW + 200 * HOUR, window="secondary"))


def test_a_later_reset_of_the_week_lifts_a_block_of_the_week_of_which_no_use_was_known() -> None:
    block = Block(NOW, NOW + HOUR, {}, NOW + 60 * HOUR)
    assert lifts_block(block, reading(0, NOW + 168 * HOUR, window="secondary"))
    assert lifts_block(block, reading(0, NOW + 700 * HOUR, window="monthly"))
    assert not lifts_block(block, reading(0, NOW + 60 * HOUR + 30, window="secondary"))


@pytest.mark.parametrize("end", [None, NOW + 60, NOW + HOUR, NOW + 5 * HOUR])
def test_the_week_s_reset_says_nothing_about_a_block_that_may_not_be_the_week_s(end: float | None) -> None:
    assert not lifts_block(Block(NOW, NOW + 60, {}, end), reading(0, NOW + 9e5, window="secondary"))


times = st.floats(-1e5, 1e5).map(lambda offset: NOW + offset)
percents = st.floats(0, 120)


@given(times, st.none() | times, percents, percents, st.none() | times, times)
def test_only_a_newer_reading_with_a_rolled_window_lifts(
    blocked_at: float,
    window_reset_at: float | None,
    known: float,
    used: float,
    reset_at: float | None,
    at: float,
) -> None:
    block = Block(blocked_at, window_reset_at, {"primary": known})
    rolled = window_reset_at is not None and reset_at is not None and reset_at > window_reset_at + 60
    expected = at > blocked_at and used < 100 and (rolled or used < known - 1)
    assert lifts_block(block, reading(used, reset_at, at=at)) == expected


def after(
    status: str, primary: Known, runtime: float | None = None, secondary: Known | None = None
) -> Standing:
    known = secondary or Known()
    return status_after(status=status, primary=primary, secondary=known, runtime_reset_at=runtime, now=NOW)


@pytest.mark.parametrize(
    ("runtime", "window_reset_at", "expected"),
    [
        (None, NOW + 600, Standing("rate_limited", 50.0, NOW + 600)),
        (0, NOW + 600, Standing("rate_limited", 50.0, NOW + 600)),
        (NOW + 3600, None, Standing("rate_limited", 50.0, NOW + 3600)),
        (NOW + 3600, NOW + 600, Standing("rate_limited", 50.0, NOW + 3600)),
        (NOW - 3600, None, Standing("active", 50.0, None)),
        (None, NOW - 1, Standing("active", 50.0, None)),
        (None, None, Standing("active", 50.0, None)),
    ],
)
def test_a_limit_stays_until_its_boundary(
    runtime: float | None, window_reset_at: float | None, expected: Standing
) -> None:
    assert after("rate_limited", Known(50.0, window_reset_at), runtime) == expected


def test_a_limit_that_was_served_is_not_begun_again_by_the_next_window() -> None:
    assert after("rate_limited", Known(50.0, NOW + 600), NOW - 1) == Standing("active", 50.0, None)


@pytest.mark.parametrize(("minutes", "length_s"), [(1, 60), (None, 18_000)])
def test_a_full_window_without_a_reset_limits_for_its_length(minutes: int | None, length_s: float) -> None:
    assert after("active", Known(100.0, None, minutes)) == Standing("rate_limited", 100.0, NOW + length_s)


def test_a_full_window_limits_until_its_reset() -> None:
    assert after("active", Known(130.0, NOW + 9, 300)) == Standing("rate_limited", 100.0, NOW + 9)


def test_a_full_week_is_a_quota_whatever_the_five_hours_say() -> None:
    week = Known(100.0, NOW + 999)
    assert after("active", Known(100.0, NOW + 9), secondary=week) == Standing(
        "quota_exceeded", 100.0, NOW + 999
    )
    told = after("active", Known(5.0), NOW + 7, Known(100.0))
    assert told == Standing("quota_exceeded", 100.0, NOW + 7)


@pytest.mark.parametrize("runtime", [None, NOW - 7])
def test_a_full_week_without_a_reset_is_tried_again_in_an_hour(runtime: float | None) -> None:
    found = after("active", Known(5.0), runtime, Known(100.0))
    assert found == Standing("quota_exceeded", 100.0, NOW + 3600)


def test_a_quota_stays_until_its_end() -> None:
    week = Known(40.0, NOW + 999)
    assert after("quota_exceeded", Known(5.0), NOW + 7, week) == Standing("quota_exceeded", 5.0, NOW + 7)
    assert after("quota_exceeded", Known(5.0), NOW - 7, week) == Standing("active", 5.0, None)
    assert after("quota_exceeded", Known(5.0), None, week) == Standing("active", 5.0, None)


def test_a_quota_without_a_reading_of_the_week_takes_its_reset() -> None:
    week = Known(None, NOW + 999)
    assert after("quota_exceeded", Known(), None, week) == Standing("quota_exceeded", None, NOW + 999)
    assert after("quota_exceeded", Known(), NOW + 7) == Standing("quota_exceeded", None, NOW + 7)


def test_without_a_reading_nothing_changes() -> None:
    assert after("rate_limited", Known(), NOW - 7) == Standing("rate_limited", None, NOW - 7)


statuses = st.sampled_from(["active", "rate_limited", "quota_exceeded"])
known = st.builds(Known, st.none() | percents, st.none() | times, st.none() | st.integers(1, 50_000))


@given(st.sampled_from(["paused", "reauth_required", "deactivated"]), known, known, st.none() | times)
def test_readings_never_change_what_an_operator_or_a_sign_in_decides(
    status: str, primary: Known, secondary: Known, runtime: float | None
) -> None:
    assert after(status, primary, runtime, secondary).status == status


@given(statuses, known, known, st.none() | times)
def test_no_reading_below_100_percent_begins_a_limit(
    status: str, primary: Known, secondary: Known, runtime: float | None
) -> None:
    found = after(status, primary, runtime, secondary)
    is_full = any((window.used_percent or 0) >= 100 for window in (primary, secondary))
    if not is_full:
        assert found.status in ("active", status)
    if (secondary.used_percent or 0) >= 100:
        assert found.status == "quota_exceeded"
    elif (primary.used_percent or 0) >= 100:
        assert found.status == "rate_limited"


@given(percents.filter(lambda used: used < 100), st.none() | times, st.none() | times)
def test_a_limit_always_has_an_end_ahead(
    used: float, window_reset_at: float | None, runtime: float | None
) -> None:
    found = after("rate_limited", Known(used, window_reset_at), runtime)
    if found.status == "rate_limited":
        assert found.reset_at is not None
        assert found.reset_at > NOW
    else:
        assert found == Standing("active", used, None)
