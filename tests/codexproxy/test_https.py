"""Behind a proxy with TLS: the scheme is believed from a trusted proxy, and cookies become Secure."""

from __future__ import annotations

import ipaddress
import re

import pytest
from django.test import Client
from pytest_django import Settings as SettingsWrapper

from tests.accounts.operators.totp import code
from tests.codexproxy.browsing import auth, lock_with_totp

pytestmark = pytest.mark.django_db

HOST = "codex.example.com"


@pytest.fixture
def behind_proxy(settings: SettingsWrapper) -> None:
    settings.TRUSTED_PROXIES = (ipaddress.ip_network("127.0.0.1/32"),)
    settings.NAMED_HOSTS = [HOST]


def proxied(scheme: str = "https", *, checks: bool = False) -> Client:
    return Client(
        enforce_csrf_checks=checks,
        REMOTE_ADDR="127.0.0.1",
        HTTP_HOST=HOST,
        HTTP_X_FORWARDED_FOR="203.0.113.9",
        HTTP_X_FORWARDED_PROTO=scheme,
    )


@pytest.mark.usefixtures("behind_proxy")
@pytest.mark.parametrize(("scheme", "is_secure"), [("https", True), ("http", False)])
def test_cookies_are_secure_where_the_browser_sees_https(scheme: str, is_secure: bool) -> None:
    lock_with_totp()
    client = proxied(scheme)
    client.get("/admin/login/")
    auth(client, "totp/verify", {"code": code()})
    cookies = client.cookies
    assert {"codexproxy_session", "codexproxy_csrf"} <= set(cookies)
    assert {bool(cookie["secure"]) for cookie in cookies.values()} == {is_secure}
    assert {(cookie["httponly"], cookie["samesite"]) for cookie in cookies.values()} == {(True, "Lax")}


@pytest.mark.usefixtures("behind_proxy")
def test_a_form_can_be_sent_through_a_proxy_with_tls() -> None:
    lock_with_totp()
    client = proxied(checks=True)
    token = re.search(
        r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/admin/login/").content.decode()
    )
    assert token
    fields = {"code": code(), "csrfmiddlewaretoken": token[1]}
    evil = client.post("/admin/login/", fields, headers={"Origin": "https://evil.example"})
    assert evil.status_code == 403
    sent = client.post("/admin/login/", fields, headers={"Origin": f"https://{HOST}"})
    assert sent.status_code == 302


def test_a_client_cannot_claim_https() -> None:
    lock_with_totp()
    client = Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost", HTTP_X_FORWARDED_PROTO="https")
    client.get("/admin/login/")
    assert not client.cookies["codexproxy_csrf"]["secure"]
