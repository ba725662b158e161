"""Signing in and setting it up over JSON."""

from __future__ import annotations

import base64
import ipaddress
import json
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from pytest_django import Settings as SettingsWrapper

from accounts.models import AuditEvent
from accounts.operators import selectors, services
from accounts.operators.models import Try
from proxy.settings_services import settings_get, settings_update
from tests.accounts.operators.totp import PASSWORD, SECRET, code, device, enrol, wrong_code
from tests.codexproxy.browsing import (
    AUTH,
    auth,
    browser,
    far_browser,
    lock_with_password,
    lock_with_totp,
    problem,
    require,
)

pytestmark = pytest.mark.django_db

TOKEN = "set-up token"


def session(client: Client) -> dict[str, object]:
    return dict(client.get(AUTH + "session").json())


def is_in(client: Client) -> bool:
    return client.get("/api/settings").status_code == 200


def sign_in_by_code(client: Client, given: str | None = None) -> None:
    assert auth(client, "totp/verify", {"code": given or code()}).status_code == 200


def test_a_fresh_dashboard_is_open() -> None:
    told = session(browser())
    assert told["authenticated"] is True
    assert (told["totpRequiredOnLogin"], told["totpConfigured"], told["passwordRequired"]) == (False,) * 3


def test_a_session_tells_what_it_may_do() -> None:
    assert session(browser())["permissions"] == ["read", "write"]
    assert session(far_browser())["permissions"] == []


def test_an_authenticator_that_is_not_required_leaves_everything_open() -> None:
    enrol()
    services.password_set(password=PASSWORD)
    client = browser()
    assert is_in(client)
    told = session(client)
    assert (told["authenticated"], told["totpConfigured"]) == (True, True)
    assert client.get("/admin/").status_code == 200


def test_a_far_browser_may_ask_how_to_get_in_and_nothing_else() -> None:
    told = session(far_browser())
    assert (told["authenticated"], told["bootstrapRequired"], told["role"]) == (False, True, None)
    assert problem(far_browser().get("/api/settings")) == (403, "dashboard_not_local")


def test_a_page_of_another_site_cannot_post_here() -> None:
    client = browser(origin="https://evil.example")
    assert problem(auth(client, "password/setup", {"password": PASSWORD})) == (403, "cross_site")
    assert problem(browser(host="evil.example").get(AUTH + "session")) == (403, "host_not_allowed")


