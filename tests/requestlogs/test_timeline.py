"""A span of time in equal parts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from requestlogs.records import Record, TokenCounts
from requestlogs.timeline import SPANS, timeline
from requestlogs.writer import records_store

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 20, 13, 30, 20, tzinfo=UTC)


def store(ago: timedelta, **fields: Any) -> None:
    base = {"account_id": "a", "model": "gpt-5.1", "status": "success", "tokens": TokenCounts(input=10)}
    records_store([Record("rid", NOW - ago, **{**base, **fields})])


@pytest.mark.parametrize("key", SPANS)
def test_parts_follow_each_other_and_the_last_one_is_running(key: str) -> None:
    found = timeline(SPANS[key], NOW)
    span = found.span
    begins = [begin for begin, _ in found.parts]
    assert len(begins) == span.parts
    assert {later - earlier for earlier, later in zip(begins, begins[1:], strict=False)} == {span.part}
    assert begins[-1] <= NOW < begins[-1] + span.part


@pytest.mark.parametrize(
    ("key", "ago", "index"),
    [
        ("1h", timedelta(seconds=10), 11),
        ("1h", timedelta(minutes=6), 10),
        ("24h", timedelta(minutes=10), 23),
        ("24h", timedelta(hours=2), 21),
        ("7d", timedelta(hours=1), 27),
        ("7d", timedelta(hours=2), 26),
        ("30d", timedelta(hours=13), 29),
        ("30d", timedelta(days=2), 27),
    ],
)
def test_a_request_is_in_the_part_of_its_time(key: str, ago: timedelta, index: int) -> None:
    store(ago)
    parts = timeline(SPANS[key], NOW).parts
    assert [n for n, (_, found) in enumerate(parts) if found.requests] == [index]


@pytest.mark.parametrize("key", SPANS)
def test_what_was_before_is_told_apart_and_what_was_long_before_is_not_told(
    key: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    length = SPANS[key].length
    store(timedelta(minutes=1))
    store(length * 1.5)
    store(length * 1.5, status="error", error_code="x")
    store(length * 3)
    with django_assert_num_queries(1):
        found = timeline(SPANS[key], NOW)
    assert (found.total.requests, found.before.requests, found.before.errors) == (1, 2, 1)
    assert found.total.tokens == 10
