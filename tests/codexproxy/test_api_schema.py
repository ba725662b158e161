"""The JSON's own description: it names every route and field, and whatever it allows has no fault."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
import schemathesis
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples

import accounts.urls
import proxy.urls
import requestlogs.urls
from codexproxy import dashboard_auth
from proxy.firewall_services import firewall_add
from proxy.key_services import LimitRule, api_key_create
from requestlogs.records import Record, TokenCounts
from requestlogs.writer import records_store
from tests.builders import make_account
from tests.codexproxy.browsing import browser, far_browser
from usage.models import CurrentWindow

pytestmark = pytest.mark.django_db

BASE = "http://localhost"
_PASSED = frozenset({"accept", "cookie"})


def answered(case: Any) -> Any:
    """By Django's own test client, whose requests stay in the test's transaction."""
    asked = requests.Request(**case.as_transport_kwargs(base_url=BASE)).prepare()
    headers = {name: value for name, value in asked.headers.items() if name.lower() in _PASSED}
    body = asked.body or b""
    return browser(host="localhost").generic(
        str(asked.method),
        str(asked.url).removeprefix(BASE),
        body if isinstance(body, bytes) else body.encode(),
        content_type=asked.headers.get("Content-Type", "application/json"),
        headers=headers,
    )


def described() -> Any:
    return schemathesis.openapi.from_dict(SchemaGenerator().get_schema(public=True))


SCHEMA = described()
OPERATIONS = sorted((path, method) for path in SCHEMA for method in SCHEMA[path])
READABLE = sorted(path for path, method in OPERATIONS if method.lower() == "get")
# Requests that change something and need nobody else.
CHANGES: dict[tuple[str, str], Any] = {
    ("post", "/api/accounts/{account_id}/pause"): {},
    ("post", "/api/accounts/{account_id}/reactivate"): {},
    ("put", "/api/accounts/{account_id}/alias"): {"alias": "Work"},
    ("put", "/api/accounts/{account_id}/routing-policy"): {"routingPolicy": "preserve", "stopAtPercent": 80},
    ("post", "/api/accounts/{account_id}/export/auth"): {},
    ("delete", "/api/accounts/{account_id}"): {},
    ("post", "/api/api-keys/"): {"name": "laptop", "weeklyTokenLimit": 1000},
    ("patch", "/api/api-keys/{key_id}"): {"note": "mine"},
    ("post", "/api/api-keys/{key_id}/regenerate"): {},
    ("put", "/api/settings"): {"stickyThreadsEnabled": False},
    ("post", "/api/firewall/ips"): {"ipAddress": "203.0.113.9"},
    ("delete", "/api/firewall/ips/{ip}"): {},
    ("post", "/api/oauth/complete"): {},
    ("post", "/api/dashboard-auth/totp/setup/start"): {},
    ("post", "/api/dashboard-auth/logout"): {},
}
KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,), "boolean": (bool,), "integer": (int,), "number": (int, float)
}  # fmt: skip


def test_this_machine_reads_the_description_and_a_stranger_does_not() -> None:
    found = browser().get("/api/schema/").json()
    assert set(found["paths"]) == {path for path, _ in OPERATIONS}
    assert far_browser().get("/api/schema/").status_code == 403


def test_every_route_is_described() -> None:
    modules = (accounts.urls, proxy.urls, requestlogs.urls, dashboard_auth)
    assert len({path for path, _ in OPERATIONS}) == sum(len(module.urlpatterns) for module in modules)


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=lambda value: str(value))
def test_whatever_it_allows_is_answered_without_a_fault(path: str, method: str, settings: Any) -> None:
    # Nobody listens there: what would ask the sign-in service is told so.
    settings.AUTH_BASE_URL = settings.UPSTREAM_BASE_URL = "http://127.0.0.1:9"
    account = make_account("a")
    token = account.credential.access_token

    @examples(
        max_examples=6,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),
    )
    @given(case=SCHEMA[path][method].as_strategy())
    def check(case: Any) -> None:
        answer = answered(case)
        assert answer.status_code != 500, (case.body, case.query, answer.content)
        assert token.encode() not in answer.content or path.endswith("/export/auth")

    check()


@pytest.fixture
def lived_in() -> dict[str, Any]:
    """Something of everything, so that no list is empty. The values are those of the paths."""
    account = make_account("a")
    for window in ("primary", "secondary"):
        CurrentWindow.objects.create(
            account=account, window=window, used_percent=40, recorded_at=timezone.now()
        )
    tokens = TokenCounts(input=1000, cached_input=400, output=100, reasoning=40)
    fields: dict[str, Any] = {"account_id": "a", "model": "gpt-5.1", "status": "success", "tokens": tokens}
    records_store([Record("rid", timezone.now(), **fields)])
    firewall_add(text="127.0.0.1")
    key = api_key_create(name="work", limits=[LimitRule("requests", "daily", 5)]).key
    return {"account_id": "a", "key_id": key.pk, "ip": "127.0.0.1"}


def answer_schema(path: str, method: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The description of the good answer, and the whole."""
    whole: dict[str, Any] = json.loads(json.dumps(SchemaGenerator().get_schema(public=True)))
    return whole["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"], whole


def fits(value: Any, schema: dict[str, Any], whole: dict[str, Any], where: str = "") -> None:
    """It has the fields that are described, all of them, of the kind that is described, and no other."""
    if "$ref" in schema:
        schema = whole["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if value is None:
        assert schema.get("nullable") or None in schema.get("enum", ()), where
    elif schema["type"] == "array":
        assert isinstance(value, list), where
        assert value or schema["items"]["type"] != "object", f"{where}: nothing to compare"
        for item in value:
            fits(item, schema["items"], whole, f"{where}[]")
    elif "properties" in schema:
        assert set(value) <= set(schema["properties"]), where
        assert set(schema["required"]) <= set(value), where
        for name, part in value.items():
            fits(part, schema["properties"][name], whole, f"{where}.{name}")
    elif schema["type"] == "object":
        assert isinstance(value, dict), where
    else:
        assert type(value) in KINDS[schema["type"]], (where, value)
        assert value in schema.get("enum", [value]), where


@pytest.mark.parametrize("path", READABLE)
def test_what_is_read_has_the_fields_that_are_described(path: str, lived_in: dict[str, Any]) -> None:
    schema, whole = answer_schema(path, "get")
    fits(browser(host="localhost").get(path.format(**lived_in)).json(), schema, whole)


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_what_a_change_answers_has_the_fields_that_are_described(
    method: str, path: str, lived_in: dict[str, Any]
) -> None:
    schema, whole = answer_schema(path, method)
    answer = getattr(browser(host="localhost"), method)(
        path.format(**lived_in), json.dumps(CHANGES[method, path]), content_type="application/json"
    )
    assert answer.status_code == 200, answer.content
    fits(answer.json(), schema, whole)


def test_no_answer_is_just_any_object() -> None:
    whole = SchemaGenerator().get_schema(public=True)
    vague = [
        (method, path)
        for path, methods in whole["paths"].items()
        for method, operation in methods.items()
        for answer in operation["responses"].values()
        for content in answer.get("content", {}).values()
        if not {"properties", "items", "$ref"} & set(content["schema"])
    ]
    assert vague == []