def test_set_up_by_code_asks_for_nothing_on_this_machine() -> None:
    client = browser()
    begun = auth(client, "totp/setup/start").json()
    assert begun["otpauthUri"].startswith("otpauth://totp/codexproxy%3Adashboard?secret=" + begun["secret"])
    kind, _, picture = begun["qrSvgDataUri"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert b"<svg" in base64.b64decode(picture)
    assert not selectors.has_totp()

    confirmed = auth(client, "totp/setup/confirm", {"secret": SECRET, "code": code()})
    assert confirmed.json()["status"] == "ok"
    assert len(confirmed.json()["recoveryCodes"]) == 10
    assert confirmed.headers["Cache-Control"] == "no-store"
    assert selectors.has_totp()


def test_a_set_up_that_does_not_fit_is_refused() -> None:
    client = browser()
    wrong = {"secret": SECRET, "code": wrong_code()}
    assert problem(auth(client, "totp/setup/confirm", wrong)) == (400, "invalid_totp_code")
    bad = {"secret": "nonsense", "code": code()}
    assert problem(auth(client, "totp/setup/confirm", bad)) == (400, "invalid_totp_setup")
    enrol()
    assert problem(auth(client, "totp/setup/start")) == (400, "invalid_totp_setup")
    again = {"secret": SECRET, "code": code()}
    assert problem(auth(client, "totp/setup/confirm", again)) == (400, "invalid_totp_setup")


def test_from_another_machine_the_first_set_up_takes_the_token(settings: SettingsWrapper) -> None:
    settings.DASHBOARD_NETWORKS = (ipaddress.ip_network("192.168.1.0/24"),)
    client = far_browser()
    assert problem(auth(client, "totp/setup/start")) == (403, "dashboard_setup_token_required")
    settings.DASHBOARD_SETUP_TOKEN = TOKEN
    assert problem(auth(client, "totp/setup/start")) == (403, "dashboard_setup_forbidden")
    wrong = {"X-Codex-LB-Setup-Token": "wrong"}
    assert problem(auth(client, "totp/setup/start", **wrong)) == (403, "dashboard_setup_forbidden")
    right = {"X-Codex-LB-Setup-Token": TOKEN}
    assert auth(client, "totp/setup/start", **right).status_code == 200


def test_with_the_token_a_first_lock_can_be_set_up_from_afar(settings: SettingsWrapper) -> None:
    settings.DASHBOARD_SETUP_TOKEN = TOKEN
    client = far_browser()
    made = auth(client, "password/setup", {"password": PASSWORD}, **{"X-Codex-LB-Setup-Token": TOKEN})
    assert (made.status_code, made.json()["authenticated"]) == (200, True)
    body = {"passwordRequiredOnLogin": True}
    assert client.put("/api/settings", body, content_type="application/json").status_code == 200
    assert is_in(client)
    assert problem(far_browser().get("/api/settings")) == (401, "authentication_required")


def test_set_up_tokens_cannot_be_guessed(settings: SettingsWrapper) -> None:
    settings.DASHBOARD_SETUP_TOKEN = TOKEN
    for _ in range(8):
        refused = auth(far_browser(), "totp/setup/start", **{"X-Codex-LB-Setup-Token": "wrong"})
        assert refused.status_code == 403
    refused = auth(far_browser(), "totp/setup/start", **{"X-Codex-LB-Setup-Token": TOKEN})
    assert problem(refused) == (429, "setup_token_rate_limited")


def test_signing_in_with_a_password() -> None:
    lock_with_password()
    client = far_browser()
    assert problem(client.get("/api/settings")) == (401, "authentication_required")
    assert problem(auth(client, "password/login", {"password": "wrong one"})) == (401, "invalid_credentials")
    told = auth(client, "password/login", {"password": PASSWORD}).json()
    assert (told["authenticated"], told["passwordSessionActive"]) == (True, True)
    assert is_in(client)
    assert problem(browser().get("/api/settings")) == (401, "authentication_required")


def test_signing_in_with_a_code() -> None:
    lock_with_totp()
    client = far_browser()
    assert problem(client.get("/api/settings")) == (401, "totp_required")
    assert problem(auth(client, "totp/verify", {"code": wrong_code()})) == (400, "invalid_totp_code")
    assert auth(client, "totp/verify", {"code": code()}).json()["authenticated"] is True
    assert is_in(client)


def test_a_code_counts_once() -> None:
    lock_with_totp()
    given = code()
    sign_in_by_code(browser(), given)
    assert problem(auth(browser(), "totp/verify", {"code": given})) == (400, "invalid_totp_code")


def test_with_both_locks_the_password_comes_first() -> None:
    lock_with_password()
    lock_with_totp()
    client = browser()
    assert problem(auth(client, "totp/verify", {"code": code()})) == (401, "authentication_required")
    told = auth(client, "password/login", {"password": PASSWORD}).json()
    assert told["authenticated"] is False
    assert problem(client.get("/api/settings")) == (401, "totp_required")
    sign_in_by_code(client)
    assert is_in(client)


def test_a_session_by_code_alone_does_not_open_a_password_lock() -> None:
    lock_with_totp()
    client = browser()
    sign_in_by_code(client)
    lock_with_password()
    assert problem(client.get("/api/settings")) == (401, "authentication_required")


def test_a_recovery_code_signs_in_once() -> None:
    codes = lock_with_totp()
    sign_in_by_code(browser(), codes[0])
    assert problem(auth(browser(), "totp/verify", {"code": codes[0]})) == (400, "invalid_totp_code")
    assert selectors.recovery_codes_left() == 9


@pytest.mark.parametrize(
    ("route", "body", "refused"),
    [
        ("password/login", {"password": "wrong one"}, "password_rate_limited"),
        ("totp/verify", {"code": "wrong"}, "totp_rate_limited"),
    ],
)
def test_after_eight_wrong_tries_the_ninth_waits(route: str, body: dict[str, str], refused: str) -> None:
    services.password_set(password=PASSWORD)
    lock_with_totp()
    for _ in range(8):
        assert auth(far_browser(), route, body).status_code in (400, 401)
    right = {"password": PASSWORD, "code": code()}
    response = auth(far_browser(), route, right)
    assert problem(response) == (429, refused)
    assert 0 < int(response.headers["Retry-After"]) <= 60
    assert auth(browser(), route, right).status_code == 200

    for row in Try.objects.all():
        row.at -= timedelta(seconds=61)
        row.save()
    assert auth(far_browser(), "totp/verify", {"code": code(+1)}).status_code == 200


def test_after_log_out_a_copy_of_the_cookie_opens_nothing() -> None:
    lock_with_totp()
    client = browser()
    sign_in_by_code(client)
    thief = browser()
    thief.cookies = client.cookies.copy()
    assert is_in(thief)
    assert auth(client, "logout").json() == {"status": "ok"}
    assert problem(thief.get("/api/settings")) == (401, "totp_required")
    assert not Session.objects.exists()


def test_signing_in_changes_the_cookie() -> None:
    lock_with_password()
    lock_with_totp()
    client = browser()
    auth(client, "password/login", {"password": PASSWORD})
    first = client.cookies["codexproxy_session"].value
    sign_in_by_code(client)
    assert client.cookies["codexproxy_session"].value != first


def test_a_session_lasts_as_long_as_the_settings_say() -> None:
    lock_with_totp()
    settings_update(session_hours=2)
    client = browser()
    sign_in_by_code(client)
    cookie = client.cookies["codexproxy_session"]
    assert 7000 < int(cookie["max-age"]) <= 7200
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    Session.objects.update(expire_date=Session.objects.get().expire_date - timedelta(hours=2, seconds=1))
    assert problem(client.get("/api/settings")) == (401, "totp_required")


def test_changing_the_password_ends_every_other_session() -> None:
    lock_with_password()
    mine, other = browser(), browser()
    for client in (mine, other):
        auth(client, "password/login", {"password": PASSWORD})
    wrong = {"currentPassword": "wrong one", "newPassword": "another horse"}
    assert problem(auth(mine, "password/change", wrong)) == (401, "invalid_credentials")
    assert is_in(other)
    right = {"currentPassword": PASSWORD, "newPassword": "another horse"}
    assert auth(mine, "password/change", right).json() == {"status": "ok"}
    assert is_in(mine)
    assert problem(other.get("/api/settings")) == (401, "authentication_required")


def test_removing_the_password_opens_its_lock() -> None:
    lock_with_password()
    client = browser()
    auth(client, "password/login", {"password": PASSWORD})
    removed = client.delete(AUTH + "password", {"password": PASSWORD}, content_type="application/json")
    assert removed.json() == {"status": "ok"}
    assert (settings_get().require_password, selectors.has_password()) == (False, False)
    assert is_in(browser())


def test_a_locked_dashboard_lets_nobody_else_change_its_locks() -> None:
    lock_with_password()
    client = browser()
    refused = (401, "authentication_required")
    change = {"currentPassword": PASSWORD, "newPassword": "another horse"}
    assert problem(auth(client, "password/change", change)) == refused
    assert problem(auth(client, "totp/setup/start")) == refused
    assert problem(auth(client, "password/setup", {"password": "another horse"})) == refused
    gone = client.delete(AUTH + "password", {"password": PASSWORD}, content_type="application/json")
    assert problem(gone) == refused


def test_a_second_password_is_not_set_up() -> None:
    services.password_set(password=PASSWORD)
    refused = auth(browser(), "password/setup", {"password": "another horse"})
    assert problem(refused) == (409, "password_already_configured")


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({}, "validation_error"),
        ({"password": 12345678}, "validation_error"),
        ({"password": "short"}, "validation_error"),
        ({"password": "x" * 73}, "password_too_long"),
    ],
)
def test_a_body_that_will_not_do_is_a_422(body: dict[str, object], refused: str) -> None:
    assert problem(auth(browser(), "password/setup", body)) == (422, refused)


