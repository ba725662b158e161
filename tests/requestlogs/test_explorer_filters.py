"""What the request explorer can be narrowed down to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from proxy.models import ApiKey
from requestlogs.models import ErrorHour, RequestRecord
from tests.builders import make_account
from tests.codexproxy.browsing import browser

LIST = "/admin/requestlogs/requestrecord/"

pytestmark = pytest.mark.django_db


def make_record(name: str, **fields: Any) -> None:
    RequestRecord.objects.create(**{"request_id": name, "status": "success", "model": "gpt-5.5"} | fields)


def found(query: str) -> list[str]:
    response = browser().get(f"{LIST}?{query}")
    assert response.status_code == 200
    return sorted(row.request_id for row in response.context["cl"].result_list)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("outcome=ok", ["answered"]),
        ("outcome=failed", ["limit", "no-code", "other", "quota"]),
        ("outcome=rate_limit", ["limit"]),
        ("outcome=quota", ["quota"]),
        ("outcome=error", ["no-code", "other"]),
        ("outcome=cancelled", ["cancelled"]),
        ("outcome=bogus", []),
        ("code=server_error", ["other"]),
    ],
)
def test_an_outcome_means_what_it_means_in_the_json(query: str, names: list[str]) -> None:
    make_record("answered")
    make_record("cancelled", status="cancelled")
    codes = {"limit": "usage_limit_reached", "quota": "insufficient_quota", "other": "server_error"}
    for name, code in {**codes, "no-code": None}.items():
        make_record(name, status="error", error_code=code)
    assert found(query) == names


@pytest.mark.parametrize(
    "query",
    [
        "model=slow", "account=b", "period=1h", "q=wanted", "effort=high", "attempts=several", "slower=10",
        "key=7", "model=slow&account=b&period=1h&effort=high",
    ],
)  # fmt: skip
def test_the_list_can_be_narrowed_down(query: str) -> None:
    make_account("b")
    make_record(
        "wanted", model="slow", account_id="b", reasoning_effort="high", first_token_ms=12_000, api_key_id=7,
        attempts=[{"account_id": "a"}, {"account_id": "b"}],
    )  # fmt: skip
    make_record(
        "other", model="fast", account_id="a", first_token_ms=900, attempts=[{"account_id": "a"}],
        requested_at=timezone.now() - timedelta(hours=2),
    )  # fmt: skip
    assert found(query) == ["wanted"]


def test_what_names_no_effort_and_no_key_can_be_asked_for() -> None:
    make_record("plain")
    make_record("named", reasoning_effort="high", api_key_id=7)
    assert found("effort=unnamed") == ["plain"]
    assert found("key=0") == ["plain"]


@pytest.mark.parametrize("query", ["slower=nonsense", "period=nonsense", "attempts=nonsense"])
def test_a_range_that_does_not_exist_is_no_condition(query: str) -> None:
    make_record("plain")
    assert found(query) == ["plain"]


@pytest.mark.parametrize("query", ["key=nonsense", "key=99999999999999999999", "key=-1"])
def test_a_key_that_does_not_exist_has_no_requests(query: str) -> None:
    make_record("plain")
    assert found(query) == []


def test_keys_and_error_codes_are_offered_by_name() -> None:
    ApiKey.objects.create(name="laptop", key_hash="h", prefix="sk-cp-x")
    ErrorHour.objects.create(hour=timezone.now(), error_code="server_error", requests=1)
    make_record("plain")
    page = browser().get(LIST).content.decode()
    assert "laptop" in page and "server_error" in page
