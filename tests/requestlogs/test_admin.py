"""The request log's pages."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account
from proxy.models import ApiKey
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
    for text in (
        "Work",
        "gpt-5.5",
        "high",
        "0.40 s",
        "2.50 s",
        "1,200 (1,000) / 34",
        "16 tokens/s",
        "$0.0123",
    ):
        assert text in page


@pytest.mark.parametrize(("transport", "words"), [("http", "HTTP"), ("websocket", "WebSocket")])
def test_the_list_and_the_page_of_a_request_say_which_way_it_came(
    browser: Client, transport: str, words: str
) -> None:
    record = make_record(transport=transport)
    cells = re.findall(
        r'<td class="[^"]*field-way[^"]*"[^>]*>(.*?)</td>', browser.get(LIST).content.decode(), re.S
    )
    assert [cell.strip() for cell in cells] == [words]
    assert words in browser.get(f"{LIST}{record.pk}/change/").content.decode()


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
    assert "before" not in change_list.get_query_string({"outcome": "failed"})


def test_nonsense_as_a_page_is_the_first_page(browser: Client) -> None:
    make_record(model="here")
    assert "here" in browser.get(f"{LIST}?before=x").content.decode()


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


def test_views_are_links_and_the_download_keeps_the_filter(browser: Client) -> None:
    page = browser.get(f"{LIST}?outcome=failed&period=24h").content.decode()
    assert 'href="?outcome=failed&amp;period=24h" aria-current="page"' in page
    assert 'href="/admin/requestlogs/requestrecord/export/?outcome=failed&amp;period=24h"' in page


def test_the_download_of_a_page_further_down_begins_at_the_newest_row(browser: Client) -> None:
    page = browser.get(f"{LIST}?outcome=failed&period=24h&before=7").content.decode()
    assert 'href="/admin/requestlogs/requestrecord/export/?outcome=failed&amp;period=24h"' in page
    assert 'href="?outcome=failed&amp;period=24h" aria-current="page"' in page


def test_failures_without_a_code_can_be_looked_for(browser: Client) -> None:
    for code in (None, "", "stream_incomplete"):
        make_record(status="error", error_code=code, request_id=f"request-{code}")
    found = browser.get(f"{LIST}?outcome=failed&code=-none-").context["cl"].result_list
    assert {row.error_code for row in found} == {None, ""}


def test_a_key_is_shown_by_its_name_and_one_that_is_gone_by_its_number(browser: Client) -> None:
    key = ApiKey.objects.create(name="laptop", key_hash="h", prefix="sk-cp-x")
    make_record(api_key_id=key.pk)
    make_record(api_key_id=99)
    page = browser.get(LIST).content.decode()
    assert ">laptop<" in page and "no. 99" in page


def test_a_page_costs_the_same_however_deep_it_lies(browser: Client) -> None:
    RequestRecord.objects.bulk_create(
        RequestRecord(request_id=f"req-{number}", status="success", model="m") for number in range(400)
    )
    newest = RequestRecord.objects.order_by("-pk").values_list("pk", flat=True)[0]
    plans = []
    for before in (newest + 1, newest - 300):
        with CaptureQueriesContext(connection) as queries:
            browser.get(f"{LIST}?before={before}")
        assert len(queries) <= 12
        (page,) = [
            query["sql"]
            for query in queries
            if "requestrecord" in query["sql"] and "LIMIT 50" in query["sql"]
        ]
        assert "OFFSET" not in page
        assert f'"id" < {before}' in page
        if connection.vendor == "sqlite":
            # PostgreSQL would read so few rows as they lie, whatever the statement is.
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {page}")
                plans.append([row[3] for row in cursor.fetchall()])
    # By the key, from where the page begins: no row before it is read.
    assert all(any("USING INTEGER PRIMARY KEY (rowid<?)" in step for step in plan) for plan in plans)


def test_the_page_of_a_request_that_is_gone_is_a_message(browser: Client) -> None:
    page = browser.get(f"{LIST}77/change/", follow=True)
    assert page.status_code == 200
    assert "doesn’t exist. Perhaps it was deleted?" in page.content.decode()


def test_a_failed_request_says_what_its_code_means(browser: Client) -> None:
    record = make_record(status="error", error_code="no_accounts")
    page = browser.get(f"{LIST}{record.pk}/change/").content.decode()
    assert "No account could serve, and not only because of limits." in page
    assert "?code=no_accounts" in page


def test_an_empty_list_says_what_it_is_for_and_has_one_button(browser: Client) -> None:
    page = browser.get(LIST).content.decode()
    assert "No requests yet." in page and 'href="/admin/connect/">Connect a client</a>' in page
    assert "Nothing fits this search." in browser.get(f"{LIST}?q=nothing").content.decode()
