"""The shapes that status tools read: every field, and the figures in them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account
from requestlogs.models import RequestRecord
from requestlogs.records import Record, TokenCounts
from requestlogs.writer import records_store
from tests.builders import NOW, make_account
from tests.codexproxy.browsing import browser, far_browser
from usage.models import CurrentWindow, WindowSample

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
TOKENS = TokenCounts(input=1000, cached_input=400, output=100, reasoning=40)


def get(path: str, **query: Any) -> Any:
    response = browser().get(path, query)
    assert response.status_code == 200, response.content
    return response.json()


def reading(account: Account, used: float, window: str = "primary", ends_in: timedelta = HOUR) -> None:
    now = timezone.now()
    minutes = 300 if window == "primary" else 10_080
    CurrentWindow.objects.create(
        account=account, window=window, used_percent=used, reset_at=now + ends_in, window_minutes=minutes,
        recorded_at=now,
    )  # fmt: skip


def store(**fields: Any) -> None:
    base = {"account_id": "a", "model": "gpt-5.1", "status": "success", "tokens": TOKENS}
    records_store([Record("rid", timezone.now(), **{**base, **fields})])


@pytest.fixture
def h7() -> None:
    """Two plus and one pro; only the first has a reading."""
    reading(make_account("a", email="a@example.com"), 40)
    make_account("b", email="b@example.com")
    make_account("c", email="c@example.com", plan_type="pro")


@pytest.mark.usefixtures("h7")
def test_accounts_have_every_field() -> None:
    accounts = get("/api/accounts")["accounts"]
    assert [account["email"] for account in accounts] == ["a@example.com", "b@example.com", "c@example.com"]
    first, second, _ = accounts
    assert first["resetAtPrimary"].endswith("Z")
    assert set(first["auth"]) == {"access", "refresh", "idToken"}
    assert set(first["auth"]["access"]) == {"expiresAt", "state"}
    figures = ("usage", "capacityCreditsPrimary", "remainingCreditsPrimary", "capacityCreditsSecondary")
    assert [first[name] for name in figures] == [
        {"primaryRemainingPercent": 60.0, "secondaryRemainingPercent": 100.0}, 225, 135.0, 7560
    ]  # fmt: skip
    assert second["usage"] == {"primaryRemainingPercent": 100.0, "secondaryRemainingPercent": 100.0}
    assert {
        "accountId", "email", "displayName", "planType", "status", "resetAtPrimary", "resetAtSecondary",
        "lastRefreshAt", "remainingCreditsSecondary", "deactivationReason",
    } <= set(first)  # fmt: skip


def test_every_field_of_an_account_has_its_value() -> None:
    end = timezone.now().replace(microsecond=0) + HOUR
    account = make_account(
        "acc-1_1",
        alias="Work",
        email="ann@example.com",
        status=Account.Status.DEACTIVATED,
        status_reason="account_deactivated",
        refreshed_at=NOW,
        access_expires_at=end,
    )
    for window, used, minutes in (("primary", 40, 300), ("secondary", 25, 10_080)):
        CurrentWindow.objects.create(
            account=account, window=window, used_percent=used, reset_at=end, window_minutes=minutes,
            recorded_at=timezone.now(),
        )  # fmt: skip
    (shown,) = get("/api/accounts")["accounts"]
    told_end = f"{end:%Y-%m-%dT%H:%M:%SZ}"
    assert shown == {
        "accountId": "acc-1_1",
        "chatgptAccountId": "acc-1",
        "email": "ann@example.com",
        "alias": "Work",
        "displayName": "Work",
        "workspaceId": None,
        "workspaceLabel": None,
        "planType": "plus",
        "status": "deactivated",
        "routingPolicy": "normal",
        "stopAtPercent": None,
        "deactivationReason": "account_deactivated",
        "lastRefreshAt": "2026-11-20T12:00:00Z",
        "usage": {"primaryRemainingPercent": 60.0, "secondaryRemainingPercent": 75.0},
        "auth": {
            "access": {"expiresAt": told_end, "state": "valid"},
            "refresh": {"expiresAt": None, "state": "stored"},
            "idToken": {"expiresAt": None, "state": "parsed"},
        },
        "resetAtPrimary": told_end,
        "resetAtSecondary": told_end,
        "windowMinutesPrimary": 300,
        "windowMinutesSecondary": 10_080,
        "capacityCreditsPrimary": 225.0,
        "remainingCreditsPrimary": 135.0,
        "capacityCreditsSecondary": 7560.0,
        "remainingCreditsSecondary": 5670.0,
    }


@pytest.mark.usefixtures("h7")
def test_the_summary_counts_only_accounts_with_a_reading() -> None:
    summary = get("/api/usage/summary")
    assert {name: summary["primaryWindow"][name] for name in ("capacityCredits", "remainingCredits")} == {
        "capacityCredits": 225.0,
        "remainingCredits": 135.0,
    }
    assert summary["primaryWindow"]["remainingPercent"] == 60.0
    assert summary["primaryWindow"]["resetAt"].endswith("Z")
    assert summary["secondaryWindow"] == {
        "remainingPercent": 0.0, "capacityCredits": 0.0, "remainingCredits": 0.0, "resetAt": None,
        "windowMinutes": 10_080,
    }  # fmt: skip


def test_an_empty_pool_has_a_summary() -> None:
    assert get("/api/usage/summary") == {
        "primaryWindow": {
            "remainingPercent": 0.0, "capacityCredits": 0.0, "remainingCredits": 0.0, "resetAt": None,
            "windowMinutes": 300,
        },
        "secondaryWindow": {
            "remainingPercent": 0.0, "capacityCredits": 0.0, "remainingCredits": 0.0, "resetAt": None,
            "windowMinutes": 10_080,
        },
        "cost": {"currency": "USD", "totalUsd7d": 0.0, "byModel": []},
        "metrics": {
            "requests7d": 0, "tokensSecondaryWindow": 0, "cachedTokensSecondaryWindow": 0,
            "errorRate7d": None, "topError": None,
        },
    }  # fmt: skip


def test_the_summary_adds_up_the_week() -> None:
    store()
    store(model="gpt-5", tokens=TokenCounts(input=1000, cached_input=0, output=0))
    store(model="unheard-of")
    store(account_id="", status="error", error_code="usage_limit_reached", tokens=TokenCounts())
    records_store([Record("old", timezone.now() - timedelta(days=8), account_id="a", status="success")])
    summary = get("/api/usage/summary")
    # 600 · 1.25 + 400 · 0.125 + 100 · 10, and 1000 · 1.25, for a million tokens each.
    assert summary["cost"]["byModel"] == [
        {"model": "gpt-5", "usd": 0.00125},
        {"model": "gpt-5.1", "usd": 0.0018},
    ]
    assert summary["cost"]["totalUsd7d"] == 0.00305
    assert summary["metrics"] == {
        "requests7d": 4, "tokensSecondaryWindow": 3200, "cachedTokensSecondaryWindow": 800,
        "errorRate7d": 0.25, "topError": "usage_limit_reached",
    }  # fmt: skip


def test_a_window_past_its_reset_is_unknown_until_fresh_proof() -> None:
    reading(make_account("a"), 90, ends_in=-HOUR)
    (account,) = get("/api/accounts")["accounts"]
    assert account["usage"]["primaryRemainingPercent"] == 100.0
    assert account["resetAtPrimary"] is None
    assert get("/api/usage/summary")["primaryWindow"]["capacityCredits"] == 0.0


def test_a_plan_with_a_month_shows_it_in_the_place_of_the_week() -> None:
    reading(make_account("a", plan_type="free"), 25, window="monthly")
    (account,) = get("/api/accounts")["accounts"]
    assert account["usage"]["secondaryRemainingPercent"] == 75.0
    assert account["capacityCreditsSecondary"] == 1134


def test_a_pool_of_weeks_and_months_has_the_length_of_the_most_capacity() -> None:
    reading(make_account("a", email="a@example.com", plan_type="free"), 25, window="monthly")
    CurrentWindow.objects.update(window_minutes=43_200)
    assert get("/api/usage/summary")["secondaryWindow"]["windowMinutes"] == 43_200
    reading(make_account("b", email="b@example.com"), 25, window="secondary")
    assert get("/api/usage/summary")["secondaryWindow"]["windowMinutes"] == 10_080


@pytest.mark.usefixtures("h7")
def test_a_window_lists_every_account() -> None:
    found = get("/api/usage/window", window="primary")
    assert (found["windowKey"], found["windowMinutes"]) == ("primary", 300)
    assert found["accounts"][0] == {
        "accountId": "a", "email": "a@example.com", "remainingPercentAvg": 60.0, "capacityCredits": 225,
        "remainingCredits": 135.0,
    }  # fmt: skip
    assert [row["remainingPercentAvg"] for row in found["accounts"]] == [60.0, 100.0, 100.0]


def test_the_history_is_the_mean_over_the_time_that_was_asked_for() -> None:
    account = make_account("a")
    now = timezone.now()
    for hours, used in ((1, 20), (2, 40), (30, 100)):
        WindowSample.objects.create(
            account=account, window="primary", used_percent=used, recorded_at=now - hours * HOUR
        )
    found = get("/api/usage/history")
    assert found["windowHours"] == 24
    assert found["accounts"][0]["remainingPercentAvg"] == 70.0
    assert found["accounts"][0]["remainingCredits"] == 157.5
    assert round(get("/api/usage/history", hours=168)["accounts"][0]["remainingPercentAvg"], 2) == 46.67


@pytest.mark.usefixtures("h7")
def test_the_overview_is_everything_at_once() -> None:
    store()
    store()
    overview = get("/api/dashboard/overview", requestLimit=1)
    assert set(overview) == {"lastSyncAt", "accounts", "summary", "windows", "requestLogs"}
    assert overview["lastSyncAt"].endswith("Z")
    assert overview["accounts"] == get("/api/accounts")["accounts"]
    assert overview["summary"] == get("/api/usage/summary")
    assert overview["windows"]["secondary"] == get("/api/usage/window", window="secondary")
    assert len(overview["requestLogs"]) == 1
    assert get("/api/dashboard/overview", requestOffset=2)["requestLogs"] == []


@pytest.mark.usefixtures("h7")
def test_the_overview_asks_the_database_a_bounded_number_of_times(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        reading(make_account(f"more-{number}"), 10)
        store(model=f"gpt-5.{number}")
    # The very first request of an install makes the settings and the operator.
    get("/api/accounts")
    with django_assert_max_num_queries(9):
        get("/api/dashboard/overview")


@pytest.mark.parametrize(
    "query",
    [
        "usage/history?hours=0",
        "usage/history?hours=169",
        "usage/history?hours=x",
        "usage/window?window=third",
        "dashboard/overview?requestLimit=0",
        "dashboard/overview?requestLimit=1001",
        "dashboard/overview?requestOffset=-1",
        "request-logs?limit=0",
        "request-logs?offset=-1",
        "request-logs?since=yesterday",
    ],
)
def test_a_query_that_cannot_be_is_refused(query: str) -> None:
    response = browser().get(f"/api/{query}")
    assert (response.status_code, response.json()) == (
        422,
        {"error": {"code": "validation_error", "message": "Invalid request payload"}},
    )


@pytest.mark.parametrize("path", ["accounts", "dashboard/overview", "usage/summary", "request-logs"])
def test_a_stranger_reads_nothing(path: str) -> None:
    assert far_browser().get(f"/api/{path}").status_code == 403


def test_no_token_is_in_any_answer() -> None:
    account = make_account("a")
    RequestRecord.objects.create(request_id="rid", account_id="a", status="success")
    text = browser().get("/api/dashboard/overview").content.decode()
    for token in (
        account.credential.access_token,
        account.credential.refresh_token,
        account.credential.id_token,
    ):
        assert token not in text
