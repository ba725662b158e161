"""The overview, the sidebar, and what every page of the admin must keep to."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import strip_tags
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account
from codexproxy.admin_base import duration_words, window_cell, window_label, window_view, windows_of
from requestlogs.models import RequestRecord
from usage.models import CurrentWindow

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser() -> Client:
    return Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost:2455")


def make_account(name: str = "a", **fields: Any) -> Account:
    return Account.objects.create(
        **{"id": name, "email": f"{name}@example.com", "plan_type": "plus"} | fields
    )


def overview(browser: Client) -> str:
    response = browser.get("/admin/")
    assert response.status_code == 200
    return response.content.decode()


def test_the_root_leads_to_the_admin(browser: Client) -> None:
    assert browser.get("/").headers["Location"] == "/admin/"


def test_an_empty_install_asks_for_the_first_account(browser: Client) -> None:
    page = overview(browser)
    assert "No accounts yet." in page
    assert 'href="/admin/accounts/account/add/"' in page
    assert "No requests yet." in page


def test_a_calm_pool_says_so(browser: Client) -> None:
    make_account()
    assert "All good" in overview(browser)


def test_an_account_that_needs_a_sign_in_is_named(browser: Client) -> None:
    make_account("a")
    make_account("b", status=Account.Status.REAUTH_REQUIRED, alias="Work")
    assert "Work needs a new sign-in." in overview(browser)


def test_a_pool_that_is_limited_as_a_whole_says_until_when(browser: Client) -> None:
    soon = timezone.now() + timedelta(minutes=30, seconds=30)
    make_account("a", status=Account.Status.RATE_LIMITED, reset_at=soon)
    make_account("b", status=Account.Status.QUOTA_EXCEEDED, reset_at=soon + timedelta(days=2))
    assert f"No account can serve before {soon:%Y-%m-%d %H:%M} UTC (in 30 min)" in strip_tags(
        overview(browser)
    )


def test_a_limit_that_is_over_is_not_shown_as_a_future_one(browser: Client) -> None:
    make_account(status=Account.Status.RATE_LIMITED, reset_at=timezone.now() - timedelta(minutes=1))
    page = overview(browser)
    assert "is due again" in page
    assert "over; the next request tries it" in page


def test_the_cards_show_both_windows(browser: Client) -> None:
    account = make_account()
    reset_at = timezone.now() + timedelta(hours=2, minutes=14, seconds=30)
    CurrentWindow.objects.create(
        account=account, window="primary", used_percent=37, reset_at=reset_at, recorded_at=timezone.now()
    )
    page = overview(browser)
    assert 'aria-valuetext="63 % left, resets in 2 h 14 min"' in page
    assert 'title="unknown">–<' in page


def test_the_last_requests_are_shown_with_their_accounts(browser: Client) -> None:
    make_account(alias="Work")
    for number in range(12):
        RequestRecord.objects.create(
            request_id=f"req-{number}", account_id="a", model=f"model-{number}", status="success"
        )
    page = overview(browser)
    assert "model-11" in page and "model-2" in page
    assert "model-1<" not in page


def test_an_alias_is_escaped(browser: Client) -> None:
    make_account(alias="<script>alert(1)</script>")
    assert "<script>alert(1)" not in overview(browser)


def test_the_overview_needs_few_queries(
    browser: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    overview(browser)
    for name in "abcdefgh":
        make_account(name)
    with django_assert_max_num_queries(12):
        overview(browser)


PAGES = [
    "/admin/",
    "/admin/accounts/account/",
    "/admin/accounts/account/add/",
    "/admin/requestlogs/requestrecord/",
    "/admin/proxy/stickysession/",
    "/admin/proxy/settings/1/change/",
    "/admin/accounts/accountevent/",
    "/admin/accounts/auditevent/",
    "/admin/security/",
    "/admin/security/authenticator/",
    "/admin/accounts/jobrun/",
]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_renders_and_asks_no_other_host_for_anything(browser: Client, path: str) -> None:
    make_account()
    response = browser.get(path)
    assert response.status_code == 200
    page = response.content.decode()
    loaded = re.findall(r'(?:src|srcset)="([^"]+)"|<link[^>]+href="([^"]+)"', page)
    assert loaded
    assert not [url for pair in loaded for url in pair if url.startswith(("http:", "https:", "//"))]


@pytest.mark.parametrize("path", PAGES)
def test_the_sidebar_leads_to_every_list_and_to_nothing_else(browser: Client, path: str) -> None:
    page = browser.get(path).content.decode()
    for target in ("/admin/accounts/account/", "/admin/requestlogs/requestrecord/", "/admin/proxy/settings/"):
        assert f'href="{target}"' in page
    assert "/admin/auth/" not in page
    assert "/admin/otp_totp/" not in page


def test_users_and_devices_have_no_admin_pages(browser: Client) -> None:
    assert browser.get("/admin/auth/user/").status_code == 404
    assert browser.get("/admin/otp_totp/totpdevice/").status_code == 404


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (40, "40 s"),
        (300, "5 min"),
        (7200, "2 h"),
        (8040, "2 h 14 min"),
        (183600, "2 d 3 h"),
        (172800, "2 d"),
    ],
)
def test_durations_have_at_most_two_units(seconds: int, words: str) -> None:
    assert duration_words(timedelta(seconds=seconds)) == words


def test_a_passed_reset_makes_the_percent_unknown() -> None:
    now = timezone.now()
    window = CurrentWindow(
        window="primary", used_percent=90, reset_at=now - timedelta(minutes=1), recorded_at=now
    )
    view = window_view("5 hours", window, now)
    assert (view.remaining_percent, view.text) == (None, "–")
    assert view.reset_text.startswith("reset due")


@pytest.mark.parametrize(("used", "remaining"), [(-3.0, 100), (0.0, 100), (99.4, 1), (100.0, 0), (130.0, 0)])
def test_the_remaining_percent_stays_between_0_and_100(used: float, remaining: int) -> None:
    now = timezone.now()
    view = window_view("week", CurrentWindow(used_percent=used, recorded_at=now), now)
    assert view.remaining_percent == remaining


@pytest.mark.parametrize(("minutes", "words"), [(0, ""), (14, ""), (16, "read 16 min ago")])
def test_an_old_figure_is_shown_with_its_age(minutes: int, words: str) -> None:
    now = timezone.now()
    window = CurrentWindow(used_percent=5, recorded_at=now - timedelta(minutes=minutes))
    assert window_view("week", window, now).age_text == words


@pytest.mark.parametrize(
    ("name", "minutes", "label"),
    [
        ("primary", None, "5 hours"), ("primary", 300, "5 hours"), ("primary", 180, "3 h"),
        ("secondary", 10_080, "Week"), ("secondary", 20_160, "14 d"), ("monthly", 43_200, "Month"),
        ("monthly", 44_640, "Month"), ("monthly", 86_400, "60 d"),
    ],
)  # fmt: skip
def test_a_window_is_called_by_its_length(name: str, minutes: int | None, label: str) -> None:
    assert window_label(name, minutes) == label


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("known", "labels"),
    [
        ((), ["5 hours", "Week"]),
        (("primary",), ["5 hours", "Week"]),
        (("primary", "secondary"), ["5 hours", "Week"]),
        (("secondary",), ["Week"]),
        (("monthly",), ["Month"]),
        (("primary", "monthly"), ["5 hours", "Month"]),
    ],
)
def test_an_account_has_the_windows_of_its_plan(known: tuple[str, ...], labels: list[str]) -> None:
    account, now = make_account(), timezone.now()
    for name in known:
        CurrentWindow.objects.create(account=account, window=name, used_percent=40, recorded_at=now)
    assert [view.label for view in windows_of(account, now)] == labels


@pytest.mark.django_db
def test_in_a_list_the_month_stands_in_the_place_of_the_week() -> None:
    account, now = make_account(), timezone.now()
    CurrentWindow.objects.create(account=account, window="monthly", used_percent=40, recorded_at=now)
    assert window_cell(account, "secondary", now).text == "60 % left of the month"
    assert window_cell(account, "primary", now).reset_text == "not in its plan"
