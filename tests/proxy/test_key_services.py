from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import changes
from accounts.groups import group_delete, group_save
from accounts.models import AccountGroup, AuditEvent
from accounts.services import account_delete
from proxy.key_selectors import key_usage, key_views, keys_with_use
from proxy.key_services import (
    LimitRule,
    api_key_create,
    api_key_delete,
    api_key_regenerate,
    api_key_update,
    limits_replace,
    usage_reset,
)
from proxy.keys import key_hash
from proxy.models import ApiKey
from requestlogs.models import RequestRecord
from tests.builders import make_account

pytestmark = pytest.mark.django_db


def make_record(key: ApiKey, hours_ago: float = 1.0, **fields: Any) -> RequestRecord:
    values = {
        "request_id": "r", "api_key_id": key.pk, "requested_at": timezone.now() - timedelta(hours=hours_ago),
        "status": "success", "model": "gpt-5.5", "input_tokens": 100, "output_tokens": 10,
        "cost_usd": Decimal("0.5"),
    }  # fmt: skip
    return RequestRecord.objects.create(**{**values, **fields})


def test_a_key_is_known_once_and_kept_as_a_hash() -> None:
    version = changes.current_version()
    made = api_key_create(name=" laptop ", note="n")
    row = ApiKey.objects.get()
    assert (row.name, row.key_hash) == ("laptop", key_hash(made.plain))
    assert made.plain.startswith(row.prefix) and len(row.prefix) < 15
    assert made.plain not in repr(made)
    assert not any(made.plain == value for value in row.__dict__.values())
    assert changes.current_version() > version
    assert key_views()[key_hash(made.plain)].name == "laptop"


def test_regenerating_ends_the_former_key() -> None:
    first = api_key_create(name="k", allowed_models=["gpt-5.5"])
    second = api_key_regenerate(key_id=first.key.pk)
    assert list(key_views()) == [key_hash(second.plain)] != [key_hash(first.plain)]
    assert key_views()[key_hash(second.plain)].allowed_models == {"gpt-5.5"}


