"""Reads about API keys: what the data plane works from, and what a key has used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.utils import timezone

from accounts.groups import members_of_groups
from proxy.budgets import LimitState
from proxy.keys import KeyView
from proxy.models import ApiKey, ApiKeyLimit
from requestlogs.models import RequestRecord, UsageHour
from requestlogs.rollups import hour_of

TREND_HOURS = 7 * 24


def key_views() -> dict[str, KeyView]:
    """Every key by its hash; disabled ones too, so that their holders are told what is wrong."""
    limited = set(ApiKeyLimit.objects.values_list("key_id", flat=True))
    groups = members_of_groups()
    return {row.key_hash: _view(row, row.pk in limited, groups) for row in ApiKey.objects.all()}


def key_view(key_id: int) -> KeyView | None:
    row = ApiKey.objects.filter(pk=key_id).first()
    if row is None:
        return None
    return _view(row, ApiKeyLimit.objects.filter(key_id=key_id).exists(), members_of_groups())


def _view(row: ApiKey, has_limits: bool, groups: Mapping[int, frozenset[str]]) -> KeyView:
    return KeyView(
        id=row.pk,
        name=row.name,
        enabled=row.enabled,
        expires_at=row.expires_at.timestamp() if row.expires_at else None,
        allowed_models=frozenset(row.allowed_models),
        enforced_model=row.enforced_model,
        enforced_effort=row.enforced_effort,
        allowed_efforts=frozenset(row.allowed_efforts),
        enforced_tier=row.enforced_tier,
        max_parallel=row.max_parallel,
        accounts=bound_accounts(row, groups),
        has_limits=has_limits,
    )


def names_of_keys() -> dict[int, str]:
    return dict(ApiKey.objects.values_list("pk", "name"))


def bound_accounts(row: ApiKey, groups: Mapping[int, frozenset[str]]) -> frozenset[str] | None:
    """The accounts that a key may use, those of its groups among them; None: any."""
    if not row.is_bound:
        return None
    # A group that was deleted has no members; it never means all accounts.
    members = (groups.get(group_id, frozenset()) for group_id in row.group_ids)
    return frozenset(row.account_ids).union(*members)


def keys_with_use() -> QuerySet[ApiKey]:
    """For lists: each with its limits, and `last_used_at` as far as request records are kept."""
    newest = RequestRecord.objects.filter(api_key_id=OuterRef("pk")).order_by("-requested_at")
    return ApiKey.objects.prefetch_related("limits").annotate(
        last_used_at=Subquery(newest.values("requested_at")[:1])
    )


@dataclass(frozen=True, slots=True)
class LimitView:
    """A limit as it stands now: a window that has ended counts as begun anew."""

    kind: str
    window: str
    model: str
    max_value: int
    used: int
    reserved: int
    reset_at: datetime

    @property
    def remaining(self) -> int:
        return max(0, self.max_value - self.used)


def limit_views(rows: Iterable[ApiKeyLimit], now: datetime) -> list[LimitView]:
    return [_limit_view(row, now) for row in sorted(rows, key=lambda row: row.pk)]


def _limit_view(row: ApiKeyLimit, now: datetime) -> LimitView:
    state = LimitState(
        row.pk, row.key_id, row.kind, row.window, row.model, row.max_value, row.used, row.reserved,
        row.reset_at.timestamp(),
    )  # fmt: skip
    state.roll(now.timestamp())
    return LimitView(
        row.kind, row.window, row.model, row.max_value, state.used, row.reserved,
        datetime.fromtimestamp(state.reset_at, UTC),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """What a key has used, as far as request records are kept."""

    request_count: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    limits: tuple[LimitView, ...]


def key_usage(key_id: int) -> KeyUsage:
    sums = usage_sums(RequestRecord.objects.filter(api_key_id=key_id))
    limits = limit_views(ApiKeyLimit.objects.filter(key_id=key_id), timezone.now())
    return KeyUsage(limits=tuple(limits), **sums)


def usage_sums(records: QuerySet[RequestRecord]) -> dict[str, Any]:
    """Of the requests that were answered, or of which upstream counted tokens."""
    sums = answered_only(records).aggregate(
        request_count=Count("pk"),
        input_tokens=Sum("input_tokens", default=0),
        cached_input_tokens=Sum("cached_input_tokens", default=0),
        output_tokens=Sum("output_tokens", default=0),
        cost_usd=Sum("cost_usd", default=Decimal(0)),
    )
    return dict(sums)


def answered_only(records: QuerySet[RequestRecord]) -> QuerySet[RequestRecord]:
    return records.filter(Q(status=RequestRecord.Status.SUCCESS) | Q(input_tokens__isnull=False))


def key_trends(key_id: int, now: datetime) -> list[tuple[datetime, int, Decimal]]:
    """Hour by hour of seven days, the present one last: tokens and cost. From sums, which stay."""
    newest = hour_of(now)
    hours = [newest - timedelta(hours=ago) for ago in reversed(range(TREND_HOURS))]
    rows = UsageHour.objects.filter(api_key_id=key_id, hour__gte=hours[0]).order_by().values("hour")
    sums = rows.annotate(tokens=Sum(F("input_tokens") + F("output_tokens")), cost=Sum("cost_usd"))
    known = {row["hour"]: (row["tokens"], row["cost"]) for row in sums}
    return [(hour, *known.get(hour, (0, Decimal(0)))) for hour in hours]


def key_requests(key_id: int, *, limit: int = 20) -> list[RequestRecord]:
    """Newest first."""
    return list(RequestRecord.objects.filter(api_key_id=key_id).order_by("-requested_at")[:limit])
