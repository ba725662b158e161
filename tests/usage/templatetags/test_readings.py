"""What an account's page says of its limits, and how old each source's word is."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Account
from tests.builders import make_account
from tests.codexproxy.browsing import browser
from usage.models import AccountCredits
from usage.services import sample_store
from usage.windows import Credits, ModelLimit, Sample, WindowReading

pytestmark = pytest.mark.django_db

PRIMARY, WEEK = ("primary", 300), ("secondary", 10_080)


def tell(account: Account, source: str, ago_s: float, *windows: tuple[str, int], used: float = 40) -> None:
    at = timezone.now().timestamp() - ago_s
    readings = tuple(WindowReading(name, used, at + 3600, minutes) for name, minutes in windows)
    limits = (ModelLimit("codex_sonic", "GPT-5.5-Sonic", (WindowReading("primary", 75, at + 3600, 300),)),)
    held = Credits(True, False, 12.5)
    sample = Sample(readings, at, source, None, held, limits, is_whole=source == "usage")
    sample_store(account_id=account.pk, sample=sample)


def page_of(account: Account) -> str:
    response = browser().get(f"/admin/accounts/account/{account.pk.replace('_', '_5F')}/change/")
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_each_source_has_its_age() -> None:
    account = make_account()
    tell(account, "usage", 600, PRIMARY, WEEK)
    tell(account, "headers", 120, PRIMARY)
    page = page_of(account)
    for words in (
        "usage endpoint",
        "answer&#x27;s headers",
        "answer&#x27;s stream",
        "10 min ago",
        "2 min ago",
    ):
        assert words in page, words
    assert page.count(" never") == 3, "the stream has told neither window, and the headers not the week"


def test_the_credits_of_each_window_are_told() -> None:
    account = make_account()
    tell(account, "usage", 60, PRIMARY, WEEK)
    page = page_of(account)
    assert "135 of 225 credits left" in page
    assert "4,536 of 7,560 credits left" in page


def test_credits_of_a_window_that_is_over_are_not_known() -> None:
    account = make_account()
    tell(account, "usage", 7200, PRIMARY)
    assert "of 225 credits left" not in page_of(account)


@pytest.mark.parametrize(
    ("window", "label", "other"),
    [(("monthly", 43_200), "Month", "5 hours"), (WEEK, "Week", "5 hours")],
)
def test_a_plan_with_one_window_shows_that_one(window: tuple[str, int], label: str, other: str) -> None:
    account = make_account(plan_type="free")
    tell(account, "usage", 60, window)
    page = page_of(account)
    windows = page[page.index('<dl class="cp-cards">') : page.index('<ul class="cp-results"')]
    assert f'aria-label="{label}"' in windows
    assert other not in windows


def test_limits_for_single_models_and_credits_beside_the_windows_are_shown() -> None:
    account = make_account()
    tell(account, "usage", 60, PRIMARY)
    page = page_of(account)
    assert "GPT-5.5-Sonic alone, 5 hours" in page
    assert "25 % left" in page
    assert "It has 12.50 credits beside its windows; told <time" in page


def test_an_old_figure_is_shown_as_such() -> None:
    account = make_account()
    tell(account, "usage", timedelta(minutes=20).total_seconds(), PRIMARY)
    assert "read 20 min ago" in page_of(account)


def test_an_account_of_which_nothing_is_known_has_no_sources() -> None:
    assert "when each source told them" not in page_of(make_account())


def test_unlimited_credits_are_shown_with_their_age() -> None:
    account = make_account()
    tell(account, "usage", 600, PRIMARY)
    AccountCredits.objects.update(has_credits=False, unlimited=True)
    page = page_of(account)
    told = page[page.index("It has unlimited credits beside its windows; told") :]
    assert "10 min ago</time>" in told[:250]
