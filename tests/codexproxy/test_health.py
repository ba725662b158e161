"""The probes of load balancers."""

from __future__ import annotations

import pytest
from django.db import OperationalError
from django.test import Client

from accounts.models import EncryptionKeyFingerprint
from codexproxy import health

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def not_draining(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_draining", False)


@pytest.mark.parametrize("path", ["/health", "/health/live"])
def test_a_running_process_is_alive(path: str) -> None:
    response = Client().get(path)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_it_is_ready_when_everything_is_ok() -> None:
    response = Client().get("/health/ready")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "checks": {"database": "ok", "encryption_key": "ok", "drain": "ok"},
        "records": {"written": 0, "pending": 0, "dropped": 0, "failed": 0},
    }


def test_a_draining_process_is_alive_but_not_ready() -> None:
    health.begin_drain()
    assert health.is_draining()
    assert Client().get("/health/live").status_code == 200
    response = Client().get("/health/ready")
    assert (response.status_code, response.json()["status"]) == (503, "draining")


def test_it_is_not_ready_with_another_key_than_the_data_was_written_with() -> None:
    EncryptionKeyFingerprint.objects.update_or_create(pk=1, defaults={"fingerprint": "another"})
    response = Client().get("/health/ready")
    assert (response.status_code, response.json()["checks"]["encryption_key"]) == (503, "wrong key")


def test_it_is_not_ready_without_its_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OperationalError("secret host name")

    monkeypatch.setattr(health.connection, "cursor", fail)
    response = Client().get("/health/ready")
    assert (response.status_code, response.json()["checks"]["database"]) == (503, "unavailable")
    assert b"secret" not in response.content


def test_a_write_is_not_allowed() -> None:
    assert Client().post("/health/ready").status_code == 405
