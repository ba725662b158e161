"""The viewer sees everything and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLResolver, get_resolver

from accounts.models import AuditEvent
from accounts.operators.services import PasswordRefused
from accounts.operators.viewers import viewer, viewer_remove, viewer_set
from tests.accounts.operators.totp import PASSWORD
from tests.builders import make_account
from tests.codexproxy.browsing import auth, browser, far_browser, lock_with_password, lock_with_totp, problem

pytestmark = pytest.mark.django_db

LOOKING = "only-looking-1"


@pytest.fixture
def looking() -> Client:
    """A browser far away in which the viewer has signed in."""
    lock_with_password()
    viewer_set(password=LOOKING)
    client = far_browser()
    assert client.post("/admin/login/", {"password": LOOKING}).status_code == 302
    return client


@pytest.mark.parametrize(
    "path",
    ["/admin/", "/admin/accounts/account/", "/admin/proxy/settings/1/change/", "/admin/accounts/auditevent/",
     "/admin/security/", "/admin/proxy/apikey/", "/admin/notices/noticesettings/1/change/",
     "/admin/notices/notice/", "/api/accounts", "/api/settings", "/api/dashboard/overview"],
)  # fmt: skip
def test_it_sees_every_page(looking: Client, path: str) -> None:
    assert looking.get(path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/admin/proxy/settings/1/change/"),
        ("POST", "/admin/accounts/account/a/do/pause/"),
        ("POST", "/admin/accounts/account/a/export/"),
        ("POST", "/admin/accounts/account/a/delete/"),
        ("POST", "/admin/proxy/apikey/add/"),
        ("POST", "/admin/security/password/"),
        ("POST", "/admin/security/viewer/"),
        ("POST", "/admin/security/sessions/end/"),
        ("POST", "/admin/notices/noticesettings/1/change/"),
        ("POST", "/admin/notices/noticesettings/test/webhook/"),
        ("PUT", "/api/settings"),
        ("POST", "/api/api-keys/"),
        ("DELETE", "/api/accounts/a"),
        ("POST", "/api/firewall/ips"),
        ("POST", "/api/oauth/start"),
        ("POST", "/api/dashboard-auth/totp/setup/start"),
        ("POST", "/api/dashboard-auth/totp/setup/confirm"),
        ("DELETE", "/api/dashboard-auth/password"),
        ("PATCH", "/api/nowhere"),
    ],
)
def test_it_changes_nothing(looking: Client, method: str, path: str) -> None:
    make_account("a")
    response = looking.generic(method, path, "{}", content_type="application/json")
    assert response.status_code == 403
    assert b"viewer_may_not_change" in response.content


def addresses(patterns: Any, before: str = "/") -> Iterator[str]:
    """Every address of the control plane, with something in the place of its parameters."""
    for pattern in patterns:
        whole = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, whole)
        else:
            yield re.sub(r"<uuid:\w+>", str(UUID(int=1)), re.sub(r"<(str|path|int|slug):\w+>", "1", whole))


def test_no_page_that_it_may_look_at_writes_anything(looking: Client) -> None:
    make_account("1")
    # The rows of settings are made when they are looked at first.
    looking.get("/admin/"), looking.get("/admin/notices/noticesettings/1/change/")
    asked = [path for path in addresses(get_resolver().url_patterns) if not re.search(r"[\^$(]|logout", path)]
    assert len(asked) > 80
    with CaptureQueriesContext(connection) as captured:
        answers = [looking.get(path).status_code for path in asked]
    written = {
        query["sql"].split()[2] if query["sql"].startswith(("INSERT", "DELETE")) else query["sql"].split()[1]
        for query in captured
        if query["sql"].startswith(("INSERT", "UPDATE", "DELETE"))
    }
    # That the log of requests was downloaded is written down.
    assert written <= {'"accounts_auditevent"', '"django_session"'}
    assert answers.count(200) > 40


def test_it_may_sign_out_and_sign_in_as_the_operator(looking: Client) -> None:
    assert looking.post("/admin/logout/").status_code == 302
    assert looking.get("/api/accounts").status_code == 401
    assert auth(looking, "password/login", {"password": PASSWORD}).status_code == 200
    assert looking.put("/api/settings", {}, content_type="application/json").status_code == 200


def test_programs_are_told_that_it_is_a_guest(looking: Client) -> None:
    told = looking.get("/api/dashboard-auth/session").json()
    assert (told["authenticated"], told["role"], told["guestAccessEnabled"]) == (True, "guest", True)
    assert told["permissions"] == ["read"]


def test_where_codes_are_asked_for_it_has_its_own_way_in() -> None:
    lock_with_totp()
    viewer_set(password=LOOKING)
    client = far_browser()
    assert "Sign in as the viewer" in client.get("/admin/login/").content.decode()
    assert client.post("/admin/login/?viewer", {"password": LOOKING}).status_code == 302
    assert client.get("/admin/").status_code == 200
    assert client.put("/api/settings", {}, content_type="application/json").status_code == 403


def test_its_way_in_spares_the_operator_no_code() -> None:
    lock_with_password()
    lock_with_totp()
    viewer_set(password=LOOKING)
    client = far_browser()
    client.post("/admin/login/?viewer", {"password": PASSWORD})
    assert problem(client.get("/api/settings")) == (401, "totp_required")


def test_its_wrong_passwords_are_counted_like_any_other() -> None:
    lock_with_password()
    viewer_set(password=LOOKING)
    client = far_browser()
    answers = [client.post("/admin/login/", {"password": "wrong"}).status_code for _ in range(9)]
    assert answers == [200] * 8 + [429]


def test_its_own_password_does_not_let_it_guess_the_operators() -> None:
    lock_with_password()
    viewer_set(password=LOOKING)
    client = far_browser()
    for guess in range(7):
        auth(client, "password/login", {"password": f"a guess {guess}"})
    assert auth(client, "password/login", {"password": LOOKING}).status_code == 200
    assert problem(auth(client, "password/login", {"password": "the eighth"}))[0] == 401
    assert problem(auth(client, "password/login", {"password": "the ninth"}))[0] == 429


def test_the_operator_takes_no_password_that_is_the_viewers() -> None:
    viewer_set(password=LOOKING)
    words = "viewer's password"
    first = auth(browser(), "password/setup", {"password": LOOKING})
    assert problem(first) == (422, "validation_error") and words in first.json()["error"]["message"]
    lock_with_password()
    client = browser()
    auth(client, "password/login", {"password": PASSWORD})
    changed = auth(client, "password/change", {"currentPassword": PASSWORD, "newPassword": LOOKING})
    assert problem(changed) == (422, "validation_error") and words in changed.json()["error"]["message"]


def test_another_password_and_its_removal_end_its_sessions(looking: Client) -> None:
    viewer_set(password="another-one-2")
    assert looking.get("/api/accounts").status_code == 401
    assert viewer_remove() is True
    assert (viewer(), viewer_remove()) == (None, False)
    assert auth(far_browser(), "password/login", {"password": "another-one-2"}).status_code == 401


@pytest.mark.parametrize(("password", "words"), [("short", "at least"), (PASSWORD, "operator's password")])
def test_a_password_that_will_not_do_is_refused(password: str, words: str) -> None:
    lock_with_password()
    with pytest.raises(PasswordRefused, match=words):
        viewer_set(password=password)
    assert not User.objects.filter(username="viewer").exists()


def test_the_operator_sets_and_removes_it_on_the_security_page() -> None:
    client = browser()
    done: Any = client.post("/admin/security/viewer/", {"new": LOOKING, "again": LOOKING}, follow=True)
    assert "The viewer may sign in" in done.content.decode()
    wrong = client.post("/admin/security/viewer/", {"new": LOOKING, "again": "else"}).content.decode()
    assert "This is not the same as above." in wrong
    client.post("/admin/security/viewer/remove/")
    actions = list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))
    assert actions == ["viewer_set", "viewer_removed"]


def test_an_open_dashboard_lets_nobody_far_away_make_one(settings: Any) -> None:
    from ipaddress import ip_network

    settings.DASHBOARD_NETWORKS = (ip_network("192.168.1.0/24"),)
    page = far_browser().post("/admin/security/viewer/", {"new": LOOKING, "again": LOOKING}).content.decode()
    assert "set-up token" in page
    assert viewer() is None
