"""Text that no database can keep is refused on every way into the dashboard, and stored by none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.http import HttpResponse, QueryDict
from django.test import Client, RequestFactory

from accounts.models import Account, AuditEvent
from codexproxy.plain_text import PlainTextMiddleware, all_plain
from proxy.models import ApiKey, FirewallEntry
from tests.builders import make_account
from tests.codexproxy.browsing import browser, problem

pytestmark = pytest.mark.django_db

BAD = ["\x00", "a\ud800b", "\udfff"]
REFUSED = (422, "validation_error")

KEY = {"name": "k"}
LIMIT = {"limitType": "requests", "limitWindow": "daily", "maxValue": 5}


def with_bad(bad: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Every text that a writing route stores or looks up, and a field that it does not know."""
    key, alias = "/api/api-keys/", "/api/accounts/a/alias"
    auth = "/api/dashboard-auth/"
    return [
        ("post", key, {"name": bad}),
        ("post", key, KEY | {"note": bad}),
        ("post", key, KEY | {"expiresAt": bad}),
        ("post", key, KEY | {"allowedModels": [bad]}),
        ("post", key, KEY | {"enforcedModel": bad}),
        ("post", key, KEY | {"enforcedReasoningEffort": bad}),
        ("post", key, KEY | {"allowedReasoningEfforts": [bad]}),
        ("post", key, KEY | {"enforcedServiceTier": bad}),
        ("post", key, KEY | {"assignedAccountIds": [bad]}),
        ("post", key, KEY | {"limits": [LIMIT | {"modelFilter": bad}]}),
        ("post", key, KEY | {"limits": [LIMIT | {"limitType": bad}]}),
        ("post", key, KEY | {bad: 1}),
        ("patch", "/api/api-keys/1", {"note": bad}),
        ("post", "/api/firewall/ips", {"ipAddress": bad}),
        ("post", "/api/firewall/ips", {"ipAddress": "10.0.0.1", "note": bad}),
        ("put", alias, {"alias": bad}),
        ("put", "/api/accounts/a/routing-policy", {"routingPolicy": bad}),
        ("put", "/api/settings", {"publicBaseUrl": bad}),
        ("put", "/api/settings", {"routingStrategy": bad}),
        ("post", "/api/oauth/start", {"accountId": bad}),
        ("post", "/api/oauth/complete", {"flowId": bad}),
        ("post", "/api/oauth/manual-callback", {"callbackUrl": bad}),
        ("post", "/api/accounts/import", {"auth_json": bad}),
        ("post", auth + "password/setup", {"password": bad * 12}),
        ("post", auth + "password/login", {"password": bad}),
        ("post", auth + "password/change", {"currentPassword": bad, "newPassword": bad * 12}),
        ("delete", auth + "password", {"password": bad}),
        ("post", auth + "totp/setup/confirm", {"secret": bad, "code": bad}),
        ("post", auth + "totp/verify", {"code": bad}),
    ]


CASES = [case for bad in BAD for case in with_bad(bad)]


@pytest.mark.parametrize(
    ("method", "path", "body"), CASES, ids=[f"{number}-{case[1]}" for number, case in enumerate(CASES)]
)
def test_json_with_such_text_is_refused_and_nothing_is_stored(
    method: str, path: str, body: dict[str, Any]
) -> None:
    make_account("a")
    answer = browser().generic(method.upper(), path, json.dumps(body), content_type="application/json")
    assert problem(answer) == REFUSED
    assert not ApiKey.objects.exists() and not FirewallEntry.objects.exists()
    assert Account.objects.get().alias == "" and not AuditEvent.objects.exists()


def test_a_form_with_such_text_is_refused() -> None:
    make_account("a")
    assert problem(browser().post("/api/api-keys/", {"name": "a\x00b"})) == REFUSED
    assert problem(browser().post("/api/firewall/ips", {"ipAddress": "10.0.0.1", "no\x00te": ""})) == REFUSED
    assert not ApiKey.objects.exists() and not FirewallEntry.objects.exists()


