from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Account
from proxy.models import StickySession
from tests.builders import make_account

pytestmark = pytest.mark.django_db


def page(**asked: str) -> str:
    browser = Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost:2455")
    response = browser.get("/admin/explain/", asked)
    assert response.status_code == 200
    return response.content.decode()


def test_an_empty_pool_asks_for_an_account() -> None:
    found = page()
    assert "There is no account yet." in found
    assert "Add account" in found


def test_the_account_that_serves_is_named_and_the_others_say_why() -> None:
    make_account("a", email="a@example.com")
    make_account("b", email="b@example.com", status=Account.Status.PAUSED)
    found = page(strategy="round_robin")
    assert "a@example.com serves it: chosen by round_robin." in found
    assert "paused by the operator" in found


def test_a_limit_says_how_long_it_lasts() -> None:
    reset_at = timezone.now() + timedelta(hours=2, seconds=30)
    make_account("a", status=Account.Status.RATE_LIMITED, reset_at=reset_at, blocked_at=timezone.now())
    found = page()
    assert "Nobody can serve such a request now." in found
    assert "for another 2 h" in found


def test_a_conversation_shows_the_account_it_is_kept_on() -> None:
    make_account("a", email="a@example.com")
    make_account("b", email="b@example.com")
    StickySession.objects.create(key="thread-1", account_id="b")
    assert "b@example.com serves it: the conversation&#x27;s account." in page(conversation="thread-1")


def test_a_strategy_that_does_not_exist_is_said_to_be_none() -> None:
    make_account()
    assert page(strategy="no-such-strategy")
