"""Reads: what a key has used before it got a limit, so that the limit begins as though it had been there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet

from proxy.budgets import NOTHING, Amounts, charged
from proxy.key_selectors import answered_only, usage_sums
from requestlogs.models import RequestRecord, UsageHour
from requestlogs.records import TokenCounts
from requestlogs.rollups import hour_of
from usage.pricing import PriceBook
from usage.selectors import price_book

_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Used:
    """`first_at`: of the window's first request; None where there was none."""

    amounts: Amounts = NOTHING
    first_at: datetime | None = None


def used_before(*, key_id: int, model: str, since: datetime) -> Used:
    """From the rows of single requests, and for the time before the oldest of them from the hours' sums.

    Retention may have deleted rows that a week's limit must count; the sums stay. Of the hour in which the
    oldest row lies, and of the one in which the window begins, what has no row any more is not counted.
    """
    of_key = RequestRecord.objects.filter(api_key_id=key_id, requested_at__gt=since)
    oldest = of_key.order_by("requested_at").values_list("requested_at", flat=True).first()
    hours = UsageHour.objects.filter(api_key_id=key_id, hour__gt=since).exclude(account_id="")
    if oldest is not None:
        hours = hours.filter(hour__lt=hour_of(oldest))
    rows = of_key
    if model:
        rows, hours = rows.filter(model=model), hours.filter(model=model)
    prices = price_book()
    first_row = rows.order_by("requested_at").values_list("requested_at", flat=True).first()
    first_hour = hours.order_by("hour").values_list("hour", flat=True).first()
    return Used(_added(_of_rows(rows, prices), _of_hours(hours, prices)), first_hour or first_row)


def window_end(used: Used, *, now: datetime, length_s: float) -> datetime:
    return (used.first_at or now) + timedelta(seconds=length_s)


def _of_rows(rows: QuerySet[RequestRecord], prices: PriceBook) -> Amounts:
    sums = usage_sums(rows)
    cost = int(sums["cost_usd"] * _MICRO)
    fields = (
        "model", "service_tier", "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens",
    )  # fmt: skip
    unpriced = answered_only(rows).filter(cost_usd=None, input_tokens__isnull=False).order_by()
    for model, tier, *tokens in unpriced.values_list(*fields).iterator():
        cost += charged(model, TokenCounts(*tokens), tier, prices).cost_usd
    return Amounts(sums["request_count"], sums["input_tokens"], sums["output_tokens"], cost)


def _of_hours(hours: QuerySet[UsageHour], prices: PriceBook) -> Amounts:
    total = NOTHING
    for hour in hours.order_by():
        answered = max(0, hour.requests - hour.errors - hour.cancelled)
        cost = int(hour.cost_usd * _MICRO) or _cost_of_average(hour, prices)
        total = _added(total, Amounts(answered, hour.input_tokens, hour.output_tokens, cost))
    return total


def _cost_of_average(hour: UsageHour, prices: PriceBook) -> int:
    """Of an hour in which nothing had a price. The sum as one request would count as a long one."""
    tokens = (hour.input_tokens, hour.cached_input_tokens, hour.output_tokens)
    average = TokenCounts(*(count // max(1, hour.requests) for count in tokens))
    return charged(hour.model, average, "", prices).cost_usd * hour.requests


def _added(one: Amounts, other: Amounts) -> Amounts:
    return Amounts(
        one.requests + other.requests,
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.cost_usd + other.cost_usd,
    )
