from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from requestlogs.models import RequestRecord
from requestlogs.selectors import causes

pytestmark = pytest.mark.django_db


def failed(code: str | None, *, minutes_ago: int = 1, **fields: Any) -> RequestRecord:
    at = timezone.now() - timedelta(minutes=minutes_ago)
    return RequestRecord.objects.create(
        request_id="r", status="error", error_code=code, requested_at=at, **fields
    )


def page(**asked: str) -> str:
    browser = Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost:2455")
    response = browser.get("/admin/errors/", asked)
    assert response.status_code == 200
    return response.content.decode()


def test_nothing_failed() -> None:
    RequestRecord.objects.create(request_id="r", status="success")
    assert "No request failed in the last 24 hours." in page()


def test_each_cause_is_counted_with_its_accounts_and_its_hint() -> None:
    for account in ("a", "b", "b"):
        failed("usage_limit_reached", account_id=account)
    failed(None)
    found = page()
    assert "usage_limit_reached" in found
    assert "Wait for the first reset" in found
    assert "no code" in found
    counted = [
        (cause.code, cause.requests, cause.accounts) for cause in causes(timezone.now() - timedelta(1))
    ]
    assert counted == [("usage_limit_reached", 3, 2), ("", 1, 0)]


def test_a_cause_leads_to_its_requests_of_that_time() -> None:
    failed("stream_incomplete")
    failed(None)
    found = page(range="7d")
    requests = "/admin/requestlogs/requestrecord/?outcome=failed&amp;code={}&amp;period=7d"
    assert f'href="{requests.format("stream_incomplete")}"' in found
    assert f'href="{requests.format("-none-")}"' in found


def test_only_the_range_that_was_asked_for_counts() -> None:
    failed("stream_incomplete", minutes_ago=120)
    assert "stream_incomplete" not in page(range="1h")
    assert "stream_incomplete" in page(range="24h")
    assert "stream_incomplete" in page(range="for ever")


def test_the_causes_take_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    failed("stream_incomplete")
    with django_assert_num_queries(1):
        causes(timezone.now() - timedelta(days=1))
