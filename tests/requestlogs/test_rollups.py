"""Sums of each hour: they are what a recount of the rows gives, whatever the rows are."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from requestlogs.models import ErrorHour, RequestRecord, UsageHour
from requestlogs.records import Record, TokenCounts
from requestlogs.rollups import counted_minutes, hour_of, rollups_differences, rollups_rebuild
from requestlogs.writer import records_store

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = {"since": NOW - timedelta(days=1), "until": NOW + timedelta(days=1)}

counts = st.none() | st.integers(0, 10**6)
kept = st.builds(
    Record,
    request_id=st.just("rid"),
    requested_at=st.integers(0, 7200).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    account_id=st.sampled_from(["", "acc-1", "acc-2"]),
    api_key_id=st.sampled_from([None, 1, 2]),
    model=st.sampled_from(["", "gpt-5.5", "gpt-5.1", "unheard-of"]),
    status=st.sampled_from(["success", "error", "cancelled"]),
    error_code=st.sampled_from([None, "", "usage_limit_reached", "server_error"]),
    tokens=st.builds(TokenCounts, input=counts, cached_input=counts, output=counts, reasoning=counts),
    latency_ms=counts,
    first_token_ms=counts,
)


def record(**fields: Any) -> Record:
    base = {"account_id": "acc-1", "model": "gpt-5.1", "status": "success"}
    return Record("rid", fields.pop("requested_at", NOW), **{**base, **fields})


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(kept, max_size=6), max_size=4))
def test_sums_are_what_a_recount_gives(groups: list[list[Record]]) -> None:
    for model in (RequestRecord, UsageHour, ErrorHour):
        model._default_manager.all().delete()
    for group in groups:
        records_store(group)
    assert rollups_differences(**DAY) == []
    assert sum(row.requests for row in UsageHour.objects.all()) == sum(map(len, groups))


def test_a_group_adds_to_the_sum_of_its_hour() -> None:
    tokens = TokenCounts(input=1000, cached_input=400, output=50, reasoning=20)
    records_store([record(tokens=tokens, latency_ms=900, first_token_ms=300)] * 2)
    records_store([record(status="error", account_id="", error_code="server_error", latency_ms=100)])
    records_store([record(tokens=tokens, requested_at=NOW + timedelta(minutes=29))])
    served = UsageHour.objects.get(account_id="acc-1")
    assert (served.hour, served.requests, served.errors) == (NOW.replace(minute=0), 3, 0)
    assert (served.input_tokens, served.cached_input_tokens, served.output_tokens) == (3000, 1200, 150)
    assert (served.latency_ms, served.latencies, served.first_token_ms, served.first_tokens) == (
        1800,
        2,
        600,
        2,
    )
    assert served.cost_usd == sum(row.cost_usd or Decimal(0) for row in RequestRecord.objects.all())
    failed = UsageHour.objects.get(account_id="")
    assert (failed.requests, failed.errors, failed.model) == (1, 1, "")
    assert ErrorHour.objects.values_list("error_code", "requests").get() == ("server_error", 1)


def test_a_model_that_nobody_has_answered_makes_no_sum_of_its_own() -> None:
    records_store([record(account_id="", status="error", model=f"made-up-{number}") for number in range(20)])
    assert UsageHour.objects.values_list("model", "requests").get() == ("", 20)


def test_rows_and_sums_are_stored_together_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(rows: object) -> None:
        raise RuntimeError("no sum today")

    monkeypatch.setattr("requestlogs.writer.rollups_add", broken)
    with pytest.raises(RuntimeError):
        records_store([record()])
    assert not RequestRecord.objects.exists()


def test_what_differs_is_told_and_a_rebuild_puts_it_right() -> None:
    records_store([record(), record(status="error", error_code="server_error")])
    UsageHour.objects.update(requests=7)
    ErrorHour.objects.all().delete()
    told = rollups_differences(**DAY)
    assert [difference.of for difference in told] == ["acc-1 gpt-5.1 0", "server_error"]
    assert told[0].stored.startswith("7 requests") and told[0].counted.startswith("2 requests")
    assert rollups_rebuild(**DAY) == 2
    assert rollups_differences(**DAY) == []


def thousands() -> list[Record]:
    """In four hours. The sum of so many binary fractions is not the sum of what they stand for."""
    rng = random.Random(2)
    return [
        record(
            model="gpt-5.5",
            requested_at=NOW + (number % 4) * HOUR,
            tokens=TokenCounts(
                input=rng.randrange(90_000, 200_000),
                cached_input=rng.randrange(90_000),
                output=rng.randrange(9_000),
            ),
        )
        for number in range(6_000)
    ]


def test_the_cost_of_thousands_of_requests_is_what_a_recount_gives() -> None:
    records_store(thousands())
    assert rollups_differences(since=NOW - HOUR, until=NOW + 4 * HOUR) == []


def test_the_cost_of_a_minute_is_the_sum_of_its_rows_to_the_last_digit() -> None:
    records_store(thousands())
    rows = RequestRecord.objects.all()
    counted = sum(sums["cost_usd"] for sums in counted_minutes(rows).values())
    assert counted == sum(row.cost_usd or Decimal(0) for row in rows)


def test_an_hour_whose_rows_are_gone_keeps_its_sums() -> None:
    records_store([record()])
    RequestRecord.objects.all().delete()
    rollups_rebuild(**DAY)
    assert UsageHour.objects.get().requests == 1


def test_an_hour_is_that_of_utc() -> None:
    assert hour_of(datetime(2026, 11, 20, 12, 59, 59, 999, tzinfo=UTC)) == NOW.replace(minute=0)
