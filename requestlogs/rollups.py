"""The sums of each hour: added to with every group of records, and counted anew from the rows for proof.

A recount must give what adding gave: both ways take a row's figures by the same rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, models, transaction
from django.db.models import Case, Count, F, Q, QuerySet, Sum, Value, When
from django.db.models.functions import Coalesce, Least, TruncHour, TruncMinute

from requestlogs.first_tokens import BOUNDS_MS, RANGES, range_of
from requestlogs.models import ErrorHour, RequestRecord, UsageHour
from requestlogs.rows import Row

Number = int | Decimal
# What tells one sum from another: (hour, account, model, key), and (hour, error code).
UsageKey = tuple[datetime, str, str, int]
ErrorKey = tuple[datetime, str]

_NOTHING = Value(0, output_field=models.BigIntegerField())
_ERROR = Q(status=RequestRecord.Status.ERROR)
_ANSWERED = ~Q(account_id="")


def _in_range(low: int | None, high: int | None) -> models.Aggregate:
    """First tokens that took over `low` and not over `high` milliseconds."""
    condition = Q(first_token_ms__isnull=False)
    if low is not None:
        condition &= Q(first_token_ms__gt=low)
    if high is not None:
        condition &= Q(first_token_ms__lte=high)
    return Count("pk", filter=condition)


# Each figure of a sum, from the rows that it is the sum of.
_COUNTED: Mapping[str, models.Aggregate] = {
    "requests": Count("pk"),
    "errors": Count("pk", filter=_ERROR),
    "cancelled": Count("pk", filter=Q(status=RequestRecord.Status.CANCELLED)),
    "unpriced": Count("pk", filter=_ANSWERED & Q(cost_usd__isnull=True)),
    "input_tokens": Sum("input_tokens", default=0),
    "cached_input_tokens": Sum(
        Least(Coalesce("cached_input_tokens", _NOTHING), Coalesce("input_tokens", _NOTHING))
    ),
    "output_tokens": Sum(Coalesce("output_tokens", "reasoning_tokens"), default=0),
    "reasoning_tokens": Sum("reasoning_tokens", default=0),
    "cost_usd": Sum("cost_usd", default=Decimal(0)),
    "latency_ms": Sum("latency_ms", default=0),
    "latencies": Count("latency_ms"),
    "first_token_ms": Sum("first_token_ms", default=0),
    "first_tokens": Count("first_token_ms"),
    **{
        name: _in_range(low, high)
        for name, low, high in zip(RANGES, (None, *BOUNDS_MS), (*BOUNDS_MS, None), strict=True)
    },
}
FIGURES = tuple(_COUNTED)
# As the columns of a cost hold it.
_MICRO = Decimal("0.000001")


def hour_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def rollups_add(rows: Iterable[Row]) -> None:
    """Add what these rows come to. It belongs into the transaction that stores them."""
    usage: dict[UsageKey, dict[str, Number]] = {}
    errors: dict[ErrorKey, int] = defaultdict(int)
    for row in rows:
        sums = usage.setdefault(_usage_key(row), dict.fromkeys(FIGURES, 0))
        for name, figure in _figures(row).items():
            if figure:
                sums[name] += figure
        if row.status == RequestRecord.Status.ERROR:
            errors[hour_of(row.requested_at), row.error_code or ""] += 1
    # RACE: in one order in every process, so that two of them cannot wait for each other.
    for key in sorted(usage):
        _add(UsageHour.objects, _usage_identity(key), usage[key])
    for hour, code in sorted(errors):
        _add(ErrorHour.objects, {"hour": hour, "error_code": code}, {"requests": errors[hour, code]})


def _add(rows: Any, identity: Mapping[str, object], figures: Mapping[str, Number]) -> None:
    more = {name: F(name) + figure for name, figure in figures.items() if figure}
    if rows.filter(**identity).update(**more):
        return
    try:
        # RACE: another process may begin the same hour.
        with transaction.atomic():
            rows.create(**identity, **figures)
    except IntegrityError:
        rows.filter(**identity).update(**more)


def _usage_key(row: Row) -> UsageKey:
    model = row.model if row.account_id else ""
    return hour_of(row.requested_at), row.account_id, model, row.api_key_id or 0


def _usage_identity(key: UsageKey) -> dict[str, object]:
    return dict(zip(("hour", "account_id", "model", "api_key_id"), key, strict=True))


def _figures(row: Row) -> dict[str, Number]:
    inputs = row.input_tokens or 0
    output = row.output_tokens if row.output_tokens is not None else row.reasoning_tokens
    return {
        "requests": 1,
        "errors": int(row.status == RequestRecord.Status.ERROR),
        "cancelled": int(row.status == RequestRecord.Status.CANCELLED),
        "unpriced": int(bool(row.account_id) and row.cost_usd is None),
        "input_tokens": inputs,
        "cached_input_tokens": min(row.cached_input_tokens or 0, inputs),
        "output_tokens": output or 0,
        "reasoning_tokens": row.reasoning_tokens or 0,
        "cost_usd": row.cost_usd or Decimal(0),
        "latency_ms": row.latency_ms or 0,
        "latencies": int(row.latency_ms is not None),
        "first_token_ms": row.first_token_ms or 0,
        "first_tokens": int(row.first_token_ms is not None),
        **({} if row.first_token_ms is None else {range_of(row.first_token_ms): 1}),
    }


# --- from the rows ----------------------------------------------------------------------------


def counted_usage(rows: QuerySet[RequestRecord]) -> dict[UsageKey, dict[str, Number]]:
    """The sums of these rows, counted by the database."""
    model = Case(When(account_id="", then=Value("")), default=F("model"))
    key = Coalesce("api_key_id", _NOTHING)
    grouped = (
        rows.order_by()
        .annotate(the_hour=TruncHour("requested_at", tzinfo=UTC), the_model=model, the_key=key)
        .values_list("the_hour", "account_id", "the_model", "the_key")
        .annotate(**{f"sum_{name}": counted for name, counted in _COUNTED.items()})
    )
    return {tuple(row[:4]): _sums(row[4:]) for row in grouped}


def counted_minutes(rows: QuerySet[RequestRecord]) -> dict[datetime, dict[str, Number]]:
    """The sums of each minute of these rows, in all."""
    grouped = (
        rows.order_by()
        .annotate(minute=TruncMinute("requested_at", tzinfo=UTC))
        .values_list("minute")
        .annotate(**{f"sum_{name}": counted for name, counted in _COUNTED.items()})
    )
    return {row[0]: _sums(row[1:]) for row in grouped}


def _sums(counted: Sequence[Number]) -> dict[str, Number]:
    """SQLite adds up costs as binary fractions, which is off far behind the last digit that is stored."""
    sums = dict(zip(FIGURES, counted, strict=True))
    return sums | {"cost_usd": Decimal(sums["cost_usd"]).quantize(_MICRO)}


def counted_errors(rows: QuerySet[RequestRecord]) -> dict[ErrorKey, int]:
    grouped = (
        rows.filter(_ERROR)
        .order_by()
        .annotate(the_hour=TruncHour("requested_at", tzinfo=UTC), the_code=Coalesce("error_code", Value("")))
        .values_list("the_hour", "the_code")
        .annotate(Count("pk"))
    )
    return {(hour, code): count for hour, code, count in grouped}


def whole_since() -> datetime | None:
    """The first hour whose rows are all still there; None without any row.

    That of the oldest row is not, where an hour before it has sums: retention may have taken a part of it.
    """
    oldest = RequestRecord.objects.order_by("requested_at").values_list("requested_at", flat=True).first()
    if oldest is None:
        return None
    hour = hour_of(oldest)
    return hour + timedelta(hours=1) if UsageHour.objects.filter(hour__lt=hour).exists() else hour


@dataclass(frozen=True, slots=True)
class Difference:
    """A sum that is not what its rows come to."""

    hour: datetime
    of: str
    stored: str
    counted: str


def rollups_differences(*, since: datetime, until: datetime) -> list[Difference]:
    """Where the sums of whole hours from `since` to `until` are not what a recount gives."""
    span = {"hour__gte": since, "hour__lt": until}
    rows = RequestRecord.objects.filter(requested_at__gte=since, requested_at__lt=until)
    with transaction.atomic():
        usage = {_usage_key_of(row): _stored(row) for row in UsageHour.objects.filter(**span)}
        errors = {(row.hour, row.error_code): row.requests for row in ErrorHour.objects.filter(**span)}
        counted, counted_codes = counted_usage(rows), counted_errors(rows)
    return [*_compared(usage, counted), *_compared(errors, counted_codes)]


@transaction.atomic
def rollups_rebuild(*, since: datetime, until: datetime) -> int:
    """Write the sums of whole hours anew from the rows, where there are rows; returns how many differed.

    Hours whose rows have been deleted by retention keep their sums.
    """
    wrong = rollups_differences(since=since, until=until)
    hours = {difference.hour for difference in wrong}
    rows = RequestRecord.objects.filter(requested_at__gte=since, requested_at__lt=until)
    usage, errors = counted_usage(rows), counted_errors(rows)
    with_rows = hours & {key[0] for key in usage}
    UsageHour.objects.filter(hour__in=with_rows).delete()
    ErrorHour.objects.filter(hour__in=with_rows).delete()
    UsageHour.objects.bulk_create(
        UsageHour(**_usage_identity(key), **sums) for key, sums in usage.items() if key[0] in with_rows
    )
    ErrorHour.objects.bulk_create(
        ErrorHour(hour=hour, error_code=code, requests=count)
        for (hour, code), count in errors.items()
        if hour in with_rows
    )
    return len(wrong)


def _usage_key_of(row: UsageHour) -> UsageKey:
    return row.hour, row.account_id, row.model, row.api_key_id


def _stored(row: UsageHour) -> dict[str, Number]:
    return {name: getattr(row, name) for name in FIGURES}


def _compared(stored: Mapping[Any, Any], counted: Mapping[Any, Any]) -> list[Difference]:
    return [
        Difference(
            key[0], " ".join(map(str, key[1:])).strip(), _words(stored.get(key)), _words(counted.get(key))
        )
        for key in sorted(stored.keys() | counted.keys())
        if stored.get(key) != counted.get(key)
    ]


def _words(sums: Mapping[str, Number] | int | None) -> str:
    if sums is None or isinstance(sums, int):
        return f"{sums or 0} requests"
    tokens = f"{sums['input_tokens']} + {sums['output_tokens']} tokens"
    return f"{sums['requests']} requests, {tokens}, ${sums['cost_usd']}"
