"""Reads: the newest reading of every window, and the history of one account."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

from accounts.models import Account
from usage.capacity import capacity_credits
from usage.models import CurrentWindow, ModelLimitWindow, PriceOverride, WindowSample
from usage.pace import Forecast, Reading, Share, pool_forecast, use_rate
from usage.pricing import OwnPrice, PriceBook

# How far back the present rate of use is looked for.
_RATE_SINCE = timedelta(hours=6)


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


def forecast(window: str, now: datetime) -> Forecast | None:
    """When the pool's window runs dry, from what the serving accounts have used lately. Two queries.

    None while too little is known.
    """
    serving = (Account.Status.ACTIVE, Account.Status.RATE_LIMITED, Account.Status.QUOTA_EXCEEDED)
    rows = CurrentWindow.objects.filter(window=window, account__status__in=serving).select_related("account")
    current = {row.account_id: row for row in rows}
    history: dict[str, list[Reading]] = defaultdict(list)
    samples = WindowSample.objects.filter(
        window=window, account_id__in=current, recorded_at__gte=now - _RATE_SINCE
    )
    figures = samples.order_by("recorded_at", "pk").values_list(
        "account_id", "recorded_at", "used_percent", "reset_at"
    )
    for account_id, recorded_at, used_percent, reset_at in figures:
        history[account_id].append(_as_reading(recorded_at, used_percent, reset_at))
    shares = (_share(row, history[account_id], window, now) for account_id, row in current.items())
    return pool_forecast(shares, now.timestamp())


def _share(row: CurrentWindow, readings: list[Reading], window: str, now: datetime) -> Share:
    # The newest reading may repeat the one before it, and is then not in the history: a rest is known by it.
    known = [*readings, _reading(row)]
    has_ended = row.reset_at is not None and row.reset_at <= now
    return Share(
        capacity=capacity_credits(row.account.plan_type, window) or 0.0,
        used_percent=0.0 if has_ended else row.used_percent,
        reset_at=row.reset_at.timestamp() if row.reset_at else None,
        rate=use_rate(known),
    )


def _reading(row: CurrentWindow) -> Reading:
    return _as_reading(row.recorded_at, row.used_percent, row.reset_at)


def _as_reading(recorded_at: datetime, used_percent: float, reset_at: datetime | None) -> Reading:
    return Reading(recorded_at.timestamp(), used_percent, reset_at.timestamp() if reset_at else None)
