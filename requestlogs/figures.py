"""What the pool has, has used and has cost: the figures of the dashboard's JSON and of its overview.

Sums come from the hours, never from the rows: they cost the same however many requests there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet, Sum

from accounts.models import Account
from accounts.selectors import with_credentials
from requestlogs.first_tokens import RANGES, quantile_s
from requestlogs.models import ErrorHour, UsageHour
from requestlogs.rollups import hour_of
from usage.capacity import Part, PoolCapacity, capacity_credits, pooled, window_key
from usage.models import CurrentWindow
from usage.selectors import current_windows

WEEK = timedelta(days=7)
WINDOW_MINUTES: Mapping[str, int] = {"primary": 300, "secondary": 10_080}


@dataclass(frozen=True, slots=True)
class WindowState:
    """One window of one account. `used_percent` is None while nothing current is known."""

    used_percent: float | None = None
    reset_at: datetime | None = None
    minutes: int | None = None
    capacity: float | None = None

    @property
    def remaining_percent(self) -> float | None:
        return None if self.used_percent is None else 100.0 - min(max(self.used_percent, 0.0), 100.0)


def window_state(
    account: Account, rows: Mapping[str, CurrentWindow], name: str, now: datetime
) -> WindowState:
    """After its reset a window is unknown until fresh proof."""
    key = window_key(name, rows)
    capacity = capacity_credits(account.plan_type, key)
    row = rows.get(key)
    if row is None or (row.reset_at is not None and row.reset_at <= now):
        return WindowState(capacity=capacity)
    return WindowState(row.used_percent, row.reset_at, row.window_minutes, capacity)


@dataclass(frozen=True, slots=True)
class PoolWindow:
    """A window over all accounts that have a reading of it."""

    capacity: PoolCapacity
    reset_at: datetime | None
    minutes: int


def pool_window(states: Iterable[tuple[Account, WindowState]], name: str) -> PoolWindow:
    """Accounts without a reading add nothing, and neither do those whose plan has no known capacity."""
    pool = pooled(
        Part(
            state.capacity or 0.0,
            state.used_percent,
            None if state.reset_at is None else state.reset_at.timestamp(),
            state.minutes,
        )
        for _, state in states
        if state.used_percent is not None
    )
    reset_at = None if pool.reset_at is None else datetime.fromtimestamp(pool.reset_at, UTC)
    return PoolWindow(pool.capacity, reset_at, pool.minutes or WINDOW_MINUTES[name])


@dataclass(frozen=True, slots=True)
class PoolState:
    """All accounts with their windows, as one moment's queries found them."""

    accounts: list[Account]
    windows: dict[str, dict[str, CurrentWindow]]
    now: datetime

    @classmethod
    def read(cls, now: datetime) -> PoolState:
        accounts = with_credentials(Account.objects.order_by("email", "pk"))
        return cls(accounts, current_windows(), now)

    def state(self, account: Account, window: str) -> WindowState:
        return window_state(account, self.windows.get(account.pk, {}), window, self.now)

    def pool(self, window: str) -> PoolWindow:
        return pool_window(((account, self.state(account, window)) for account in self.accounts), window)

    @property
    def newest(self) -> datetime | None:
        return max((row.recorded_at for rows in self.windows.values() for row in rows.values()), default=None)


@dataclass(frozen=True, slots=True)
class Totals:
    """What the requests of a span came to. Cost in US dollars, as far as it is known."""

    requests: int = 0
    errors: int = 0
    cancelled: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    latency_ms: int = 0
    latencies: int = 0
    first_token_ms: int = 0
    first_tokens: int = 0
    first_tokens_250: int = 0
    first_tokens_500: int = 0
    first_tokens_1000: int = 0
    first_tokens_2000: int = 0
    first_tokens_4000: int = 0
    first_tokens_8000: int = 0
    first_tokens_16000: int = 0
    first_tokens_32000: int = 0
    first_tokens_beyond: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, name) + getattr(other, name) for name in _FIGURES))

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def error_rate(self) -> float | None:
        """A share of 1; None without requests."""
        return self.errors / self.requests if self.requests else None

    @property
    def cached_share(self) -> float | None:
        """The prompt cache's hit rate, a share of 1."""
        return self.cached_input_tokens / self.input_tokens if self.input_tokens else None

    def first_token_s(self, share: float) -> float | None:
        """Within how many seconds that share of the answers began, about; None without any."""
        return quantile_s({name: getattr(self, name) for name in RANGES}, share)


_FIGURES = tuple(Totals.__dataclass_fields__)
_SUMS = {f"sum_{name}": Sum(name, default=0) for name in _FIGURES}


def hours_since(since: datetime, until: datetime | None = None) -> QuerySet[UsageHour]:
    """Whole hours: the one that `since` lies in is one of them."""
    rows = UsageHour.objects.filter(hour__gte=hour_of(since))
    return rows if until is None else rows.filter(hour__lt=until)


def totals(rows: QuerySet[UsageHour]) -> Totals:
    found = rows.aggregate(**_SUMS)
    return Totals(**{name: found[f"sum_{name}"] for name in _FIGURES})


def totals_of(sums: Mapping[str, Any]) -> Totals:
    """Of sums that have more figures than these."""
    return Totals(**{name: sums[name] for name in _FIGURES})


def totals_by(field: str, rows: QuerySet[UsageHour]) -> dict[Any, Totals]:
    """`field`: hour, account_id, model or api_key_id."""
    grouped = rows.order_by().values_list(field).annotate(**_SUMS)
    return {row[0]: Totals(*row[1:]) for row in grouped}


def top_error(since: datetime) -> str | None:
    """The most frequent code of failed requests; "" is one without a code, None is none at all."""
    rows = ErrorHour.objects.filter(hour__gte=hour_of(since)).values_list("error_code")
    found = rows.annotate(count=Sum("requests")).order_by("-count", "error_code").first()
    return None if found is None else str(found[0])