def test_only_what_is_named_changes() -> None:
    key = api_key_create(name="k", note="kept").key
    api_key_update(key_id=key.pk, enabled=False)
    key.refresh_from_db()
    assert (key.enabled, key.note) == (False, "kept")
    with pytest.raises(TypeError, match="no key_hash"):
        api_key_update(key_id=key.pk, key_hash="x")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"enforced_model": "a", "allowed_models": ["b"]}, "enforced_model"),
        ({"enforced_effort": "low", "allowed_efforts": ["low"]}, "enforced_effort"),
        ({"enforced_effort": "loud"}, "enforced_effort"),
        ({"allowed_efforts": ["loud"]}, "allowed_efforts"),
        ({"allowed_models": "gpt-5.5"}, "allowed_models"),
        ({"allowed_models": [""]}, "allowed_models"),
        ({"account_ids": ["nobody"]}, "account_ids"),
        ({"max_parallel": 0}, "max_parallel"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        api_key_create(**{"name": "k", **fields})
    assert list(caught.value.message_dict) == [field]
    assert ApiKey.objects.count() == 0


def test_a_deleted_account_never_widens_a_key() -> None:
    account = make_account("only_1")
    made = api_key_create(name="k", is_bound=True, account_ids=[account.pk])
    view = key_views()[key_hash(made.plain)]
    assert view.accounts == {"only_1"}
    account_delete(account_id=account.pk)
    assert key_views()[key_hash(made.plain)].accounts == {"only_1"}
    # Nor does changing something else, though the account is gone.
    api_key_update(key_id=made.key.pk, note="x")
    api_key_update(key_id=made.key.pk, account_ids=[])
    assert key_views()[key_hash(made.plain)].accounts == frozenset()


def test_a_key_has_the_accounts_of_its_groups_and_a_deleted_group_never_widens_it() -> None:
    make_account("a_1")
    make_account("b_1")
    group = group_save(group=AccountGroup(name="Team"), account_ids=["a_1"])
    made = api_key_create(name="k", is_bound=True, group_ids=[group.pk])
    assert key_views()[key_hash(made.plain)].accounts == {"a_1"}
    group_save(group=group, account_ids=["a_1", "b_1"])
    assert key_views()[key_hash(made.plain)].accounts == {"a_1", "b_1"}
    group_delete(group_id=group.pk)
    assert key_views()[key_hash(made.plain)].accounts == frozenset()
    api_key_update(key_id=made.key.pk, note="x")


@pytest.mark.parametrize("ids", [[99], ["1"], [True], "1"])
def test_a_group_that_cannot_be_is_refused(ids: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        api_key_create(name="k", group_ids=ids)
    assert list(refused.value.message_dict) == ["group_ids"]


def test_deleting_leaves_the_records() -> None:
    key = api_key_create(name="k", limits=[LimitRule("requests", "daily", 1)]).key
    make_record(key)
    api_key_delete(key_id=key.pk)
    assert (ApiKey.objects.count(), RequestRecord.objects.count()) == (0, 1)
    with pytest.raises(ApiKey.DoesNotExist):
        api_key_delete(key_id=key.pk)


@pytest.mark.parametrize(
    ("kind", "used"),
    [
        ("requests", 2),
        ("input_tokens", 200),
        ("output_tokens", 20),
        ("total_tokens", 220),
        ("cost_usd", 1_000_000),
    ],
)
def test_a_new_limit_begins_with_what_the_records_say(kind: str, used: int) -> None:
    key = api_key_create(name="k").key
    first = make_record(key, hours_ago=20)
    make_record(key, hours_ago=1)
    make_record(key, hours_ago=30)
    make_record(key, hours_ago=1, status="error", input_tokens=None, output_tokens=None, cost_usd=None)
    make_record(api_key_create(name="other").key)
    limits_replace(key=key, rules=[LimitRule(kind, "daily", 10**9)])
    row = key.limits.get()
    assert (row.used, row.reserved) == (used, 0)
    # The window is the one that the first of them began.
    assert row.reset_at == first.requested_at + timedelta(days=1)


def test_a_new_limit_for_a_model_counts_that_model() -> None:
    key = api_key_create(name="k").key
    make_record(key)
    make_record(key, model="gpt-5.4")
    limits_replace(key=key, rules=[LimitRule("requests", "daily", 10, "gpt-5.4")])
    assert key.limits.get().used == 1


def test_changing_a_limit_keeps_what_is_used() -> None:
    key = api_key_create(
        name="k", limits=[LimitRule("requests", "daily", 10), LimitRule("requests", "5h", 3)]
    ).key
    key.limits.update(used=4, reserved=2)
    limits_replace(key=key, rules=[LimitRule("requests", "daily", 20)])
    row = key.limits.get()
    assert (row.window, row.max_value, row.used, row.reserved) == ("daily", 20, 4, 2)


@pytest.mark.parametrize(
    "rules",
    [
        [LimitRule("requests", "daily", 0)],
        [LimitRule("wishes", "daily", 1)],
        [LimitRule("requests", "hourly", 1)],
        [LimitRule("requests", "daily", 1), LimitRule("requests", "daily", 2)],
    ],
)
def test_a_limit_that_cannot_be_is_refused(rules: list[LimitRule]) -> None:
    with pytest.raises(ValidationError):
        api_key_create(name="k", limits=rules)
    assert ApiKey.objects.count() == 0


def test_a_reset_begins_every_window_anew() -> None:
    key = api_key_create(name="k", limits=[LimitRule("requests", "daily", 10)]).key
    key.limits.update(used=10, reserved=1, reset_at=timezone.now())
    usage_reset(key_id=key.pk)
    row = key.limits.get()
    assert (row.used, row.reserved) == (0, 1)
    assert row.reset_at > timezone.now() + timedelta(hours=23)


def test_a_key_knows_its_own_figures_only() -> None:
    key = api_key_create(name="k", limits=[LimitRule("requests", "daily", 10)]).key
    make_record(api_key_create(name="other").key)
    assert key_usage(key.pk).request_count == 0
    newest = make_record(key)
    usage = key_usage(key.pk)
    assert (usage.request_count, usage.input_tokens, usage.output_tokens) == (1, 100, 10)
    assert usage.cost_usd == Decimal("0.5")
    assert usage.limits[0].remaining == 10
    assert [row.last_used_at for row in keys_with_use().order_by("pk")][0] == newest.requested_at  # type: ignore[attr-defined]


def test_a_limit_whose_window_is_over_shows_as_begun_anew() -> None:
    key = api_key_create(name="k", limits=[LimitRule("requests", "daily", 10)]).key
    key.limits.update(used=10, reset_at=timezone.now() - timedelta(minutes=1))
    (limit,) = key_usage(key.pk).limits
    assert (limit.used, limit.remaining) == (0, 10)
    assert limit.reset_at > timezone.now()


def test_every_act_on_a_key_is_on_the_audit_log_and_no_key_is() -> None:
    made = api_key_create(name="laptop", limits=[LimitRule("requests", "daily", 3)])
    api_key_update(key_id=made.key.pk, enabled=False)
    renewed = api_key_regenerate(key_id=made.key.pk)
    limits_replace(key=made.key, rules=[LimitRule("requests", "daily", 3)])
    usage_reset(key_id=made.key.pk)
    api_key_delete(key_id=made.key.pk)
    events = list(AuditEvent.objects.order_by("pk"))
    assert [event.action for event in events] == [
        "api_key_created",
        "api_key_limits_changed",
        "api_key_changed",
        "api_key_renewed",
        "api_key_usage_reset",
        "api_key_deleted",
    ]
    assert {event.subject.split(" ")[0] for event in events} == {"laptop"}
    assert events[2].detail == "enabled: False"
    told = " ".join(event.subject + event.detail for event in events)
    assert made.plain not in told
    assert renewed.plain not in told
