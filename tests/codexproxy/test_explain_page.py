from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Account
from proxy.models import ApiKey, StickySession, Strategy
from tests.builders import make_account

pytestmark = pytest.mark.django_db


def page(**asked: str) -> str:
    browser = Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost:2455")
    response = browser.get("/admin/explain/", asked)
    assert response.status_code == 200
    return response.content.decode()


def make_key(**fields: Any) -> ApiKey:
    return ApiKey.objects.create(**{"name": "laptop", "key_hash": "h", "prefix": "sk-cp-x", **fields})


def test_an_empty_pool_asks_for_an_account() -> None:
    found = page()
    assert "There is no account yet." in found
    assert "Add account" in found


def test_the_account_that_serves_is_named_and_the_others_say_why() -> None:
    make_account("a", email="a@example.com")
    make_account("b", email="b@example.com", status=Account.Status.PAUSED)
    found = page(strategy="round_robin")
    assert "a@example.com serves it: chosen by “round robin”." in found
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


def test_a_conversation_that_is_not_known_is_told_to_be_a_new_one() -> None:
    make_account("a")
    assert "is not known" not in page()
    assert "This conversation is not known" in page(conversation="thread-9")


@pytest.mark.parametrize("strategy", Strategy.values)
def test_every_strategy_can_be_asked_for(strategy: str) -> None:
    make_account("a", email="a@example.com")
    name = Strategy(strategy).label.partition(":")[0].lower()
    assert f"chosen by “{name}”." in page(strategy=strategy)


def test_a_key_that_is_bound_leaves_the_other_accounts_out() -> None:
    make_account("a", email="a@example.com")
    make_account("b", email="b@example.com")
    key = make_key(is_bound=True, account_ids=["b"])
    found = page(key=str(key.pk))
    assert "b@example.com serves it" in found
    assert "not an account of this API key" in found
    assert "This key is bound to some accounts." in found


def test_a_key_that_enforces_a_model_is_asked_for_that_one() -> None:
    make_account("a")
    key = make_key(enforced_model="gpt-5.5")
    assert "This key asks for gpt-5.5, whatever a request names." in page(key=str(key.pk), model="gpt-5.4")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"enabled": False}, "This key is disabled"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "This key has expired"),
        ({"allowed_models": ["gpt-5.5"]}, "This key may not ask for gpt-4"),
    ],
)
def test_a_key_that_is_refused_asks_no_account(fields: dict[str, Any], words: str) -> None:
    make_account("a", email="a@example.com")
    found = page(key=str(make_key(**fields).pk), model="gpt-4")
    assert words in found
    assert "a@example.com" not in found


def test_what_is_not_there_is_told_beside_the_field_and_the_rest_is_kept() -> None:
    make_account()
    found = page(strategy="no-such-strategy", key="999", model="gpt-5.5")
    assert "no-such-strategy is not one of the available choices" in found
    assert "That choice is not one of the available choices" in found
    assert 'value="gpt-5.5"' in found
