"""The pages of API keys: made once, shown once, with their limits beside them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from accounts.groups import group_delete, group_save
from accounts.models import AccountGroup
from proxy.key_selectors import key_views
from proxy.key_services import LimitRule, api_key_create
from proxy.keys import key_hash
from proxy.models import ApiKey
from tests.builders import make_account

pytestmark = pytest.mark.django_db

LIST = "/admin/proxy/apikey/"
ADD = f"{LIST}add/"


@pytest.fixture
def browser() -> Client:
    return Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")


def form(*limits: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """As the browser sends it; `limits` are the inline's rows."""
    sent = {
        "name": "laptop", "enabled": "on", "limits-TOTAL_FORMS": len(limits), "limits-INITIAL_FORMS": 0,
        "limits-MIN_NUM_FORMS": 0, "limits-MAX_NUM_FORMS": 1000, **fields,
    }  # fmt: skip
    for number, limit in enumerate(limits):
        values = {"kind": "requests", "window": "daily", "model": "", "amount": "10", **limit}
        sent |= {f"limits-{number}-{name}": value for name, value in values.items()}
    return sent


def shown_key(page: str) -> str:
    found = re.search(r"sk-cp-[\w-]{43}", page)
    assert found
    return found[0]


def test_a_key_is_made_and_shown_once(browser: Client) -> None:
    assert browser.get(ADD).status_code == 200
    answer = browser.post(ADD, form({"kind": "cost_usd", "amount": "2.50"}, {"window": "5h"}))
    page = answer.content.decode()
    assert answer.status_code == 200 and "no-store" in answer.headers["Cache-Control"]
    plain = shown_key(page)
    assert list(key_views()) == [key_hash(plain)]
    for part in ("Copy", "env_key", "http://localhost/v1", f"Bearer {plain}"):
        assert part in page
    key = ApiKey.objects.get()
    assert sorted(key.limits.values_list("kind", "window", "max_value")) == [
        ("cost_usd", "daily", 2_500_000),
        ("requests", "5h", 10),
    ]
    for later in (LIST, f"{LIST}{key.pk}/change/"):
        text = browser.get(later).content.decode()
        assert plain not in text
    assert all(plain not in str(value) for value in browser.session.values())


def test_the_list_shows_what_each_key_may_and_has_used(browser: Client) -> None:
    key = api_key_create(name="laptop", limits=[LimitRule("cost_usd", "daily", 5_000_000)]).key
    key.limits.update(used=1_250_000)
    api_key_create(name="other", allowed_models=["gpt-5.5"], enabled=False)
    page = browser.get(LIST).content.decode()
    for part in ("laptop", "$1.25 of $5.00", key.prefix, "gpt-5.5", "Disabled", "never"):
        assert part in page


def test_a_key_is_changed_and_its_limits_keep_what_is_used(browser: Client) -> None:
    key = api_key_create(name="k", limits=[LimitRule("requests", "daily", 10)]).key
    limit = key.limits.get()
    key.limits.update(used=4)
    url = f"{LIST}{key.pk}/change/"
    assert 'value="10"' in browser.get(url).content.decode()
    rows = {"limits-INITIAL_FORMS": 1, "limits-0-id": limit.pk, "limits-0-key": key.pk}
    answer = browser.post(
        url, form({"amount": "20"}, name="renamed", allowed_models="gpt-5.5, gpt-5.4", **rows)
    )
    assert answer.status_code == 302, answer.content.decode()
    key.refresh_from_db()
    assert (key.name, key.allowed_models) == ("renamed", ["gpt-5.4", "gpt-5.5"])
    assert [(row.pk, row.max_value, row.used) for row in key.limits.all()] == [(limit.pk, 20, 4)]
    browser.post(url, form({"DELETE": "on"}, **rows))
    assert key.limits.count() == 0


@pytest.mark.parametrize(
    ("limits", "fields", "words"),
    [
        ((), {"name": ""}, "This field is required"),
        ((), {"enforced_model": "a", "allowed_models": "b"}, "must be one of the allowed models"),
        ((), {"enforced_effort": "low", "allowed_efforts": ["low"]}, "not both"),
        (({"amount": "0"},), {}, "greater than or equal"),
        (({"amount": "1.5"},), {}, "whole number"),
        (({}, {}), {}, "Please correct the duplicate"),
    ],
)
def test_what_makes_no_sense_is_told_in_the_form(
    browser: Client, limits: tuple[dict[str, Any], ...], fields: dict[str, Any], words: str
) -> None:
    answer = browser.post(ADD, form(*limits, **fields))
    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert ApiKey.objects.count() == 0


def test_a_deleted_account_stays_with_its_key(browser: Client) -> None:
    account = make_account("gone_1")
    key = api_key_create(name="k", is_bound=True, account_ids=[account.pk]).key
    account.delete()
    url = f"{LIST}{key.pk}/change/"
    assert "gone_1 (deleted)" in browser.get(url).content.decode()
    assert browser.post(url, form(is_bound="on", account_ids=["gone_1"], note="x")).status_code == 302
    key.refresh_from_db()
    assert (key.note, key.is_bound, key.account_ids) == ("x", True, ["gone_1"])


def test_a_key_is_disabled_enabled_renewed_and_deleted(browser: Client) -> None:
    made = api_key_create(name="k")
    url = f"{LIST}{made.key.pk}/"
    browser.post(f"{url}do/disable/")
    assert not ApiKey.objects.get().enabled
    browser.post(LIST, {"action": "enable_selected", "_selected_action": [made.key.pk]})
    assert ApiKey.objects.get().enabled
    renewed = shown_key(browser.post(f"{url}do/renew/").content.decode())
    assert renewed != made.plain
    assert list(key_views()) == [key_hash(renewed)]
    assert "its request records stay" in browser.get(f"{url}delete/").content.decode()
    browser.post(f"{url}delete/", {"post": "yes"})
    assert ApiKey.objects.count() == 0


def test_a_button_is_no_link(browser: Client) -> None:
    made = api_key_create(name="k")
    assert browser.get(f"{LIST}{made.key.pk}/do/disable/").status_code == 405
    assert browser.post(f"{LIST}{made.key.pk}/do/explode/").status_code == 404


def test_a_key_is_bound_to_a_group_and_a_deleted_one_stays_with_it(browser: Client) -> None:
    make_account("a_1")
    group = group_save(group=AccountGroup(name="Team"), account_ids=["a_1"])
    browser.post(ADD, form(is_bound="on", group_ids=[group.pk]))
    key = ApiKey.objects.get()
    assert key_views()[key.key_hash].accounts == {"a_1"}
    number = group.pk
    group_delete(group_id=number)
    url = f"{LIST}{key.pk}/change/"
    assert f"group {number} (deleted)" in browser.get(url).content.decode()
    assert browser.post(url, form(is_bound="on", group_ids=[number], note="x")).status_code == 302
    assert key_views()[key.key_hash].accounts == frozenset()


@pytest.mark.parametrize("verb", ["disable", "renew"])
def test_a_key_that_is_gone_is_a_message(browser: Client, verb: str) -> None:
    page = browser.post(f"{LIST}77/do/{verb}/", follow=True)
    assert page.status_code == 200
    assert "This API key is gone." in page.content.decode()
