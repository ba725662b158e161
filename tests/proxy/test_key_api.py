from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.groups import group_save
from accounts.models import AccountGroup
from accounts.services import account_delete
from proxy.key_selectors import key_views
from proxy.keys import key_hash
from proxy.models import ApiKey
from requestlogs.models import RequestRecord
from requestlogs.records import Record, TokenCounts
from requestlogs.rollups import hour_of
from requestlogs.writer import records_store
from tests.builders import make_account

pytestmark = pytest.mark.django_db

KEYS = "/api/api-keys/"


@pytest.fixture
def dashboard() -> Client:
    return Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")


def sent(dashboard: Client, method: str, path: str, payload: Any) -> Any:
    return getattr(dashboard, method)(path, json.dumps(payload), content_type="application/json")


def create(dashboard: Client, **fields: Any) -> dict[str, Any]:
    answer = sent(dashboard, "post", KEYS, {"name": "laptop", **fields})
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def test_it_works(dashboard: Client) -> None:
    make_account("acc_1")
    made = create(
        dashboard,
        note="mine",
        allowedModels=["gpt-5.5"],
        allowedReasoningEfforts=["low"],
        enforcedServiceTier="fast",
        expiresAt="2027-01-01T00:00:00Z",
        assignedAccountIds=["acc_1"],
        maxParallelRequests=4,
        limits=[{"limitType": "cost_usd", "limitWindow": "7d", "maxValue": 3000, "modelFilter": None}],
    )
    plain = made.pop("key")
    assert plain.startswith(made["keyPrefix"])
    (listed,) = dashboard.get(KEYS).json()
    assert listed == made
    reset_at = listed["limits"][0].pop("resetAt")
    assert reset_at.endswith("Z")
    assert listed == {
        "id": made["id"],
        "name": "laptop",
        "note": "mine",
        "keyPrefix": plain[:12],
        "isActive": True,
        "createdAt": made["createdAt"],
        "lastUsedAt": None,
        "expiresAt": "2027-01-01T00:00:00Z",
        "allowedModels": ["gpt-5.5"],
        "enforcedModel": None,
        "enforcedReasoningEffort": None,
        "allowedReasoningEfforts": ["low"],
        "enforcedServiceTier": "priority",
        "maxParallelRequests": 4,
        "accountAssignmentScopeEnabled": True,
        "assignedAccountIds": ["acc_1"],
        "assignedGroupIds": [],
        "limits": [
            {
                "limitType": "cost_usd",
                "limitWindow": "weekly",
                "maxValue": 3000,
                "currentValue": 0,
                "modelFilter": None,
            }
        ],
    }
    assert key_views()[key_hash(plain)].accounts == {"acc_1"}


def test_only_what_is_named_changes(dashboard: Client) -> None:
    made = create(dashboard, note="kept", limits=[limit(5)])
    answer = sent(dashboard, "patch", f"{KEYS}{made['id']}", {"isActive": False}).json()
    assert (answer["isActive"], answer["note"], len(answer["limits"])) == (False, "kept", 1)
    assert "key" not in answer


def test_a_key_that_loses_its_accounts_stays_bound_to_its_groups(dashboard: Client) -> None:
    make_account("acc_1")
    group = group_save(group=AccountGroup(name="Team"), account_ids=[])
    made = create(dashboard, assignedAccountIds=["acc_1"], assignedGroupIds=[group.pk])
    path = f"{KEYS}{made['id']}"
    answer = sent(dashboard, "patch", path, {"assignedAccountIds": []}).json()
    assert (answer["accountAssignmentScopeEnabled"], answer["assignedGroupIds"]) == (True, [group.pk])
    assert key_views()[key_hash(made["key"])].accounts == frozenset()
    answer = sent(dashboard, "patch", path, {"assignedGroupIds": []}).json()
    assert answer["accountAssignmentScopeEnabled"] is False


def test_a_key_may_be_bound_to_no_account_at_all(dashboard: Client) -> None:
    """A program that writes back the accounts that are still there must not widen the key by it."""
    make_account("acc_1")
    made = create(dashboard, assignedAccountIds=["acc_1"])
    account_delete(account_id="acc_1")
    changed = {"accountAssignmentScopeEnabled": True, "assignedAccountIds": []}
    answer = sent(dashboard, "patch", f"{KEYS}{made['id']}", changed).json()
    assert (answer["accountAssignmentScopeEnabled"], answer["assignedAccountIds"]) == (True, [])
    assert key_views()[key_hash(made["key"])].accounts == frozenset()
    free = sent(dashboard, "patch", f"{KEYS}{made['id']}", {"accountAssignmentScopeEnabled": False}).json()
    assert free["accountAssignmentScopeEnabled"] is False
    assert key_views()[key_hash(made["key"])].accounts is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [("fast", "priority"), ("ultrafast", "ultrafast"), ("flex", "flex"), ("auto", "auto"), (None, None)],
)
def test_the_tiers_that_can_be_enforced(dashboard: Client, given: str | None, kept: str | None) -> None:
    assert create(dashboard, enforcedServiceTier=given)["enforcedServiceTier"] == kept


def limit(most: int, kind: str = "requests", window: str = "daily") -> dict[str, Any]:
    return {"limitType": kind, "limitWindow": window, "maxValue": most}


