"""Reads: the newest reading of every window, and the history of one account."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from accounts.models import Account
from usage.capacity import capacity_credits, weekly_credits
from usage.models import CurrentWindow, ModelLimitWindow, PriceOverride, WindowSample
from usage.pace import Forecast, Pace, Reading, Share, pool_forecast, pool_pace, use_rate, window_pace
from usage.pricing import OwnPrice, PriceBook

# How far back the present rate of use is looked for.
_RATE_SINCE = timedelta(hours=6)
_SERVING = (Account.Status.ACTIVE, Account.Status.RATE_LIMITED, Account.Status.QUOTA_EXCEEDED)


def current_windows() -> dict[str, dict[str, CurrentWindow]]:
    """account id → window → its newest reading, in one query."""
    found: dict[str, dict[str, CurrentWindow]] = defaultdict(dict)
    for row in CurrentWindow.objects.all():
        found[row.account_id][row.window] = row
    return dict(found)


def model_limit_windows() -> dict[str, list[ModelLimitWindow]]:
    """account id → the newest readings of its limits for single models, in one query."""
    found: dict[str, list[ModelLimitWindow]] = defaultdict(list)
    for row in ModelLimitWindow.objects.order_by("limit_id", "window"):
        found[row.account_id].append(row)
    return dict(found)


def price_book() -> PriceBook:
    """The published prices with the operator's own, in one query."""
    return PriceBook(
        OwnPrice(row.model, row.tier, row.input, row.cached, row.output)
        for row in PriceOverride.objects.all()
    )


def sample_history(account_id: str, since: datetime) -> list[WindowSample]:
    """The account's readings of all windows from `since` on, oldest first."""
    rows = WindowSample.objects.filter(account_id=account_id, recorded_at__gte=since)
    return list(rows.order_by("recorded_at", "pk"))


def forecasts(accounts: Iterable[Account], now: datetime) -> dict[str, Forecast]:
    """window → when the pool runs dry of it, from what the serving accounts have used lately. One query.

    The accounts come with their windows. A window of which too little is known is left out.
    """
    serving = [account for account in accounts if account.status in _SERVING]
    current = {
        (row.account_id, row.window): (row, account.plan_type)
        for account in serving
        for row in account.windows.all()
    }
    history: dict[tuple[str, str], list[Reading]] = defaultdict(list)
    figures = (
        WindowSample.objects.filter(recorded_at__gte=now - _RATE_SINCE)
        .order_by("recorded_at", "pk")
        .values_list("account_id", "window", "recorded_at", "used_percent", "reset_at")
    )
    for account_id, window, recorded_at, used_percent, reset_at in figures:
        history[account_id, window].append(_as_reading(recorded_at, used_percent, reset_at))
    shares: dict[str, list[Share]] = defaultdict(list)
    for key, (row, plan_type) in current.items():
        shares[row.window].append(_share(row, plan_type, history[key], now))
    found = ((window, pool_forecast(known, now.timestamp())) for window, known in shares.items())
    return {window: expected for window, expected in found if expected is not None}


def weekly_pace(account: Account, now: datetime) -> Pace | None:
    """Against even use of the week, or of the month where a plan has only that; None while it is unknown.

    The account comes with its windows.
    """
    known = {row.window: row for row in account.windows.all()}
    row = known.get("secondary") or known.get("monthly")
    if row is None or not row.window_minutes:
        return None
    return window_pace(_reading(row), 60.0 * row.window_minutes, now.timestamp())


def pool_weekly_pace(accounts: Iterable[Account], now: datetime) -> Pace | None:
    """Of the serving accounts together, as `weekly_pace` of each. They come with their windows."""
    return pool_pace(
        (weekly_credits(account.plan_type), pace)
        for account in accounts
        if account.status in _SERVING and (pace := weekly_pace(account, now)) is not None
    )


def _share(row: CurrentWindow, plan_type: str, readings: list[Reading], now: datetime) -> Share:
    # The newest reading may repeat the one before it, and is then not in the history: a rest is known by it.
    known = [*readings, _reading(row)]
    has_ended = row.reset_at is not None and row.reset_at <= now
    return Share(
        capacity=capacity_credits(plan_type, row.window) or 0.0,
        used_percent=0.0 if has_ended else row.used_percent,
        reset_at=row.reset_at.timestamp() if row.reset_at else None,
        rate=use_rate(known),
    )


def _reading(row: CurrentWindow) -> Reading:
    return _as_reading(row.recorded_at, row.used_percent, row.reset_at)


def _as_reading(recorded_at: datetime, used_percent: float, reset_at: datetime | None) -> Reading:
    return Reading(recorded_at.timestamp(), used_percent, reset_at.timestamp() if reset_at else None)
