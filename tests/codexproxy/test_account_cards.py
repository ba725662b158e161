"""Whether the next request would go to an account, in the words of its card."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Account
from codexproxy.account_cards import Standing, account_cards
from proxy.models import Settings
from tests.builders import NOW, make_account
from usage.models import CurrentWindow

pytestmark = pytest.mark.django_db


def standings(**settings: str) -> dict[str, Standing]:
    accounts = list(Account.objects.prefetch_related("windows"))
    return {
        card["account"].pk: card["standing"] for card in account_cards(accounts, Settings(**settings), NOW)
    }


def use(account: Account, percent: float) -> None:
    CurrentWindow.objects.create(
        account=account, window="secondary", used_percent=percent, window_minutes=10_080, recorded_at=NOW,
        reset_at=NOW + timedelta(days=3),
    )  # fmt: skip


def test_an_account_that_cannot_serve_says_why_and_for_how_long() -> None:
    until = NOW + timedelta(hours=2)
    make_account("a", status=Account.Status.RATE_LIMITED, reset_at=until)
    make_account("b", status=Account.Status.PAUSED)
    found = standings()
    assert (found["a"].answer, found["a"].because) == ("no", "usage limit reached")
    assert (found["a"].until, found["a"].until_words) == (until, "for another 2 h")
    assert (found["b"].answer, found["b"].because) == ("no", "paused by the operator")


def test_a_reason_that_is_a_sentence_leaves_its_end_to_the_page() -> None:
    make_account("a", status=Account.Status.REAUTH_REQUIRED, status_reason="It was revoked. Sign in again.")
    assert standings()["a"].because.endswith("Sign in again")


def test_where_chance_decides_each_says_how_often_it_is_chosen() -> None:
    use(make_account("a", plan_type="plus"), 0)
    use(make_account("b", plan_type="plus"), 0)
    found = standings(routing_strategy="capacity_weighted")
    assert {standing.answer for standing in found.values()} == {"yes"}
    assert "% of new conversations go to it" in found["a"].because


def test_where_the_choice_is_certain_one_is_chosen_and_the_others_wait() -> None:
    use(make_account("a"), 10)
    use(make_account("b"), 50)
    found = standings(routing_strategy="usage_weighted")
    assert found["a"].because == "it is the one that is chosen now"
    assert (found["b"].answer, found["b"].because) == ("not yet", "it can serve, but others are chosen first")


def test_a_limit_that_is_over_is_tried_again() -> None:
    make_account("a", status=Account.Status.RATE_LIMITED, reset_at=NOW - timedelta(minutes=1))
    assert standings()["a"].because == "its limit is over; the next request tries it"


def test_it_takes_no_query_besides_the_accounts_and_their_windows() -> None:
    use(make_account("a"), 10)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        standings()
    assert len(queries) == 2
