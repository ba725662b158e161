"""Reads: the newest reading of every window, and the history of one account."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.db.models import Avg, Count, F, Q, Window
from django.db.models.functions import RowNumber

from accounts.models import Account
from usage.capacity import Part, capacity_credits, pooled, weekly_credits, window_key
from usage.models import CurrentWindow, ModelLimitWindow, PriceOverride, WindowKey, WindowSample
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
from usage.pricing import OwnPrice, PriceBook

# How far back the present rate of use is looked for: what lies before it counts for a four-hundredth.
_RATE_SINCE = timedelta(hours=3)
_POOL_WINDOWS = ("primary", "secondary")
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


def sample_history(account_id: str, since: datetime, most: int) -> list[WindowSample]:
    """The account's readings from `since` on, oldest first.

    Of a window that has more than `most` each second, third, and so on, the newest always among them: no more
    than that are made objects of.
    """
    rows = WindowSample.objects.filter(
        account_id=account_id, window__in=WindowKey.values, recorded_at__gte=since
    ).annotate(
        place=Window(RowNumber(), partition_by="window", order_by=F("recorded_at").desc()),
        of=Window(Count("pk"), partition_by="window"),
    )
    thinned = rows.annotate(rest=(F("place") - 1) % ((F("of") - 1) / most + 1)).filter(rest=0)
    return list(thinned.order_by("recorded_at", "pk"))


def mean_use(account_ids: Iterable[str], window: str, since: datetime) -> dict[str, float]:
    """account id → the mean of its readings of the window from `since` on; in percent used."""
    rows = WindowSample.objects.filter(account_id__in=account_ids, window=window, recorded_at__gte=since)
    return dict(rows.order_by().values_list("account_id").annotate(Avg("used_percent")))


def forecasts(accounts: Iterable[Account], now: datetime) -> dict[str, Forecast]:
    """primary and secondary → when the pool runs dry of it, from what the serving accounts have used lately.

    One query; the accounts come with their windows. A window of which too little is known is left out. One
    that has ended is unknown until fresh proof, and a month stands in for the week.
    """
    current: dict[str, list[tuple[CurrentWindow, float]]] = {name: [] for name in _POOL_WINDOWS}
    for account in accounts:
        rows = {row.window: row for row in account.windows.all()}
        for name, known in current.items():
            row = rows.get(window_key(name, rows))
            if row is None or account.status not in _SERVING or _has_ended(row, now):
                continue
            known.append((row, capacity_credits(account.plan_type, row.window) or 0.0))
    history = _recent_readings([row for known in current.values() for row, _ in known], now)
    found = {}
    for name, known in current.items():
        shares = [_share(row, credits, history[row.account_id, row.window]) for row, credits in known]
        expected = pool_forecast(shares, now.timestamp(), _horizon_s(known))
        if expected is not None:
            found[name] = expected
    return found


def _has_ended(row: CurrentWindow, now: datetime) -> bool:
    return row.reset_at is not None and row.reset_at <= now


def _horizon_s(known: Iterable[tuple[CurrentWindow, float]]) -> float:
    """Longer for a pool of months than for one of weeks."""
    pool = pooled(Part(credits, row.used_percent, None, row.window_minutes) for row, credits in known)
    return max(HORIZON_S, 60.0 * (pool.minutes or 0))


def _recent_readings(
    windows: Sequence[CurrentWindow], now: datetime
) -> defaultdict[tuple[str, str], list[Reading]]:
    """(account id, window) → its readings, oldest first: the newest five, and before them each tenth.

    The rate needs no more of them, and a pool that is read every minute has thousands.
    """
    rows = WindowSample.objects.filter(
        # Both are named for the index: by the time alone the whole table would be read.
        account_id__in={row.account_id for row in windows},
        window__in={row.window for row in windows},
        recorded_at__gte=now - _RATE_SINCE,
    )
    place = Window(RowNumber(), partition_by=["account_id", "window"], order_by=F("recorded_at").desc())
    kept = rows.annotate(place=place, tenth=F("place") % 10).filter(Q(place__lte=5) | Q(tenth=0))
    history: defaultdict[tuple[str, str], list[Reading]] = defaultdict(list)
    figures = kept.order_by("recorded_at", "pk").values_list(
        "account_id", "window", "recorded_at", "used_percent", "reset_at"
    )
    for account_id, window, recorded_at, used_percent, reset_at in figures:
        history[account_id, window].append(_as_reading(recorded_at, used_percent, reset_at))
    return history


def weekly_pace(account: Account, now: datetime) -> Pace | None:
    """Against even use of the week, or of the month where a plan has only that; None while it is unknown.

    The account comes with its windows.
    """
    known = {row.window: row for row in account.windows.all()}
    row = known.get(window_key("secondary", known))
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


def _share(row: CurrentWindow, credits: float, readings: list[Reading]) -> Share:
    # The newest reading may repeat the one before it, and is then not in the history: a rest is known by it.
    newest = _reading(row)
    return Share(credits, newest.used_percent, newest.reset_at, use_rate([*readings, newest]))


def _reading(row: CurrentWindow) -> Reading:
    return _as_reading(row.recorded_at, row.used_percent, row.reset_at)


def _as_reading(recorded_at: datetime, used_percent: float, reset_at: datetime | None) -> Reading:
    return Reading(recorded_at.timestamp(), used_percent, reset_at.timestamp() if reset_at else None)
