"""The request log's pages."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account
from requestlogs.models import RequestRecord

LIST = "/admin/requestlogs/requestrecord/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser() -> Client:
    client = Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")
    client.get("/admin/")
    return client


def make_record(**fields: Any) -> RequestRecord:
    return RequestRecord.objects.create(
        **{"request_id": "req-1", "status": "success", "model": "gpt-5.5"} | fields
    )


def test_the_list_shows_a_request(browser: Client) -> None:
    Account.objects.create(id="a", email="a@example.com", alias="Work")
    make_record(
        account_id="a",
        reasoning_effort="high",
        input_tokens=1200,
        cached_input_tokens=1000,
        output_tokens=34,
        cost_usd=Decimal("0.0123"),
        latency_ms=2500,
        first_token_ms=400,
    )
    page = browser.get(LIST).content.decode()
    for text in ("Work", "gpt-5.5", "high", "0.40 s", "2.50 s", "1200 (1000) / 34", "$0.0123"):
        assert text in page


def test_a_request_of_an_account_that_is_gone_shows_its_id(browser: Client) -> None:
    make_record(account_id="gone-account")
    assert "gone-account" in browser.get(LIST).content.decode()


def test_the_list_never_counts_its_rows(
    browser: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    make_record()
    with django_assert_max_num_queries(10) as queries:
        browser.get(LIST)
    assert not [query for query in queries.captured_queries if "COUNT(" in query["sql"]]


def test_pages_go_on_from_the_last_row_that_was_shown(browser: Client) -> None:
    RequestRecord.objects.bulk_create(
        RequestRecord(request_id=f"req-{number}", status="success", model=f"model-{number:03}")
        for number in range(60)
    )
    first = browser.get(LIST)
    shown = list(first.context["cl"].result_list)
    assert [shown[0].model, shown[-1].model] == ["model-059", "model-010"]
    assert first.context["cl"].newest_url is None
    second = browser.get(LIST + first.context["cl"].older_url)
    assert [row.model for row in second.context["cl"].result_list][0] == "model-009"
    assert second.context["cl"].older_url is None
    assert second.context["cl"].newest_url is not None


def test_a_filter_begins_at_the_newest_row_again(browser: Client) -> None:
    record = make_record()
    change_list = browser.get(f"{LIST}?before={record.pk + 1}").context["cl"]
    assert "before" not in change_list.get_query_string({"status__exact": "error"})


def test_nonsense_as_a_page_is_the_first_page(browser: Client) -> None:
    make_record(model="here")
    assert "here" in browser.get(f"{LIST}?before=x").content.decode()


@pytest.mark.parametrize(
    "query", ["status__exact=error", "model=slow", "account=b", "period=1h", "q=req-wanted"]
)
def test_the_list_can_be_filtered(browser: Client, query: str) -> None:
    Account.objects.create(id="b", email="b@example.com")
    make_record(
        request_id="req-wanted", status="error", model="slow", account_id="b", error_code="wanted_one"
    )
    make_record(
        request_id="req-other", model="fast", account_id="a", requested_at=timezone.now() - timedelta(hours=2)
    )
    rows = list(browser.get(f"{LIST}?{query}").context["cl"].result_list)
    assert [row.request_id for row in rows] == ["req-wanted"]


def test_the_detail_shows_attempts_and_why_this_account(browser: Client) -> None:
    Account.objects.create(id="a", email="a@example.com")
    record = make_record(
        attempts=[
            {"account_id": "a", "outcome": "usage_limit", "status": 429, "code": "usage_limit_reached",
             "started_ms": 2, "first_event_ms": None, "ended_ms": 80},
        ],
        split={"queue": 0.31, "choose": 0.05, "connect": 4.2, "upstream": 80.5, "own": 0.62},
        routing={
            "why": "Most weekly credits left.",
            "passed_over": [{"account_id": "a", "reason": "at its weekly limit", "until": "18:40"}],
        },
    )  # fmt: skip
    page = browser.get(f"{LIST}{record.pk}/change/").content.decode()
    for text in ("a@example.com", "usage_limit_reached", "Most weekly credits left.", "at its weekly limit"):
        assert text in page
    assert "<strong>0.62 ms</strong>" in page


def test_the_detail_survives_records_in_another_shape(browser: Client) -> None:
    record = make_record(attempts={"odd": 1}, routing=[1], split=[1])
    assert browser.get(f"{LIST}{record.pk}/change/").status_code == 200


def test_requests_cannot_be_added_changed_or_deleted(browser: Client) -> None:
    record = make_record()
    assert browser.get(f"{LIST}add/").status_code == 403
    assert browser.post(f"{LIST}{record.pk}/change/", {"model": "x"}).status_code == 403
    assert browser.post(f"{LIST}{record.pk}/delete/", {"post": "yes"}).status_code == 403


def test_a_first_token_that_came_late_can_be_asked_for(browser: Client) -> None:
    make_record(first_token_ms=12_000, model="slow")
    make_record(first_token_ms=900, model="quick")
    page = browser.get(f"{LIST}?slower=10").content.decode()
    assert "12.00 s" in page and "0.90 s" not in page
    assert "0.90 s" in browser.get(f"{LIST}?slower=nonsense").content.decode()


def test_views_are_links_and_the_download_keeps_the_filter(browser: Client) -> None:
    page = browser.get(f"{LIST}?status__exact=error&period=24h").content.decode()
    assert 'href="?status__exact=error&amp;period=24h" aria-current="page"' in page
    assert 'href="/admin/requestlogs/requestrecord/export/?status__exact=error&amp;period=24h"' in page


def test_the_story_has_a_bar_for_each_attempt(browser: Client) -> None:
    tries = [
        {"account_id": "a", "outcome": "limit reached", "started_ms": 0, "ended_ms": 100},
        {"account_id": "b", "outcome": "served", "started_ms": 100, "first_event_ms": 500, "ended_ms": 1000},
        {"account_id": "c", "started_ms": "nonsense"},
    ]
    record = make_record(attempts=tries, latency_ms=1000)
    page = browser.get(f"{LIST}{record.pk}/change/").content.decode()
    assert page.count('viewBox="0 0 100 6"') == 2
    assert 'x="10.0" y="1" width="40.0"' in page and 'x="50.0" y="1" width="50.0"' in page