def test_limits_are_replaced_and_keep_what_is_used(dashboard: Client) -> None:
    made = create(dashboard, limits=[limit(5), limit(9, "total_tokens")])
    ApiKey.objects.get().limits.filter(kind="requests").update(used=3)
    answer = sent(dashboard, "patch", f"{KEYS}{made['id']}", {"limits": [limit(8)]}).json()
    assert [(row["maxValue"], row["currentValue"]) for row in answer["limits"]] == [(8, 3)]
    answer = sent(dashboard, "patch", f"{KEYS}{made['id']}", {"resetUsage": True}).json()
    assert [(row["maxValue"], row["currentValue"]) for row in answer["limits"]] == [(8, 0)]


def test_the_legacy_field_for_a_weekly_limit(dashboard: Client) -> None:
    made = create(dashboard, weeklyTokenLimit=1000)
    assert (made["limits"][0]["limitType"], made["limits"][0]["limitWindow"]) == ("total_tokens", "weekly")


def test_a_key_is_renewed_and_deleted(dashboard: Client) -> None:
    made = create(dashboard)
    renewed = dashboard.post(f"{KEYS}{made['id']}/regenerate").json()
    assert renewed["key"] != made["key"]
    assert list(key_views()) == [key_hash(renewed["key"])]
    answer = dashboard.delete(f"{KEYS}{made['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert ApiKey.objects.count() == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("patch", "99"),
        ("delete", "99"),
        ("post", "99/regenerate"),
        ("get", "99/usage-7d"),
        ("get", "99/trends"),
    ],
)
def test_a_key_that_is_not_there(dashboard: Client, method: str, path: str) -> None:
    answer = sent(dashboard, method, KEYS + path, {}) if method != "get" else dashboard.get(KEYS + path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "api_key_not_found")


@pytest.mark.parametrize(
    ("payload", "status", "words"),
    [
        ({"name": ""}, 400, "name"),
        ({"assignedAccountIds": ["nobody"]}, 400, "no account nobody"),
        ({"limits": [limit(1), limit(2)]}, 400, "two limits for requests"),
        ({"limits": [limit(0)]}, 400, "at most"),
        ({"limits": [limit(1, "wishes")]}, 400, "wishes"),
        ({"limits": "many"}, 422, "limits must be a list"),
        ({"limits": ["many"]}, 422, "must be an object"),
        ({"limits": [{"limitType": "requests", "limitWindow": "daily", "maxValue": "5"}]}, 422, "maxValue"),
        ({"limits": [limit(2**70)]}, 422, "maxValue"),
        ({"name": 5}, 422, "name must be a text"),
        ({"expiresAt": "tomorrow"}, 422, "expiresAt"),
        ({"expiresAt": "2026-13-45T00:00:00Z"}, 422, "expiresAt"),
        ({"isActive": "yes"}, 422, "isActive"),
        ({"allowedModels": [5]}, 400, "allowed_models"),
        ([], 422, "object"),
    ],
)
def test_what_is_wrong_is_named(dashboard: Client, payload: Any, status: int, words: str) -> None:
    if isinstance(payload, dict):
        payload = {"name": "k", **payload}
    answer = sent(dashboard, "post", KEYS, payload)
    assert answer.status_code == status, answer.content
    message = answer.json()["error"]["message"]
    assert words in message or words in message.replace("max_value", "at most"), message
    assert ApiKey.objects.count() == 0


def test_what_a_key_has_used_in_a_week(dashboard: Client) -> None:
    made = create(dashboard)
    RequestRecord.objects.create(
        request_id="r", api_key_id=made["id"], status="success", input_tokens=10, output_tokens=5,
        cost_usd=Decimal("0.25"),
    )  # fmt: skip
    RequestRecord.objects.create(
        request_id="r", api_key_id=made["id"], status="success", requested_at=datetime(2020, 1, 1, tzinfo=UTC)
    )
    answer = dashboard.get(f"{KEYS}{made['id']}/usage-7d").json()
    assert (answer["totalRequests"], answer["totalTokens"], answer["totalCostUsd"]) == (1, 15, 0.25)
    assert dashboard.get(KEYS).json()[0]["lastUsedAt"] is not None


def test_a_key_s_week_hour_by_hour_outlives_its_rows(dashboard: Client) -> None:
    own = create(dashboard)["id"]
    now = timezone.now()
    records_store(
        [
            Record(
                request_id="r", requested_at=now - timedelta(hours=hours), api_key_id=key_id, model="gpt-5.5",
                account_id="a", status="success", tokens=TokenCounts(1_000_000, 0, 10),
            )
            for key_id, hours in [(own, 0), (own, 5), (own, 5), (own, 900), (99, 5)]
        ]
    )  # fmt: skip
    RequestRecord.objects.all().delete()
    answer = dashboard.get(f"{KEYS}{own}/trends").json()
    assert answer["keyId"] == own
    assert [len(answer[name]) for name in ("cost", "tokens")] == [168, 168]
    tokens = {point["t"]: point["v"] for point in answer["tokens"] if point["v"]}
    hours = [f"{hour_of(now - timedelta(hours=ago)):%Y-%m-%dT%H:%M:%SZ}" for ago in (5, 0)]
    assert tokens == {hours[0]: 2_000_020, hours[1]: 1_000_010}
    assert [point["t"] for point in answer["cost"] if point["v"] > 0] == hours
    assert answer["tokens"][-1]["t"] == hours[1]
