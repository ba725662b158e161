from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.metrics import Metrics
from requestlogs.records import AttemptRecord, Record, Split, TokenCounts


def record(**fields: Any) -> Record:
    base = {
        "path": "/backend-api/codex/responses",
        "status": "success",
        "status_code": 200,
        "latency_ms": 3000,
        "first_token_ms": 600,
    }
    return Record("rid", datetime.now(UTC), **{**base, **fields})


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"codexproxy_{name}", labels)


def test_a_request_is_counted_by_what_it_was_and_how_it_ended() -> None:
    metrics = Metrics()
    metrics.observe(record())
    metrics.observe(record())
    metrics.observe(record(path="/v1/chat/completions", status="error", status_code=429))
    ended = {"surface": "codex", "transport": "http", "outcome": "success", "status": "200"}
    assert value(metrics, "requests_total", **ended) == 2
    refused = {"surface": "v1", "transport": "http", "outcome": "error", "status": "429"}
    assert value(metrics, "requests_total", **refused) == 1


def test_times_are_told_in_seconds() -> None:
    metrics = Metrics()
    metrics.observe(record(transport="websocket"))
    labels = {"surface": "codex", "transport": "websocket"}
    assert value(metrics, "request_duration_seconds_sum", **labels) == 3.0
    assert value(metrics, "first_event_seconds_bucket", le="1.0", **labels) == 1
    assert value(metrics, "first_event_seconds_bucket", le="0.5", **labels) == 0


def test_what_was_added_to_the_first_byte_is_counted_where_an_account_served() -> None:
    metrics = Metrics()
    metrics.observe(record(split=Split(own_ms=1.5)))
    metrics.observe(record(split=None))
    labels = {"surface": "codex", "transport": "http"}
    assert value(metrics, "own_seconds_sum", **labels) == 0.0015
    assert value(metrics, "own_seconds_count", **labels) == 1


def test_a_request_that_never_had_an_event_has_no_time_of_one() -> None:
    metrics = Metrics()
    metrics.observe(record(first_token_ms=None, latency_ms=None))
    assert value(metrics, "first_event_seconds_count", surface="codex", transport="http") is None


def test_attempts_and_failovers_are_counted() -> None:
    metrics = Metrics()
    tries = [
        AttemptRecord("a", 0, "usage limit"),
        AttemptRecord("b", 1, "served"),
        AttemptRecord("b", 2, "served"),
    ]
    metrics.observe(record(attempts=tries))
    metrics.observe(record(attempts=tries[1:]))
    assert value(metrics, "attempts_total", outcome="usage limit") == 1
    assert value(metrics, "attempts_total", outcome="served") == 4
    assert value(metrics, "failovers_total") == 1


def test_tokens_are_counted_by_kind_and_unknown_ones_are_not() -> None:
    metrics = Metrics()
    metrics.observe(record(tokens=TokenCounts(input=100, cached_input=80, output=5)))
    assert value(metrics, "tokens_total", kind="input") == 100
    assert value(metrics, "tokens_total", kind="cached_input") == 80
    assert value(metrics, "tokens_total", kind="reasoning") is None


def test_a_count_that_cannot_be_is_left_out() -> None:
    metrics = Metrics()
    metrics.observe(record(tokens=TokenCounts(input=-100, output=5)))
    assert value(metrics, "tokens_total", kind="input") is None
    assert value(metrics, "tokens_total", kind="output") == 5


@pytest.mark.asyncio
async def test_records_that_are_lost_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    monkeypatch.setattr("proxy.metrics._FOLLOW_EVERY_S", 0)
    asked = asyncio.Event()
    counts = iter([0, 2, 2, 3])

    def lost() -> int:
        found = next(counts, None)
        if found is None:
            asked.set()
            return 3
        return found

    task = asyncio.create_task(metrics.follow(lost))
    await asyncio.wait_for(asked.wait(), 5)
    task.cancel()
    assert value(metrics, "records_lost_total") == 3
