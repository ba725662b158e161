"""The dashboard's JSON: accounts with their usage, the pool's summary, history and overview."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Account
from accounts.summary import account_summary, iso
from codexproxy.api_schema import gives
from requestlogs.api_shapes import (
    Accounts,
    AccountShown,
    History,
    Overview,
    PoolWindowShown,
    Share,
    Summary,
    WindowShares,
)
from requestlogs.figures import (
    WEEK,
    WINDOW_MINUTES,
    PoolState,
    PoolWindow,
    Totals,
    WindowState,
    hours_since,
    top_error,
    totals,
    totals_by,
    window_state,
)
from requestlogs.log_api import log_entry, validated
from requestlogs.models import RequestRecord
from usage.selectors import mean_use

_WINDOWS = tuple(WINDOW_MINUTES)


class HistoryQuery(serializers.Serializer[Any]):
    hours = serializers.IntegerField(min_value=1, max_value=168, default=24)


class WindowQuery(serializers.Serializer[Any]):
    window = serializers.ChoiceField(choices=_WINDOWS, default="primary")


class OverviewQuery(serializers.Serializer[Any]):
    requestLimit = serializers.IntegerField(min_value=1, max_value=1000, default=25)
    requestOffset = serializers.IntegerField(min_value=0, max_value=2**31 - 1, default=0)


@gives(Accounts)
@api_view(["GET"])
def accounts(request: Request) -> Response:
    """All accounts with both windows. One whose usage is not known counts as full here."""
    listed: Accounts = {"accounts": _accounts(PoolState.read(timezone.now()))}
    return Response(listed)


@gives(Summary)
@api_view(["GET"])
def usage_summary(request: Request) -> Response:
    """The pool's windows, and the cost, requests and errors of seven days, in whole hours."""
    return Response(_summary(PoolState.read(timezone.now())))


@gives(WindowShares)
@extend_schema(parameters=[WindowQuery])
@api_view(["GET"])
def usage_window(request: Request) -> Response:
    """What is left of each account's window."""
    window = validated(WindowQuery, request)["window"]
    return Response(_window(PoolState.read(timezone.now()), window))


@gives(History)
@extend_schema(parameters=[HistoryQuery])
@api_view(["GET"])
def usage_history(request: Request) -> Response:
    """The mean of what was left of the 5-hour window; an account without readings counts as full."""
    hours = validated(HistoryQuery, request)["hours"]
    now = timezone.now()
    accounts = list(Account.objects.order_by("email", "pk"))
    means = mean_use([account.pk for account in accounts], "primary", now - timedelta(hours=hours))
    rows = [
        _share(account, state, 100.0 - min(max(means.get(account.pk, 0.0), 0.0), 100.0))
        for account in accounts
        for state in [window_state(account, {}, "primary", now)]
    ]
    history: History = {"windowHours": hours, "accounts": rows}
    return Response(history)


@gives(Overview)
@extend_schema(parameters=[OverviewQuery])
@api_view(["GET"])
def dashboard_overview(request: Request) -> Response:
    """Accounts, summary, windows and the newest requests in one answer."""
    page = validated(OverviewQuery, request)
    pool = PoolState.read(timezone.now())
    start = page["requestOffset"]
    rows = RequestRecord.objects.order_by("-id")[start : start + page["requestLimit"]]
    overview: Overview = {
        "lastSyncAt": iso(pool.newest),
        "accounts": _accounts(pool),
        "summary": _summary(pool),
        "windows": {"primary": _window(pool, "primary"), "secondary": _window(pool, "secondary")},
        "requestLogs": [log_entry(row) for row in rows],
    }
    return Response(overview)


def _accounts(pool: PoolState) -> list[AccountShown]:
    return [_account(pool, account) for account in pool.accounts]


def _account(pool: PoolState, account: Account) -> AccountShown:
    primary, secondary = (pool.state(account, name) for name in _WINDOWS)
    return {
        **account_summary(account, pool.now),
        "usage": {
            "primaryRemainingPercent": _left(primary),
            "secondaryRemainingPercent": _left(secondary),
        },
        "resetAtPrimary": iso(primary.reset_at),
        "resetAtSecondary": iso(secondary.reset_at),
        "windowMinutesPrimary": primary.minutes,
        "windowMinutesSecondary": secondary.minutes,
        "capacityCreditsPrimary": primary.capacity,
        "remainingCreditsPrimary": _credits(primary, _left(primary)),
        "capacityCreditsSecondary": secondary.capacity,
        "remainingCreditsSecondary": _credits(secondary, _left(secondary)),
    }


def _left(state: WindowState) -> float:
    """This JSON shows an account whose usage is not known as full; the sums leave it out."""
    return 100.0 if state.remaining_percent is None else state.remaining_percent


def _credits(state: WindowState, percent: float) -> float | None:
    return None if state.capacity is None else round(state.capacity * percent / 100.0, 4)


def _share(account: Account, state: WindowState, percent: float) -> Share:
    return {
        "accountId": account.pk,
        "email": account.email,
        "remainingPercentAvg": round(percent, 4),
        "capacityCredits": state.capacity or 0.0,
        "remainingCredits": _credits(state, percent) or 0.0,
    }


def _window(pool: PoolState, name: str) -> WindowShares:
    states = {account.pk: pool.state(account, name) for account in pool.accounts}
    return {
        "windowKey": name,
        "windowMinutes": pool.pool(name).minutes,
        "accounts": [
            _share(account, states[account.pk], _left(states[account.pk])) for account in pool.accounts
        ],
    }


def _summary(pool: PoolState) -> Summary:
    since = pool.now - WEEK
    by_model = totals_by("model", hours_since(since))
    week = sum(by_model.values(), Totals())
    windows = {name: pool.pool(name) for name in _WINDOWS}
    minutes = windows["secondary"].minutes
    window = week if minutes * 60 == WEEK.total_seconds() else _since(pool.now - timedelta(minutes=minutes))
    error = top_error(since)
    return {
        "primaryWindow": _pool_window(windows["primary"]),
        "secondaryWindow": _pool_window(windows["secondary"]),
        "cost": {
            "currency": "USD",
            "totalUsd7d": _usd(week.cost_usd),
            "byModel": [
                {"model": model, "usd": _usd(found.cost_usd)}
                for model, found in sorted(by_model.items(), key=lambda pair: str(pair[0]))
                if model and found.requests > found.unpriced
            ],
        },
        "metrics": {
            "requests7d": week.requests,
            "tokensSecondaryWindow": window.tokens,
            "cachedTokensSecondaryWindow": window.cached_input_tokens,
            "errorRate7d": None if week.error_rate is None else round(week.error_rate, 6),
            "topError": error or None,
        },
    }


def _since(since: datetime) -> Totals:
    return totals(hours_since(since))


def _pool_window(found: PoolWindow) -> PoolWindowShown:
    return {
        "remainingPercent": round(found.capacity.remaining_percent, 4),
        "capacityCredits": found.capacity.capacity_credits,
        "remainingCredits": round(found.capacity.remaining_credits, 4),
        "resetAt": iso(found.reset_at),
        "windowMinutes": found.minutes,
    }


def _usd(cost: Decimal) -> float:
    return float(round(cost, 6))
