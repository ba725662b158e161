from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from proxy.models import FirewallEntry

pytestmark = pytest.mark.django_db

IPS = "/api/firewall/ips"


@pytest.fixture
def dashboard() -> Client:
    return Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")


def add(dashboard: Client, payload: Any) -> Any:
    return dashboard.post(IPS, json.dumps(payload), content_type="application/json")


def test_it_works(dashboard: Client) -> None:
    assert dashboard.get(IPS).json() == {"mode": "allow_all", "entries": [], "yourAddress": "127.0.0.1"}
    added = add(dashboard, {"ipAddress": "203.0.113.7", "note": "office"})
    assert added.status_code == 200
    entry = added.json()
    del entry["warning"]
    assert (entry["ipAddress"], entry["note"]) == ("203.0.113.7", "office")
    assert entry["createdAt"].endswith("Z")
    listed = dashboard.get(IPS).json()
    assert (listed["mode"], listed["entries"]) == ("allowlist_active", [entry])
    assert dashboard.delete(f"{IPS}/203.0.113.7").json() == {"status": "deleted"}
    assert dashboard.get(IPS).json()["mode"] == "allow_all"


def test_a_network_can_be_added_and_taken_off(dashboard: Client) -> None:
    assert add(dashboard, {"ipAddress": "192.168.1.0/24"}).json()["ipAddress"] == "192.168.1.0/24"
    assert dashboard.delete(f"{IPS}/192.168.1.0/24").status_code == 200
    assert FirewallEntry.objects.count() == 0


@pytest.mark.parametrize(
    ("payload", "status", "code"),
    [
        ({"ipAddress": "garbage"}, 400, "invalid_ip"),
        ({"ipAddress": "10.0.0.5/8"}, 400, "invalid_ip"),
        ({"ipAddress": "::ffff:203.0.113.7"}, 409, "ip_exists"),
        ({"ipAddress": "203.0.113.7/32"}, 409, "ip_exists"),
        ({}, 422, "validation_error"),
        ([], 422, "validation_error"),
        ({"ipAddress": 5}, 422, "validation_error"),
    ],
)
def test_what_cannot_be_added(dashboard: Client, payload: Any, status: int, code: str) -> None:
    add(dashboard, {"ipAddress": "203.0.113.7"})
    answer = add(dashboard, payload)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert FirewallEntry.objects.count() == 1


@pytest.mark.parametrize("ip", ["203.0.113.8", "garbage", "10.0.0.0/8"])
def test_what_is_not_on_the_list_cannot_be_taken_off(dashboard: Client, ip: str) -> None:
    answer = dashboard.delete(f"{IPS}/{ip}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ip_not_found")


def test_a_list_that_shuts_out_its_writer_says_so(dashboard: Client) -> None:
    answer = dashboard.post(IPS, {"ipAddress": "203.0.113.7"}, content_type="application/json").json()
    assert "(127.0.0.1) cannot connect now" in answer["warning"]
    answer = dashboard.post(IPS, {"ipAddress": "127.0.0.1"}, content_type="application/json").json()
    assert answer["warning"] is None
