"""The request log over JSON, and its filters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from requestlogs.models import RequestRecord
from tests.codexproxy.browsing import browser

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
_LIMIT = "rate_limit_exceeded"


@pytest.fixture(autouse=True)
def rows() -> None:
    given: list[dict[str, Any]] = [
        {"model": "gpt-5", "status": "success", "account_id": "a"},
        {"model": "gpt-5", "reasoning_effort": "high", "status": "success", "account_id": "b"},
        {
            "model": "gpt-5.1",
            "reasoning_effort": "low",
            "status": "error",
            "error_code": "rate_limit_exceeded",
        },
        {"model": "gpt-5.1", "status": "error", "error_code": None},
        {"model": "gpt-5.2", "status": "error", "error_code": "insufficient_quota"},
        {"model": "gpt-5.2", "status": "cancelled", "error_code": "client_disconnected"},
    ]
    for number, fields in enumerate(given):
        RequestRecord.objects.create(
            request_id=f"r{number}", requested_at=NOW + timedelta(minutes=number), **fields
        )


def found(query: str) -> set[str]:
    response = browser().get(f"/api/request-logs?{query}")
    assert response.status_code == 200, response.content
    return {row["requestId"] for row in response.json()["requests"]}


ALL = {"r0", "r1", "r2", "r3", "r4", "r5"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("modelOption=gpt-5", {"r0"}),
        ("modelOption=gpt-5:::", {"r0"}),
        ("modelOption=gpt-5:::high", {"r1"}),
        ("modelOption=%20gpt-5%20:::%20high%20", {"r1"}),
        ("modelOption=:::high", ALL),
        ("modelOption=", ALL),
        ("modelOption=gpt-5:::high:::x", set()),
        ("modelOption=gpt-5:::high&model=gpt-5.1&reasoningEffort=low", {"r1"}),
        ("modelOption=gpt-5&modelOption=gpt-5.1:::low", {"r0", "r2"}),
        ("status=bogus", set()),
        ("status=%20", set()),
        ("status=ok&status=bogus", {"r0", "r1"}),
        ("status=OK", {"r0", "r1"}),
        ("status=all", ALL),
        ("status=", ALL),
        ("status=rate_limit", {"r2"}),
        ("status=quota", {"r4"}),
        ("status=error", {"r3"}),
        ("status=cancelled", {"r5"}),
        ("model=gpt-5.1", {"r2", "r3"}),
        ("model=gpt-5&model=gpt-5.2", {"r0", "r1", "r4", "r5"}),
        ("reasoningEffort=high", {"r1"}),
        ("accountId=a&accountId=b", {"r0", "r1"}),
        ("search=R3", {"r3"}),
        ("search=quota", {"r4"}),
        ("since=2026-11-20T12:04:00Z", {"r4", "r5"}),
        ("until=2026-11-20T12:00:00", {"r0"}),
        ("since=2026-11-20T13:02:00%2B01:00&until=2026-11-20T12:03:00Z", {"r2", "r3"}),
    ],
)
def test_filters(query: str, expected: set[str]) -> None:
    assert found(query) == expected


def test_rows_come_newest_first_and_page_by_page() -> None:
    rows = browser().get("/api/request-logs?limit=2&offset=1").json()["requests"]
    assert [row["requestId"] for row in rows] == ["r4", "r3"]


def test_a_row_has_every_field() -> None:
    RequestRecord.objects.create(
        request_id="full", requested_at=NOW + timedelta(hours=1), account_id="a", model="gpt-5.1",
        reasoning_effort="high", status="success", input_tokens=80, cached_input_tokens=999, output_tokens=10,
        cost_usd="0.000110", latency_ms=1200,
    )  # fmt: skip
    row = browser().get("/api/request-logs?search=full").json()["requests"][0]
    shown = {
        "requestedAt": "2026-11-20T13:00:00Z", "accountId": "a", "requestId": "full", "model": "gpt-5.1",
        "status": "ok", "errorCode": None, "errorMessage": None, "tokens": 90, "cachedInputTokens": 80,
        "reasoningEffort": "high", "costUsd": 0.00011, "latencyMs": 1200,
    }  # fmt: skip
    assert {name: row[name] for name in shown} == shown


def test_statuses_are_told_in_the_words_that_they_are_asked_for_with() -> None:
    rows = browser().get("/api/request-logs").json()["requests"]
    assert [row["status"] for row in rows] == ["cancelled", "quota", "error", "rate_limit", "ok", "ok"]
    assert rows[2]["tokens"] is None and rows[2]["costUsd"] is None


def test_options_are_those_of_the_rows_that_are_left() -> None:
    options = browser().get("/api/request-logs/options").json()
    assert options["accountIds"] == ["a", "b"]
    assert options["modelOptions"][:3] == [
        {"model": "gpt-5", "reasoningEffort": None},
        {"model": "gpt-5", "reasoningEffort": "high"},
        {"model": "gpt-5.1", "reasoningEffort": None},
    ]
    only = browser().get("/api/request-logs/options?status=rate_limit").json()
    assert only == {"accountIds": [], "modelOptions": [{"model": "gpt-5.1", "reasoningEffort": "low"}]}
    none = browser().get("/api/request-logs/options?status=bogus").json()
    assert none == {"accountIds": [], "modelOptions": []}
