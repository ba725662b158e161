"""Every security-relevant act is on the audit log, with who, from where and what, and with no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from accounts.models import AccountGroup, AuditEvent
from accounts.operators.selectors import totp_device
from accounts.operators.viewers import viewer_set
from proxy.firewall_services import firewall_add
from proxy.key_services import api_key_create
from proxy.models import ApiKey, FirewallEntry
from tests.accounts.operators.totp import PASSWORD, SECRET, code, enrol, wrong_code
from tests.builders import make_account, make_auth_json
from tests.codexproxy.browsing import auth, browser, far_browser, lock_with_password, lock_with_totp
from tests.conftest import ROOT

pytestmark = pytest.mark.django_db

LOOKING = "only-looking-1"
ADDRESS = "127.0.0.1"
Act = Callable[[Client], object]


def put(path: str, body: dict[str, Any]) -> Act:
    return lambda client: client.put(path, body, content_type="application/json")


def post(path: str, body: dict[str, Any] | None = None) -> Act:
    return lambda client: client.post(path, body or {}, content_type="application/json")


def form(path: str, **fields: Any) -> Act:
    return lambda client: client.post(path, fields)


def of_key(verb: str = "", **changes: Any) -> Act:
    def act(client: Client) -> object:
        path = f"/api/api-keys/{ApiKey.objects.get().pk}"
        if verb == "delete":
            return client.delete(path)
        if verb:
            return client.post(f"{path}/{verb}")
        return client.patch(path, changes, content_type="application/json")

    return act


def of_entry(client: Client) -> object:
    entry = FirewallEntry.objects.get()
    return client.post(f"/admin/proxy/firewallentry/{entry.pk}/change/", {"note": "the office"})


def of_group(verb: str, **fields: Any) -> Act:
    return lambda client: client.post(
        f"/admin/accounts/accountgroup/{AccountGroup.objects.get().pk}/{verb}/", fields
    )


LIMITS = [{"limitType": "requests", "limitWindow": "daily", "maxValue": 5}]
GROUPS = "/admin/accounts/accountgroup/add/"

ACTS: dict[str, Act] = {
    "settings_changed": put("/api/settings", {"apiKeyAuthEnabled": True}),
    "password_set": lambda client: auth(client, "password/setup", {"password": "another horse"}),
    "viewer_set": form("/admin/security/viewer/", new=LOOKING, again=LOOKING),
    "account_paused": post("/api/accounts/a/pause"),
    "account_resumed": post("/api/accounts/p/reactivate"),
    "account_renamed": put("/api/accounts/a/alias", {"alias": "Ann"}),
    "account_routed": put("/api/accounts/a/routing-policy", {"routingPolicy": "preserve"}),
    "account_deleted": lambda client: client.delete("/api/accounts/a"),
    "account_auth_exported": post("/api/accounts/a/export/auth"),
    "account_group_added": form(GROUPS, name="new", members=["a"]),
    "account_group_changed": of_group("change", name="other", members=["a"]),
    "account_group_deleted": of_group("delete", post="yes"),
    "api_key_created": post("/api/api-keys/", {"name": "phone"}),
    "api_key_changed": of_key(isActive=False),
    "api_key_limits_changed": of_key(limits=LIMITS),
    "api_key_usage_reset": of_key(resetUsage=True),
    "api_key_renewed": of_key("regenerate"),
    "api_key_deleted": of_key("delete"),
    "firewall_added": post("/api/firewall/ips", {"ipAddress": "198.51.100.9"}),
    "firewall_noted": of_entry,
    "firewall_removed": lambda client: client.delete("/api/firewall/ips/198.51.100.0/24"),
    "requests_exported": lambda client: client.get("/admin/requestlogs/requestrecord/export/"),
    "price_added": form("/admin/usage/priceoverride/add/", model="m", tier="standard", input="1", output="1"),
}  # fmt: skip


def events() -> list[tuple[str, str, str]]:
    return [(event.actor, event.address, event.action) for event in AuditEvent.objects.order_by("pk")]


@pytest.mark.parametrize("action", ACTS)
def test_what_the_operator_does_is_on_the_log(action: str) -> None:
    make_account("a")
    make_account("p", status="paused")
    AccountGroup.objects.create(name="some")
    firewall_add(text="198.51.100.0/24")
    made = api_key_create(name="laptop")
    AuditEvent.objects.all().delete()
    answer: Any = ACTS[action](browser())
    assert answer.status_code < 400, answer.content
    assert ("operator", ADDRESS, action) in events(), answer.content
    assert not _found(
        [made.plain, made.key.key_hash, "access-1-of-a", "refresh-1-of-a", LOOKING, "another horse"]
    )


def test_an_import_says_what_it_added(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    for _ in range(2):
        path.write_text(json.dumps(make_auth_json()))
        call_command("import_accounts", "--no-verify", str(path), stdout=StringIO())
    assert events()[0] == ("command line", "", "account_added")
    assert not _found(["rt-ann@example.com"])


def test_each_way_in_and_each_refusal_is_on_the_log() -> None:
    lock_with_password()
    lock_with_totp()
    viewer_set(password=LOOKING)
    AuditEvent.objects.all().delete()
    client = far_browser()
    guess, given = "a wrong password", code()
    auth(client, "password/login", {"password": guess})
    auth(client, "password/login", {"password": PASSWORD})
    auth(client, "totp/verify", {"code": wrong_code()})
    auth(client, "totp/verify", {"code": given})
    client.post("/admin/security/recovery-codes/", {"code": given})
    auth(client, "password/change", {"currentPassword": PASSWORD, "newPassword": "another horse"})
    other = far_browser()
    auth(other, "password/login", {"password": LOOKING})
    auth(other, "logout")
    client.post("/admin/security/sessions/end/")
    client.post("/admin/security/viewer/remove/")
    auth(client, "totp/disable", {"code": given})
    nobody, operator = ("nobody signed in", "192.168.1.9"), ("operator", "192.168.1.9")
    assert events() == [
        (*nobody, "password_refused"),
        (*operator, "signed_in"),
        (*operator, "totp_refused"),
        (*operator, "signed_in"),
        (*operator, "recovery_codes_made"),
        (*operator, "password_changed"),
        ("viewer", "192.168.1.9", "signed_in"),
        ("viewer", "192.168.1.9", "signed_out"),
        (*operator, "sessions_ended"),
        (*operator, "viewer_removed"),
        (*operator, "settings_changed"),
        (*operator, "totp_disabled"),
    ]
    assert not _found([guess, PASSWORD, LOOKING, "another horse", SECRET, given])


def test_the_setup_token_and_the_first_lock_are_on_the_log(settings: Any) -> None:
    settings.DASHBOARD_SETUP_TOKEN = "the-token"
    client = far_browser()
    auth(client, "password/setup", {"password": PASSWORD}, **{"X-Codex-LB-Setup-Token": "wrong"})
    auth(client, "password/setup", {"password": PASSWORD}, **{"X-Codex-LB-Setup-Token": "the-token"})
    auth(client, "password", {})
    client.delete("/api/dashboard-auth/password", {"password": PASSWORD}, content_type="application/json")
    assert [action for _, _, action in events()][:3] == [
        "setup_token_refused",
        "password_set",
        "password_removed",
    ]
    assert not _found(["the-token", PASSWORD])


def test_what_is_done_on_the_command_line_is_on_the_log() -> None:
    enrol()
    device = totp_device()
    assert device is not None
    AuditEvent.objects.all().delete()
    call_command("otp_reset", "--password", stdout=StringIO())
    assert events() == [("command line", "", "otp_reset"), ("command line", "", "totp_disabled")]


def test_every_action_is_documented() -> None:
    """Those that are chosen between, or put together, are named here."""
    names = {
        *("account_paused", "account_resumed", "account_group_added", "account_group_changed"),
        *("password_refused", "totp_refused", "setup_token_refused", "password_set", "password_changed"),
    }
    for app in ("accounts", "codexproxy", "proxy", "requestlogs", "usage"):
        for path in (ROOT / app).rglob("*.py"):
            source = path.read_text()
            names |= set(re.findall(r'audit\.record\(\s*"(\w+)"', source))
            names |= set(re.findall(r'_note\("(\w+)"', source))
    docs = (ROOT / "docs" / "security.md").read_text()
    assert sorted(name for name in names if f"`{name}`" not in docs) == []


def _found(secrets: list[str]) -> list[str]:
    told = json.dumps(list(AuditEvent.objects.values_list("actor", "subject", "detail", "action")))
    return [secret for secret in secrets if secret in told]
