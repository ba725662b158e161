"""Readings are stored whole, lift what they prove, and disturb routing only for something new."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from django.db import DatabaseError, connection

from accounts import changes
from accounts.models import Account, AccountEvent
from accounts.services import account_block
from tests.builders import NOW, make_account
from usage.models import CurrentWindow, WindowSample
from usage.services import sample_store, samples_trim
from usage.windows import Sample, WindowReading

pytestmark = pytest.mark.django_db

ACCOUNT = "acc-1_00000001"
AT = NOW.timestamp()
HOUR = 3600.0


def sample(
    primary: float | None = 12.0,
    secondary: float | None = None,
    *,
    at: float = 0,
    reset_at: float | None = AT + HOUR,
    plan: str | None = None,
) -> Sample:
    """`at` is seconds after NOW."""
    windows = (
        WindowReading(name, used, reset_at, minutes)
        for name, used, minutes in (("primary", primary, 300), ("secondary", secondary, 10_080))
        if used is not None
    )
    return Sample(tuple(windows), AT + at, "usage", plan)


def store(stored: Sample, account_id: str = ACCOUNT) -> int | None:
    return sample_store(account_id=account_id, sample=stored)


def block(*, reset_at: float = AT + HOUR, window_reset_at: float | None = AT + HOUR) -> None:
    account_block(
        account_id=ACCOUNT,
        status="rate_limited",
        reason="usage limit",
        blocked_at=NOW,
        reset_at=datetime.fromtimestamp(reset_at, UTC),
        window_reset_at=None if window_reset_at is None else datetime.fromtimestamp(window_reset_at, UTC),
    )


def status() -> str:
    return Account.objects.get(pk=ACCOUNT).status


@pytest.fixture(autouse=True)
def account() -> Account:
    return make_account(ACCOUNT)


def test_both_windows_are_stored_with_one_moment() -> None:
    version = store(sample(12, 34))
    assert version == changes.current_version()
    rows = WindowSample.objects.order_by("window")
    assert [(row.window, row.used_percent, row.recorded_at, row.source) for row in rows] == [
        ("primary", 12.0, NOW, "usage"),
        ("secondary", 34.0, NOW, "usage"),
    ]
    current = CurrentWindow.objects.get(window="primary")
    assert (current.used_percent, current.reset_at) == (12.0, NOW + timedelta(hours=1))
    assert (current.window_minutes, current.recorded_at) == (300, NOW)


def test_one_window_is_one_row_and_none_is_none() -> None:
    store(sample(None, None))
    assert WindowSample.objects.count() == 0
    store(sample(12))
    assert (WindowSample.objects.count(), CurrentWindow.objects.count()) == (1, 1)


def test_when_the_second_window_cannot_be_stored_the_first_is_not_either() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("the trigger is written for SQLite")
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON usage_currentwindow WHEN NEW.window = 'secondary' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    before = changes.current_version()
    with pytest.raises(DatabaseError, match="refused"):
        store(sample(12, 34))
    assert (WindowSample.objects.count(), CurrentWindow.objects.count()) == (0, 0)
    assert changes.current_version() == before


def test_nothing_is_stored_for_an_unknown_account() -> None:
    before = changes.current_version()
    assert store(sample(), "nobody") is None
    assert (WindowSample.objects.count(), changes.current_version()) == (0, before)


def test_an_older_reading_never_replaces_a_newer_one() -> None:
    store(sample(50, at=10))
    assert store(sample(40, at=5)) is None
    assert CurrentWindow.objects.get().used_percent == 50.0
    assert WindowSample.objects.count() == 1


def test_a_newer_reading_replaces_the_older_one() -> None:
    store(sample(40))
    store(sample(50, at=10))
    assert CurrentWindow.objects.get().used_percent == 50.0
    assert WindowSample.objects.count() == 2


def test_the_same_figures_are_in_the_history_once_a_minute() -> None:
    for at in range(0, 121, 10):
        store(sample(12, at=at, reset_at=AT + HOUR + at % 20))
    stored = [(row.recorded_at - NOW).seconds for row in WindowSample.objects.order_by("recorded_at")]
    assert stored == [0, 60, 120]
    assert CurrentWindow.objects.get().recorded_at == NOW + timedelta(seconds=120)


@pytest.mark.parametrize(
    ("used", "reset_at", "is_noticed"),
    [
        (12.4, AT + HOUR, False),
        (12.5, AT + HOUR, True),
        (12, AT + HOUR + 30, False),
        (12, AT + 9000, True),
        (12, None, True),
    ],
)
def test_routing_is_told_only_what_it_would_notice(
    used: float, reset_at: float | None, is_noticed: bool
) -> None:
    store(sample(12))
    before = changes.current_version()
    version = store(sample(used, at=10, reset_at=reset_at))
    assert version == (before + 1 if is_noticed else None)
    assert changes.current_version() == before + is_noticed


def test_a_slow_drift_is_noticed_as_well() -> None:
    store(sample(12))
    before = changes.current_version()
    for number in range(1, 11):
        store(sample(12 + number / 10, at=number))
    assert changes.current_version() == before + 2


def test_a_plan_that_changed_is_learned() -> None:
    store(sample())
    before = changes.current_version()
    assert store(sample(at=1, plan="pro")) == before + 1
    assert Account.objects.get(pk=ACCOUNT).plan_type == "pro"
    assert store(sample(at=2, plan="pro")) is None


def test_a_window_that_has_rolled_lifts_the_block() -> None:
    store(sample(99, at=-10))
    block()
    version = store(sample(2, at=10, reset_at=AT + 5 * HOUR))
    assert status() == Account.Status.ACTIVE
    assert version == changes.current_version()
    assert AccountEvent.objects.filter(kind="unblocked").count() == 1


def test_less_than_100_percent_lifts_nothing() -> None:
    block()
    store(sample(50, at=10))
    assert status() == Account.Status.RATE_LIMITED


def test_a_reading_from_before_the_block_lifts_nothing() -> None:
    store(sample(99, at=-10))
    block()
    store(sample(2, at=-1, reset_at=AT + 5 * HOUR))
    assert status() == Account.Status.RATE_LIMITED


def test_a_reading_that_comes_late_lifts_nothing() -> None:
    store(sample(97, at=-10))
    block()
    store(sample(99, at=10))
    store(sample(90, at=5))
    assert status() == Account.Status.RATE_LIMITED


def test_the_use_of_an_earlier_window_is_no_measure() -> None:
    store(sample(95, at=-7200, reset_at=AT - HOUR))
    block(window_reset_at=None)
    store(sample(90, at=10))
    assert status() == Account.Status.RATE_LIMITED


def test_a_block_until_the_end_of_the_week_outlasts_the_five_hours() -> None:
    store(sample(99, 99, at=-10))
    block(reset_at=AT + 50 * HOUR)
    store(sample(0, 99, at=HOUR * 2, reset_at=AT + 6 * HOUR))
    assert status() == Account.Status.RATE_LIMITED
    store(sample(0, 0, at=HOUR * 3, reset_at=AT + 200 * HOUR))
    assert status() == Account.Status.ACTIVE


def test_a_paused_account_stays_paused() -> None:
    store(sample(99, at=-10))
    Account.objects.update(status=Account.Status.PAUSED, blocked_at=NOW)
    store(sample(2, at=10, reset_at=AT + 5 * HOUR))
    assert status() == Account.Status.PAUSED


def test_old_history_goes_and_the_present_stays() -> None:
    store(sample(1, at=-86_400))
    store(sample(2))
    assert samples_trim(before=NOW - timedelta(hours=1)) == 1
    assert WindowSample.objects.get().used_percent == 2.0
    assert CurrentWindow.objects.get().used_percent == 2.0


@pytest.mark.django_db(transaction=True)
def test_first_readings_of_several_processes_at_once_leave_the_newest() -> None:
    together = Barrier(6)

    def process(number: int) -> None:
        together.wait(10)
        try:
            store(sample(float(number), 34, at=number))
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(process, range(6)))
    assert [(row.window, row.used_percent) for row in CurrentWindow.objects.order_by("window")] == [
        ("primary", 5.0),
        ("secondary", 34.0),
    ]
