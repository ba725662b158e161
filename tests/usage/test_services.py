"""Readings are stored whole, lift what they prove, and disturb routing only for something new."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import DatabaseError, connection

from accounts import changes
from accounts.models import Account, AccountEvent
from accounts.services import account_block
from tests.builders import NOW, make_account
from usage.models import AccountCredits, CurrentWindow, ModelLimitWindow, WindowSample
from usage.services import sample_store, samples_trim
from usage.windows import Credits, ModelLimit, Sample, WindowReading

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
    **more: Any,
) -> Sample:
    """`at` is seconds after NOW."""
    windows = (
        WindowReading(name, used, reset_at, minutes)
        for name, used, minutes in (("primary", primary, 300), ("secondary", secondary, 10_080))
        if used is not None
    )
    return Sample(tuple(windows), AT + at, "usage", plan, **more)


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


def whole(primary: float | None, secondary: float | None = None, **more: Any) -> Sample:
    """As the usage endpoint tells it."""
    return sample(primary, secondary, is_whole=True, **more)


def test_a_window_that_is_full_begins_a_limit() -> None:
    version = store(whole(100, 30))
    account = Account.objects.get()
    assert (account.status, account.status_reason) == ("rate_limited", "the 5-hour window is used up")
    assert (account.blocked_at, account.reset_at) == (NOW, NOW + timedelta(hours=1))
    assert version == changes.current_version()


def test_a_week_that_is_full_is_a_quota() -> None:
    store(whole(30, 100))
    assert status() == Account.Status.QUOTA_EXCEEDED


def test_what_upstream_allows_beyond_a_window_is_no_limit() -> None:
    store(whole(100, is_allowed=True))
    assert status() == Account.Status.ACTIVE


def test_the_last_answer_of_a_window_does_not_begin_a_limit() -> None:
    store(sample(100))
    assert status() == Account.Status.ACTIVE


def test_a_full_window_that_rolls_early_serves_again() -> None:
    store(whole(100, 30))
    store(whole(100, 30, at=60))
    assert status() == Account.Status.RATE_LIMITED
    store(whole(1, 30, at=120, reset_at=AT + 5 * HOUR))
    assert status() == Account.Status.ACTIVE


def test_a_limit_whose_time_is_over_ends_with_the_next_reading() -> None:
    block(reset_at=AT + 60)
    store(whole(50, at=59))
    assert status() == Account.Status.RATE_LIMITED
    store(whole(50, at=61))
    assert status() == Account.Status.ACTIVE


def test_a_limit_without_an_end_takes_that_of_the_window() -> None:
    Account.objects.update(status="rate_limited", blocked_at=NOW, status_reason="refused")
    store(whole(50, at=10))
    account = Account.objects.get()
    assert (account.status, account.status_reason) == ("rate_limited", "refused")
    assert (account.blocked_at, account.reset_at) == (NOW, NOW + timedelta(hours=1))


def test_a_short_limit_lasts_until_the_end_of_a_window_that_is_full() -> None:
    block(reset_at=AT + 120)
    store(whole(100, at=10))
    assert Account.objects.get().reset_at == NOW + timedelta(hours=1)
    before = changes.current_version()
    store(whole(100, at=20, reset_at=AT + HOUR + 5))
    assert changes.current_version() == before


def test_windows_that_the_plan_no_longer_has_are_forgotten() -> None:
    store(whole(50, 60))
    month = WindowReading("monthly", 5, AT + 20 * HOUR, 43_200)
    store(Sample((month,), AT + 5, "headers"))
    assert CurrentWindow.objects.count() == 3
    before = changes.current_version()
    assert store(Sample((month,), AT + 10, "usage", is_whole=True)) == before + 1
    assert [row.window for row in CurrentWindow.objects.all()] == ["monthly"]


def sonic(used: float, name: str = "GPT-5.5-Sonic") -> ModelLimit:
    return ModelLimit("codex_other", name, (WindowReading("primary", used, AT + HOUR, 300),))


def test_a_limit_for_one_model_is_kept_beside_the_account_s_own() -> None:
    version = store(Sample((), AT, "headers", model_limits=(sonic(99),)))
    row = ModelLimitWindow.objects.get()
    assert (row.limit_id, row.name, row.window, row.used_percent) == (
        "codex_other",
        "GPT-5.5-Sonic",
        "primary",
        99.0,
    )
    assert (row.source, row.recorded_at) == ("headers", NOW)
    assert (version, CurrentWindow.objects.count()) == (changes.current_version(), 0)
    assert store(Sample((), AT + 1, "headers", model_limits=(sonic(99.2),))) is None


def test_a_limit_keeps_the_name_that_one_source_leaves_out() -> None:
    store(Sample((), AT, "usage", model_limits=(sonic(5),)))
    store(Sample((), AT + 1, "headers", model_limits=(sonic(50, ""),)))
    row = ModelLimitWindow.objects.get()
    assert (row.name, row.used_percent) == ("GPT-5.5-Sonic", 50.0)


def test_a_limit_that_is_no_longer_told_is_forgotten() -> None:
    store(whole(5, model_limits=(sonic(100),)))
    store(sample(5, at=1))
    assert ModelLimitWindow.objects.count() == 1
    store(whole(5, at=2))
    assert ModelLimitWindow.objects.count() == 0


def test_the_newest_credits_are_kept() -> None:
    store(sample(5, credits=Credits(True, False, 12.5)))
    store(sample(5, at=-5, credits=Credits(False, False, None)))
    row = AccountCredits.objects.get()
    assert (row.has_credits, row.unlimited, row.balance, row.recorded_at) == (True, False, 12.5, NOW)


def test_credits_that_a_whole_reading_does_not_tell_are_gone() -> None:
    store(sample(5, credits=Credits(True, False, 12.5)))
    store(whole(5, at=-5))
    store(sample(5, at=1))
    assert AccountCredits.objects.count() == 1
    store(whole(5, at=2))
    assert AccountCredits.objects.count() == 0


def test_a_whole_reading_without_windows_forgets_those_that_were_known() -> None:
    store(sample(5, 6))
    store(whole(None, at=1, plan="business", credits=Credits(True, False, 12.5)))
    assert (CurrentWindow.objects.count(), AccountCredits.objects.get().balance) == (0, 12.5)
    assert Account.objects.get(pk=ACCOUNT).plan_type == "business"


def test_each_window_tells_its_source() -> None:
    store(sample(5))
    store(Sample((WindowReading("primary", 6, None, 300),), AT + 1, "event"))
    assert CurrentWindow.objects.get().get_source_display() == "answer's stream"


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
