"""The figures of the overview page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account
from codexproxy.overview import change_words
from requestlogs.records import Record, TokenCounts
from requestlogs.writer import records_store
from tests.builders import make_account
from tests.codexproxy.browsing import browser
from usage.models import CurrentWindow

pytestmark = pytest.mark.django_db


def page(query: str = "") -> str:
    response = browser().get(f"/admin/{query}")
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def store(count: int = 1, **fields: Any) -> None:
    tokens = TokenCounts(input=100_000, cached_input=60_000, output=1000)
    base = {
        "account_id": "a",
        "model": "gpt-5.1",
        "status": "success",
        "tokens": tokens,
        "first_token_ms": 500,
    }
    at = timezone.now() - fields.pop("ago", timedelta())
    records_store([Record("rid", at, **{**base, **fields}) for _ in range(count)])


def reading(account: Account, used: float) -> None:
    now = timezone.now()
    CurrentWindow.objects.create(
        account=account, window="primary", used_percent=used, reset_at=now + timedelta(hours=2, seconds=30),
        window_minutes=300, recorded_at=now,
    )  # fmt: skip


def test_the_cards_tell_of_requests_tokens_cost_and_errors() -> None:
    store(3)
    store(status="error", error_code="usage_limit_reached", account_id="", tokens=TokenCounts())
    shown = page()
    for words in (
        "303.0 k", "300.0 k in (60% cached), 3,000 out", "25.0%", "1 of 4; mostly usage_limit_reached",
        "nothing before",
    ):  # fmt: skip
        assert words in shown, words


def test_a_range_holds_for_the_figures_and_can_be_linked_to() -> None:
    store(2, ago=timedelta(days=3))
    assert 'href="?range=7d" aria-current="page"' in page("?range=7d")
    assert "2 requests, 0 failed." in page("?range=7d")
    assert "0 requests, 0 failed." in page("?range=24h")
    assert 'href="?range=24h" aria-current="page"' in page("?range=nonsense")


def test_costs_that_are_not_known_are_told() -> None:
    store(2, model="unheard-of")
    assert "2 of unknown cost" in page()


def test_the_pool_is_what_its_known_accounts_have_left() -> None:
    reading(make_account("a", alias="Work"), 40)
    make_account("b")
    shown = page()
    assert "60 % left" in shown
    assert "135 of 225 credits; 1 of 2 accounts not known" in shown
    assert ">first reset in 2 h</time>" in shown
    assert 'aria-valuetext="60 % left: Work 60 % left, 135 credits"' in shown


def test_every_chart_has_its_table_and_a_sentence() -> None:
    store()
    shown = page()
    assert shown.count("Show as a table") == 4
    words = "Half of the answers began within 0.4 s, 95 % within 0.5 s, about."
    assert f'aria-label="Time to the first token: {words}"' in shown


def test_it_takes_few_queries_however_much_there_is(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    page()
    for number in range(15):
        reading(make_account(f"a{number}"), number)
        store(model=f"gpt-5.{number}", account_id=f"a{number}")
    for query in ("", "?range=1h", "?range=30d", "?by=model", "?range=1h&by=key"):
        with django_assert_max_num_queries(12):
            page(query)


@pytest.mark.parametrize(
    ("value", "before", "words"),
    [(0, 0, ""), (5, 0, "nothing before"), (100, 100, "as before"), (150, 100, "50% more than before"),
     (50, 100, "50% less than before")],
)  # fmt: skip
def test_a_change_is_told_in_words(value: float, before: float, words: str) -> None:
    assert change_words(value, before) == words


def test_the_week_of_the_pool_has_its_pace() -> None:
    now = timezone.now()
    for name, status in (("a", "active"), ("b", "paused")):
        CurrentWindow.objects.create(
            account=make_account(name, status=status), window="secondary", used_percent=80,
            window_minutes=10_080, reset_at=now + timedelta(days=3.5), recorded_at=now,
        )  # fmt: skip
    assert page().count("It is used faster than evenly: even use would be at 50 % left.") == 1