@pytest.mark.parametrize(
    "path",
    [
        "/api/request-logs?search=%00",
        "/api/request-logs?accountId=%00",
        "/api/request-logs/options?model=a%00",
        "/api/usage/history?hours=%00",
        "/api/oauth/status?flowId=%00",
    ],
)
def test_a_query_with_nul_is_refused(path: str) -> None:
    assert problem(browser().get(path)) == REFUSED


def test_a_path_with_nul_is_refused() -> None:
    assert problem(browser().post("/api/accounts/%00/pause")) == REFUSED
    assert problem(browser().delete("/api/firewall/ips/%00")) == REFUSED
    assert browser().get("/admin/accounts/account/%00/change/").status_code == 400


@pytest.mark.parametrize("name", ["account", "model", "code", "effort", "outcome", "key", "q", "before"])
def test_the_pages_filters_refuse_nul(name: str) -> None:
    answer = browser().get(f"/admin/requestlogs/requestrecord/?{name}=%00")
    assert answer.status_code == 400
    assert answer.content.decode() == "The request holds characters that no text can have."


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/admin/accounts/account/", {"action": "pause", "_selected_action": "a\x00"}),
        ("/admin/accounts/account/sign-in/browser/", {"account": "\x00"}),
        ("/admin/proxy/firewallentry/add/", {"network": "10.0.0.1", "note": "\x00"}),
    ],
)
def test_the_pages_forms_refuse_nul(path: str, form: dict[str, str]) -> None:
    assert browser().post(path, form).status_code == 400
    assert not FirewallEntry.objects.exists()


def test_a_cookie_cannot_write_nul_as_a_number() -> None:
    client = browser()
    client.cookies["codexproxy_session"] = '"' + "\\000" * 12 + '"'
    sent = client.cookies["codexproxy_session"]
    sent.set("codexproxy_session", sent.value, '"' + "\\000" * 12 + '"')
    assert client.get("/admin/").status_code == 400


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-7", "utf-16", "raw_unicode_escape"])
def test_no_other_encoding_brings_such_text_into_a_form(charset: str) -> None:
    """Django reads a form of many parts in whatever encoding it names."""
    body = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\na\\ud800+2AA-\r\n--x--\r\n'
    for path, status in (("/admin/proxy/apikey/add/", 400), ("/api/api-keys/", 422)):
        kind = f"multipart/form-data; boundary=x; charset={charset}"
        assert browser().post(path, body, content_type=kind).status_code == status
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("kind", ["application/json; charset=utf8", "application/json; charset=US-ASCII"])
def test_utf_8_by_any_of_its_names_is_read(kind: str) -> None:
    answer = browser().post("/api/api-keys/", json.dumps(KEY), content_type=kind)
    assert (answer.status_code, answer.json()["name"]) == (200, "k")


def test_what_percent_signs_spell_in_utf_8_is_never_half_a_pair() -> None:
    """So that a query, and a form, can bring NUL only."""
    assert all_plain([QueryDict("a=%ed%a0%80")["a"], QueryDict("a=%ff")["a"]])
    request = RequestFactory().get("/?a=%ed%a0%80")
    assert PlainTextMiddleware(lambda _: HttpResponse("in"))(request).content == b"in"


def test_text_of_every_script_is_plain() -> None:
    assert all_plain({"grüße": ["日本語", "😀", {"deep": [1, None, True, 2.5]}]})
    deep: Any = "\ud800"
    for _ in range(100_000):
        deep = [deep]
    assert not all_plain(deep)


@pytest.mark.parametrize("expires_at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_moment_beyond_the_ends_of_time_is_refused(expires_at: str) -> None:
    answer = browser().post(
        "/api/api-keys/", KEY | {"expiresAt": expires_at}, content_type="application/json"
    )
    assert problem(answer) == REFUSED
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("value", ["", [], {}, "80", 80.5, True])
def test_a_reserve_is_a_whole_number(value: object) -> None:
    make_account("a")
    client: Client = browser()
    answer = client.put(
        "/api/accounts/a/routing-policy", {"stopAtPercent": value}, content_type="application/json"
    )
    assert problem(answer) == REFUSED
