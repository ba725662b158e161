"""What a limit begins with."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from proxy.budgets import spent
from proxy.key_services import LimitRule, api_key_create, limits_replace
from proxy.models import ApiKey, ApiKeyLimit
from requestlogs.models import RequestRecord
from requestlogs.records import Record, TokenCounts
from requestlogs.rollups import hour_of
from requestlogs.writer import records_store
from tests.builders import make_account

pytestmark = pytest.mark.django_db

UNKNOWN = "model-without-a-price"


def record(key: ApiKey, at: datetime, model: str = "gpt-5.5", **fields: Any) -> Record:
    values: dict[str, Any] = {
        "request_id": f"r-{at.timestamp()}-{model}",
        "requested_at": at,
        "api_key_id": key.pk,
        "account_id": "acc-1_00000001",
        "model": model,
        "status": "success",
        "tokens": TokenCounts(20_000, 5_000, 3_000),
    }
    return Record(**(values | fields))


def begun(key: ApiKey, kind: str, window: str, model: str = "") -> ApiKeyLimit:
    limits_replace(key=key, rules=[LimitRule(kind, window, 10**12, model)])
    return key.limits.get()


@pytest.fixture
def key() -> ApiKey:
    make_account()
    return api_key_create(name="k").key


def test_a_model_without_a_known_price_is_charged_as_a_running_request_is(key: ApiKey) -> None:
    records = [record(key, timezone.now() - timedelta(hours=1), model) for model in (UNKNOWN, "gpt-5.5")]
    records_store(records)
    assert RequestRecord.objects.get(model=UNKNOWN).cost_usd is None
    unknown, known = (spent(each).cost_usd for each in records)
    assert unknown == known > 0
    assert begun(key, "cost_usd", "daily").used == unknown + known
    assert begun(key, "cost_usd", "weekly", UNKNOWN).used == unknown


@pytest.mark.parametrize("model", ["gpt-5.5", UNKNOWN])
@pytest.mark.parametrize("kind", ["requests", "input_tokens", "output_tokens", "total_tokens", "cost_usd"])
def test_what_retention_has_deleted_is_taken_from_the_sums_of_its_hours(
    key: ApiKey, kind: str, model: str
) -> None:
    now = timezone.now()
    records = [record(key, now - timedelta(days=days, hours=2), model) for days in (9, 5, 5, 3, 0)]
    records_store(records)
    RequestRecord.objects.filter(requested_at__lt=now - timedelta(days=1)).delete()
    row = begun(key, kind, "weekly")
    each = spent(records[0]).of(kind)
    assert row.used == 4 * each
    # Of the first request in the window only its hour is known.
    assert row.reset_at == hour_of(records[1].requested_at) + timedelta(days=7)
    assert begun(key, kind, "monthly").used == 5 * each
    assert begun(key, kind, "daily").used == each


def test_sums_count_for_their_own_key_and_model(key: ApiKey) -> None:
    at = timezone.now() - timedelta(days=3)
    other = api_key_create(name="other").key
    records_store([record(key, at), record(key, at, "gpt-5.4"), record(other, at)])
    RequestRecord.objects.all().delete()
    assert begun(key, "requests", "weekly").used == 2
    assert begun(key, "requests", "monthly", "gpt-5.4").used == 1


def test_a_request_that_failed_costs_no_new_limit_anything(key: ApiKey) -> None:
    at = timezone.now() - timedelta(days=3)
    records_store([record(key, at), record(key, at, status="error", tokens=TokenCounts())])
    RequestRecord.objects.all().delete()
    assert begun(key, "requests", "weekly").used == 1


def test_what_has_both_rows_and_sums_counts_once(key: ApiKey) -> None:
    now = timezone.now()
    records_store([record(key, now - timedelta(minutes=minutes)) for minutes in (3, 130, 4000)])
    assert begun(key, "requests", "weekly").used == 3
    assert begun(key, "cost_usd", "monthly").used == sum(
        int(cost * 1_000_000) for cost in RequestRecord.objects.values_list("cost_usd", flat=True) if cost
    )
