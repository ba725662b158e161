"""The settings over JSON."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from accounts.models import AuditEvent
from accounts.operators import services
from proxy.models import Settings
from proxy.settings_services import settings_get
from tests.accounts.operators.totp import PASSWORD, enrol

pytestmark = pytest.mark.django_db

PATH = "/api/settings"


def browser() -> Client:
    return Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")


def put(body: Any) -> Any:
    return browser().put(PATH, body, content_type="application/json")


def test_it_works() -> None:
    assert browser().get(PATH).json() == {
        "stickyThreadsEnabled": True,
        "preferEarlierResetAccounts": False,
        "routingStrategy": "capacity_weighted",
        "requestLogRetentionDays": 30,
        "apiKeyAuthEnabled": False,
        "publicBaseUrl": "",
        "passwordRequiredOnLogin": False,
        "passwordConfigured": False,
        "totpRequiredOnLogin": False,
        "totpConfigured": False,
        "dashboardSessionTtlSeconds": 43200,
        "stickySessionMaxAgeSeconds": 2592000,
        "openaiCacheAffinityMaxAgeSeconds": 1800,
        "upstreamSilenceSeconds": 600,
    }


def test_put_answers_with_what_is_stored() -> None:
    body = {"stickyThreadsEnabled": False, "preferEarlierResetAccounts": True, "totpRequiredOnLogin": False}
    answer = put(body)
    assert answer.status_code == 200
    assert answer.json() == browser().get(PATH).json()
    assert {name: answer.json()[name] for name in body} == body


def test_what_put_does_not_name_stays() -> None:
    put({"requestLogRetentionDays": 7})
    put({"dashboardSessionTtlSeconds": 7200})
    row = settings_get()
    assert (row.retention_days, row.session_hours) == (7, 2)


def test_what_get_answered_can_be_put_back() -> None:
    assert put(browser().get(PATH).json()).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        [],
        "text",
        {"stickyThreadsEnabled": "perhaps"},
        {"stickyThreadsEnabled": None},
        {"routingStrategy": "best"},
        {"requestLogRetentionDays": 0},
        {"requestLogRetentionDays": 10**12},
        {"dashboardSessionTtlSeconds": 5000},
        {"dashboardSessionTtlSeconds": True},
        {"openaiCacheAffinityMaxAgeSeconds": 0},
        {"upstreamSilenceSeconds": 29},
        {"publicBaseUrl": "ftp://example.com"},
    ],
)
def test_a_body_that_will_not_do_is_a_422_and_changes_nothing(body: Any) -> None:
    before = browser().get(PATH).json()
    answer = put(body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_error")
    assert browser().get(PATH).json() == before


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("totpRequiredOnLogin", "invalid_totp_config"),
        ("passwordRequiredOnLogin", "invalid_password_config"),
    ],
)
def test_a_lock_that_nobody_could_open_is_not_turned_on(name: str, code: str) -> None:
    answer = put({name: True, "stickyThreadsEnabled": False})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert settings_get().affinity_enabled is True


def test_a_lock_that_can_be_opened_is_turned_on() -> None:
    enrol()
    assert put({"totpRequiredOnLogin": True}).json()["totpConfigured"] is True
    assert browser().get(PATH).status_code == 401


def test_a_password_lock_needs_a_password_only() -> None:
    services.password_set(password=PASSWORD)
    assert put({"passwordRequiredOnLogin": True}).status_code == 200


def test_other_methods_are_told_which_there_are() -> None:
    answer = browser().post(PATH)
    assert answer.status_code == 405
    assert {"GET", "PUT"} <= {name.strip() for name in answer.headers["Allow"].split(",")}
    assert answer.json() == {"error": {"code": "http_405", "message": "Method Not Allowed"}}


def test_a_change_is_in_the_audit_log_with_its_values() -> None:
    put({"requestLogRetentionDays": 7, "stickyThreadsEnabled": True})
    event = AuditEvent.objects.get()
    assert (event.action, event.detail) == ("settings_changed", "retention_days: 30 → 7")
    assert (event.actor, event.address) == ("operator", "127.0.0.1")


@pytest.mark.django_db(transaction=True)
def test_twenty_first_requests_at_once_get_the_same_row() -> None:
    Settings.objects.all().delete()

    def ask(number: int) -> tuple[int, bytes]:
        try:
            answer = browser().get(PATH)
            return answer.status_code, answer.content
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        answers = set(pool.map(ask, range(20)))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 200
    assert Settings.objects.count() == 1
