"""The sign-in pages and the security page."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from pytest_django import Settings as SettingsWrapper

from accounts.models import AuditEvent
from accounts.operators import codes, selectors, services
from accounts.operators.selectors import operator
from proxy.settings_services import settings_get
from tests.accounts.operators.totp import PASSWORD, SECRET, code, enrol, wrong_code
from tests.codexproxy.browsing import (
    auth,
    browser,
    far_browser,
    lock_with_password,
    lock_with_totp,
    require,
)

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"
SECURITY = "/admin/security/"


def page(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def is_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def sign_in(client: Client, **fields: str) -> Any:
    return client.post(LOGIN, fields)


def test_an_open_dashboard_has_no_sign_in_page() -> None:
    assert browser().get(LOGIN).headers["Location"] == "/admin/"


def test_signing_in_takes_two_steps_and_leads_where_one_wanted_to_go() -> None:
    lock_with_password()
    lock_with_totp()
    client = browser()
    wanted = client.get("/admin/proxy/settings/1/change/").headers["Location"]
    assert wanted == f"{LOGIN}?next=/admin/proxy/settings/1/change/"
    first = page(client.get(wanted))
    assert 'name="password"' in first and 'name="code"' not in first

    assert client.post(wanted, {"password": PASSWORD}).headers["Location"] == wanted
    second = page(client.get(wanted))
    assert 'name="code"' in second and 'name="password"' not in second
    assert not is_in(client)

    client.post(wanted, {"code": code()})
    assert client.get(wanted).headers["Location"] == "/admin/proxy/settings/1/change/"
    assert is_in(client)


def test_one_can_start_again_after_the_first_step() -> None:
    lock_with_password()
    lock_with_totp()
    client = browser()
    sign_in(client, password=PASSWORD)
    assert "Start again" in page(client.get(LOGIN))
    assert sign_in(client, start_again="").headers["Location"] == LOGIN
    assert 'name="password"' in page(client.get(LOGIN))
    assert not Session.objects.exists()


def test_a_code_alone_is_one_step() -> None:
    lock_with_totp()
    client = browser()
    assert 'name="code"' in page(client.get(LOGIN))
    sign_in(client, code=code())
    assert is_in(client)


def test_the_way_on_leads_to_no_other_site() -> None:
    lock_with_totp()
    client = browser()
    wanted = f"{LOGIN}?next=https://evil.example/"
    client.post(wanted, {"code": code()})
    assert client.get(wanted).headers["Location"] == "/admin/"


def test_what_is_wrong_stands_beside_the_field() -> None:
    lock_with_password()
    shown = page(sign_in(browser(), password="wrong one"))
    assert "The password is wrong." in shown
    assert "wrong one" not in shown
    assert "This field is required." in page(sign_in(browser(), password=""))


def test_a_replayed_code_is_refused_on_the_page_too() -> None:
    lock_with_totp()
    given = code()
    sign_in(browser(), code=given)
    assert "wrong or was used already" in page(sign_in(browser(), code=given))


def test_after_eight_wrong_tries_the_page_is_a_429() -> None:
    lock_with_totp()
    for _ in range(8):
        assert sign_in(browser(), code=wrong_code()).status_code == 200
    refused = sign_in(browser(), code=code())
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert "Try again in" in refused.content.decode()


def test_log_out_ends_the_session_on_the_server() -> None:
    lock_with_totp()
    client = browser()
    sign_in(client, code=code())
    thief = browser()
    thief.cookies = client.cookies.copy()
    # A link of another page must not do it.
    assert client.get("/admin/logout/").status_code == 405
    assert is_in(thief)
    assert client.post("/admin/logout/").status_code == 302
    assert not is_in(thief)


def test_log_out_is_offered_to_who_is_signed_in_only() -> None:
    assert "/admin/logout/" not in page(browser().get("/admin/"))
    lock_with_totp()
    client = browser()
    sign_in(client, code=code())
    assert "/admin/logout/" in page(client.get("/admin/"))


def test_the_first_password_is_set_twice() -> None:
    client = browser()
    differs = client.post(f"{SECURITY}password/", {"new": PASSWORD, "again": "other"})
    assert "not the same as above" in page(differs)
    short = client.post(f"{SECURITY}password/", {"new": "short", "again": "short"})
    assert "at least 8 characters" in page(short)
    assert client.post(f"{SECURITY}password/", {"new": PASSWORD, "again": PASSWORD}).status_code == 302
    assert operator().check_password(PASSWORD)
    assert "Change the password" in page(client.get(SECURITY))


def test_changing_the_password_takes_the_present_one() -> None:
    services.password_set(password=PASSWORD)
    new = {"new": "another horse", "again": "another horse"}
    refused = browser().post(f"{SECURITY}password/", {"current": "wrong one", **new})
    assert "The password is wrong." in page(refused)
    assert browser().post(f"{SECURITY}password/", {"current": PASSWORD, **new}).status_code == 302
    assert operator().check_password("another horse")


def test_removing_the_password_opens_its_lock() -> None:
    lock_with_password()
    client = browser()
    sign_in(client, password=PASSWORD)
    assert client.post(f"{SECURITY}password/remove/", {"password": PASSWORD}).status_code == 302
    assert not settings_get().require_password
    assert is_in(client)


def test_an_authenticator_is_set_up_by_its_code() -> None:
    client = browser()
    shown = page(client.get(f"{SECURITY}authenticator/"))
    found = re.search(r'name="secret" value="([A-Z2-7]{32})"', shown)
    assert found
    assert codes.grouped(found[1]) in shown
    assert 'src="data:image/svg+xml;base64,' in shown

    wrong = page(client.post(f"{SECURITY}authenticator/", {"secret": SECRET, "code": wrong_code()}))
    assert "The code does not fit." in wrong
    assert f'value="{SECRET}"' in wrong

    done = client.post(f"{SECURITY}authenticator/", {"secret": SECRET, "code": code()})
    made = re.findall(r"<code>([a-z2-7-]{19})</code>", page(done))
    assert len(made) == 10
    assert "no-store" in done.headers["Cache-Control"]
    assert selectors.recovery_codes_left() == 10
    assert not [text for text in made if text in page(client.get(SECURITY))]
    assert client.get(f"{SECURITY}authenticator/").headers["Location"] == SECURITY


def test_a_secret_that_is_none_is_replaced_by_a_new_one() -> None:
    shown = page(browser().post(f"{SECURITY}authenticator/", {"secret": "<script>", "code": code()}))
    assert "<script>" not in shown.split("<form", 1)[1]
    assert re.search(r'name="secret" value="[A-Z2-7]{32}"', shown)


def test_from_another_machine_the_first_set_up_takes_the_token(settings: SettingsWrapper) -> None:
    settings.DASHBOARD_SETUP_TOKEN = "set-up token"
    settings.DASHBOARD_NETWORKS = (ipaddress.ip_network("192.168.1.0/24"),)
    client = far_browser()
    assert 'name="setup_token"' in page(client.get(SECURITY))
    form = {"secret": SECRET, "code": code(), "setup_token": "wrong"}
    assert "missing or wrong" in page(client.post(f"{SECURITY}authenticator/", form))
    assert not selectors.has_totp()
    client.post(f"{SECURITY}authenticator/", form | {"setup_token": "set-up token"})
    assert selectors.has_totp()


def test_new_recovery_codes_take_a_code() -> None:
    old = enrol()
    refused = page(browser().post(f"{SECURITY}recovery-codes/", {"code": wrong_code()}))
    assert "wrong or was used already" in refused
    made = page(browser().post(f"{SECURITY}recovery-codes/", {"code": code()}))
    assert len(re.findall(r"<code>[a-z2-7-]{19}</code>", made)) == 10
    assert not [text for text in old if text in made]


def test_disabling_the_authenticator_takes_a_code_and_ends_every_session() -> None:
    lock_with_totp()
    client = browser()
    sign_in(client, code=code())
    assert "wrong" in page(client.post(f"{SECURITY}authenticator/disable/", {"code": wrong_code()}))
    assert client.post(f"{SECURITY}authenticator/disable/", {"code": code()}).status_code == 302
    assert (selectors.has_totp(), settings_get().require_totp) == (False, False)
    assert not Session.objects.exists()


def test_sessions_are_listed_without_their_keys_and_can_be_ended() -> None:
    lock_with_password()
    mine = browser(user_agent="Mine/1.0")
    other = far_browser(user_agent="Other/1.0")
    for client in (mine, other):
        sign_in(client, password=PASSWORD)
    shown = page(mine.get(SECURITY))
    assert "127.0.0.1 (this one)" in shown and "192.168.1.9" in shown
    assert "Mine/1.0" in shown and "Other/1.0" in shown
    assert not [key for key in Session.objects.values_list("pk", flat=True) if key in shown]

    mine.post(f"{SECURITY}sessions/end/")
    assert not is_in(other)
    assert is_in(mine)
    handle = re.search(r'name="handle" value="(\w+)"', page(mine.get(SECURITY)))
    assert handle
    mine.post(f"{SECURITY}sessions/end/", {"handle": handle[1]})
    assert not is_in(mine)


def test_a_session_that_is_over_is_a_message_and_no_error() -> None:
    answer = browser().post(f"{SECURITY}sessions/end/", {"handle": "gone"}, follow=True)
    assert "over already" in page(answer)


@pytest.mark.parametrize(
    "route",
    [
        "password/",
        "password/remove/",
        "authenticator/disable/",
        "recovery-codes/",
        "sessions/end/",
    ],
)
def test_acts_need_a_post_with_the_pages_token(route: str) -> None:
    assert browser().get(SECURITY + route).status_code == 405
    client = Client(enforce_csrf_checks=True, REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")
    assert client.post(SECURITY + route).status_code == 403


@pytest.mark.parametrize("route", ["", "authenticator/", "password/", "sessions/end/"])
def test_a_locked_dashboard_shows_none_of_it(route: str) -> None:
    lock_with_totp()
    assert browser().get(SECURITY + route).headers["Location"].startswith(LOGIN)
    assert browser().post(SECURITY + route).headers["Location"].startswith(LOGIN)


def test_the_password_page_of_django_leads_to_ours() -> None:
    assert browser().get("/admin/password_change/").headers["Location"] == SECURITY


def test_lock_changes_are_in_the_audit_log() -> None:
    enrol()
    AuditEvent.objects.all().delete()
    client = browser()
    client.put("/api/settings", {"totpRequiredOnLogin": True}, content_type="application/json")
    auth(client, "totp/verify", {"code": code()})
    require(require_totp=False)
    log = page(client.get("/admin/accounts/auditevent/"))
    assert "settings_changed" in log and "127.0.0.1" in log
    assert AuditEvent.objects.get(action="settings_changed").detail == "require_totp: False → True"


def test_the_audit_log_can_only_be_read() -> None:
    event = AuditEvent.objects.create(actor="operator", action="password_set")
    client = browser()
    assert client.get(f"/admin/accounts/auditevent/{event.pk}/change/").status_code == 200
    assert client.post(f"/admin/accounts/auditevent/{event.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.get("/admin/accounts/auditevent/add/").status_code == 403