def test_a_body_that_is_no_object_is_a_422() -> None:
    response = browser().post(AUTH + "totp/verify", json.dumps([1]), content_type="application/json")
    assert problem(response) == (422, "validation_error")


def test_signing_in_with_what_is_not_set_up_says_so() -> None:
    assert problem(auth(browser(), "password/login", {"password": PASSWORD})) == (
        400,
        "password_not_configured",
    )
    assert problem(auth(browser(), "totp/verify", {"code": "123456"})) == (400, "invalid_totp_config")


def test_disabling_takes_a_verified_session_and_a_code_and_ends_every_session() -> None:
    lock_with_totp()
    client, other = browser(), browser()
    given = code()
    assert problem(auth(client, "totp/disable", {"code": given})) == (401, "totp_required")
    sign_in_by_code(client, given)
    sign_in_by_code(other, code(+1))
    assert problem(auth(client, "totp/disable", {"code": wrong_code()})) == (400, "invalid_totp_code")
    # The code that signed in will do: it shows that the authenticator is at hand.
    assert auth(client, "totp/disable", {"code": given}).json() == {"status": "ok"}
    assert (selectors.has_totp(), settings_get().require_totp) == (False, False)
    assert not Session.objects.exists()


def test_sign_ins_and_failures_are_in_the_audit_log() -> None:
    codes = lock_with_totp()
    AuditEvent.objects.all().delete()
    client = far_browser()
    auth(client, "totp/verify", {"code": wrong_code()})
    sign_in_by_code(client, codes[0])
    auth(client, "logout")
    events = [(event.action, event.actor, event.address) for event in AuditEvent.objects.order_by("pk")]
    assert events == [
        ("totp_refused", "nobody signed in", "192.168.1.9"),
        ("signed_in", "operator", "192.168.1.9"),
        ("signed_out", "operator", "192.168.1.9"),
    ]
    assert AuditEvent.objects.get(action="signed_in").detail == "recovery code, 9 left"


def test_turning_a_lock_off_opens_the_dashboard_again() -> None:
    lock_with_totp()
    client = browser()
    sign_in_by_code(client)
    body = {"totpRequiredOnLogin": False}
    assert client.put("/api/settings", body, content_type="application/json").status_code == 200
    assert is_in(browser())
    assert device().secret == SECRET


def test_a_route_tells_which_methods_it_has() -> None:
    require()
    response = browser().get(AUTH + "logout")
    assert (response.status_code, "POST" in response.headers["Allow"]) == (405, True)
