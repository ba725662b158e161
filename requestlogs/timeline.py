"""The requests of a span of time in equal parts, and of as long a time before it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import F, QuerySet, Sum
from django.db.models.functions import TruncMinute

from requestlogs.figures import Totals, hours_since, totals_by, totals_of
from requestlogs.models import RequestRecord
from requestlogs.rollups import counted_minutes, hour_of


@dataclass(frozen=True, slots=True)
class Span:
    """How far back, in parts of which length; `words` is what it is called."""

    key: str
    words: str
    parts: int
    part: timedelta

    @property
    def length(self) -> timedelta:
        return self.parts * self.part


SPANS: Mapping[str, Span] = {
    span.key: span
    for span in (
        Span("1h", "last hour", 12, timedelta(minutes=5)),
        Span("24h", "last 24 hours", 24, timedelta(hours=1)),
        Span("7d", "last 7 days", 28, timedelta(hours=6)),
        Span("30d", "last 30 days", 30, timedelta(days=1)),
    )
}
DEFAULT_SPAN = SPANS["24h"]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The sums of each part, oldest first: (when it begins, sums); and of the time before."""

    span: Span
    parts: tuple[tuple[datetime, Totals], ...]
    before: Totals

    @property
    def total(self) -> Totals:
        return sum((found for _, found in self.parts), Totals())


def timeline(span: Span, now: datetime) -> Timeline:
    """In one query: of the hourly sums, or for less than a day of the rows of two hours."""
    end = _end(span, now)
    begin = end - span.length
    since = begin - span.length
    if span.part < timedelta(hours=1):
        rows = RequestRecord.objects.filter(requested_at__gte=since, requested_at__lt=end)
        found = {moment: totals_of(sums) for moment, sums in counted_minutes(rows).items()}
    else:
        found = totals_by("hour", hours_since(since))
    parts = [Totals()] * span.parts
    before = Totals()
    for moment, sums in found.items():
        index = (moment - begin) // span.part
        if 0 <= index < span.parts:
            parts[index] = parts[index] + sums
        elif index < 0:
            before = before + sums
    return Timeline(span, tuple((begin + n * span.part, part) for n, part in enumerate(parts)), before)


def costs_by(field: str, span: Span, now: datetime) -> dict[Any, list[Decimal]]:
    """The cost of each part for each account, model or key (account_id, model, api_key_id). One query."""
    end = _end(span, now)
    begin = end - span.length
    rows: QuerySet[Any] = hours_since(begin)
    at: Any = F("hour")
    if span.part < timedelta(hours=1):
        rows = RequestRecord.objects.filter(requested_at__gte=begin, requested_at__lt=end)
        at = TruncMinute("requested_at", tzinfo=UTC)
    grouped = rows.order_by().annotate(moment=at).values_list("moment", field)
    sums = grouped.annotate(Sum("cost_usd", default=Decimal(0)))
    found: dict[Any, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * span.parts)
    for moment, value, cost in sums:
        index = (moment - begin) // span.part
        if cost and 0 <= index < span.parts:
            found[value or ""][index] += cost
    return dict(found)


def _end(span: Span, now: datetime) -> datetime:
    """The end of the part that is running: days and quarters of days are those of UTC."""
    if span.part < timedelta(hours=1):
        minute = now.astimezone(UTC).replace(second=0, microsecond=0)
        return minute + timedelta(minutes=1)
    hours = span.part // timedelta(hours=1)
    hour = hour_of(now)
    return hour.replace(hour=hour.hour // hours * hours) + span.part
