"""Who reaches the dashboard, with and without locks."""

from __future__ import annotations

import ipaddress

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import Client
from django.urls import path
from pytest_django import Settings as SettingsWrapper

from accounts.operators.selectors import operator
from codexproxy.urls import handler404  # noqa: F401
from codexproxy.urls import urlpatterns as real_urlpatterns
from tests.accounts.operators.totp import PASSWORD
from tests.codexproxy.browsing import browser, far_browser, lock_with_password, require

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


def whoami(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": request.user.get_username()})


whoami.csrf_exempt = True  # type: ignore[attr-defined]
urlpatterns = [path("api/whoami", whoami), *real_urlpatterns]


def test_an_open_dashboard_serves_a_local_request_without_a_login() -> None:
    assert browser().get("/admin/").status_code == 200
    assert browser().get("/api/whoami").json() == {"user": "operator"}


def test_the_operator_is_made_once_and_cannot_sign_in() -> None:
    browser().get("/api/whoami")
    browser().get("/api/whoami")
    operator = User.objects.get()
    assert (operator.username, operator.is_superuser, operator.is_staff) == ("operator", True, True)
    assert not operator.has_usable_password()


def test_a_stranger_is_told_the_two_ways_in() -> None:
    response = browser("192.168.1.9", "192.168.1.5:2455").get("/admin/")
    assert response.status_code == 403
    assert "CODEXPROXY_DASHBOARD_NETWORKS" in response.content.decode()
    assert "Turn a lock on" in response.content.decode()


def test_a_stranger_at_the_api_gets_an_envelope() -> None:
    response = browser("192.168.1.9", "192.168.1.5:2455").get("/api/whoami")
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "dashboard_not_local"
    assert "CODEXPROXY_DASHBOARD_NETWORKS" in response.json()["error"]["message"]


def test_a_forwarded_request_from_loopback_is_a_stranger() -> None:
    assert browser(x_forwarded_for="127.0.0.1").get("/admin/").status_code == 403
    assert browser(x_real_ip="127.0.0.1").get("/admin/").status_code == 403


def test_a_named_network_is_admitted(settings: SettingsWrapper) -> None:
    settings.DASHBOARD_NETWORKS = (ipaddress.ip_network("192.168.1.0/24"),)
    assert browser("192.168.1.9", "192.168.1.5:2455").get("/admin/").status_code == 200
    assert browser("192.168.2.9", "192.168.1.5:2455").get("/admin/").status_code == 403


def test_a_proxy_in_a_named_network_that_is_not_trusted_admits_nobody(settings: SettingsWrapper) -> None:
    settings.DASHBOARD_NETWORKS = (ipaddress.ip_network("172.16.0.0/12"),)
    assert browser("172.17.0.2", x_forwarded_for="172.17.0.9").get("/admin/").status_code == 403


def test_behind_a_trusted_proxy_the_forwarded_client_must_be_in_a_named_network(
    settings: SettingsWrapper,
) -> None:
    settings.TRUSTED_PROXIES = (ipaddress.ip_network("127.0.0.1/32"),)
    settings.DASHBOARD_NETWORKS = (ipaddress.ip_network("192.168.1.0/24"),)
    assert browser(x_forwarded_for="192.168.1.9").get("/admin/").status_code == 200
    assert browser(x_forwarded_for="192.168.1.9, 203.0.113.9").get("/admin/").status_code == 403


def test_a_foreign_host_name_is_refused_from_everywhere() -> None:
    response = browser(host="evil.example").get("/api/whoami")
    assert (response.status_code, response.json()["error"]["code"]) == (403, "host_not_allowed")
    assert "CODEXPROXY_ALLOWED_HOSTS" in browser(host="evil.example").get("/admin/").content.decode()


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:2455",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io:2455",
        "evil.example@localhost",
        "localhost:2455.evil.example",
        "[::1].evil.example",
    ],
)
@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/api/whoami", "/api/dashboard-auth/session"])
def test_a_name_that_only_leads_here_is_refused(host: str, path: str) -> None:
    # DNS rebinding: the page of that name would be of the same origin as this answer.
    assert browser(host=host).get(path).status_code in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:2455", "[::1]:2455", "127.1.2.3"])
def test_this_machine_by_its_own_names_is_served(host: str) -> None:
    assert browser(host=host).get("/admin/").status_code == 200


def test_a_named_host_passes_the_host_check(settings: SettingsWrapper) -> None:
    settings.NAMED_HOSTS = ["proxy.example"]
    settings.DASHBOARD_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)
    assert browser(host="proxy.example").get("/admin/").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:8080"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_a_write_of_another_site_is_refused_at_the_api(headers: dict[str, str]) -> None:
    response = browser(**headers).post("/api/whoami")
    assert (response.status_code, response.json()["error"]["code"]) == (403, "cross_site")
    assert browser(**headers).get("/api/whoami").status_code == 200


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_whatever_the_method_of_the_write(method: str) -> None:
    client = browser(origin="https://evil.example")
    assert getattr(client, method)("/api/settings").json()["error"]["code"] == "cross_site"


def test_a_foreign_page_cannot_write_with_the_cookie_of_a_sign_in() -> None:
    lock_with_password()
    client = browser()
    client.post("/admin/login/", {"password": PASSWORD})
    refused = client.post("/api/whoami", headers={"Origin": "https://evil.example"})
    assert refused.json()["error"]["code"] == "cross_site"


def test_a_program_writes_to_the_api_without_a_token() -> None:
    client = Client(enforce_csrf_checks=True, REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")
    assert client.post("/api/whoami").json() == {"user": "operator"}


def test_a_form_needs_djangos_token() -> None:
    client = Client(enforce_csrf_checks=True, REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")
    assert client.post("/admin/accounts/account/add/", {"pasted": "{}"}).status_code == 403


def test_health_and_static_files_are_outside_the_gate() -> None:
    stranger = browser("203.0.113.9", "evil.example")
    assert stranger.get("/health/live").status_code == 200
    style_sheet = stranger.get("/static/codexproxy/ui.css")
    assert style_sheet.status_code == 200
    style_sheet.close()
    assert stranger.get("/healthy").status_code == 403


def test_a_password_lock_leads_to_the_sign_in_page_and_opens_with_it() -> None:
    lock_with_password()
    client = far_browser()
    assert client.get("/admin/").headers["Location"] == "/admin/login/?next=/admin/"
    assert client.get("/admin/login/").status_code == 200
    client.post("/admin/login/", {"password": PASSWORD})
    assert client.get("/admin/").status_code == 200
    assert client.get("/api/whoami").json() == {"user": "operator"}


def test_a_page_that_reads_a_part_of_itself_anew_is_loaded_whole_when_the_session_is_over() -> None:
    lock_with_password()
    part = browser(hx_request="true").get("/admin/?range=24h")
    assert (part.status_code, part.headers["HX-Refresh"], part.content) == (200, "true", b"")


def test_a_session_that_did_not_give_the_password_opens_no_password_lock() -> None:
    lock_with_password()
    client = browser()
    client.force_login(operator())
    assert client.get("/api/whoami").status_code == 401


def test_who_is_signed_in_is_no_stranger_when_the_locks_are_off_again() -> None:
    lock_with_password()
    client = far_browser()
    client.post("/admin/login/", {"password": PASSWORD})
    require(require_password=False)
    assert client.get("/api/whoami").status_code == 200
    assert far_browser().get("/api/whoami").status_code == 403


def test_a_password_lock_closes_the_api_even_for_local_requests() -> None:
    require(require_password=True)
    response = browser().get("/api/whoami")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "authentication_required")


def test_a_totp_lock_is_not_opened_by_a_password() -> None:
    require(require_totp=True)
    client = browser()
    client.force_login(User.objects.create_superuser("owner"))
    response = client.get("/api/whoami")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "totp_required")
    assert client.get("/admin/").status_code == 302


def test_a_user_who_is_not_staff_opens_no_lock() -> None:
    require(require_password=True)
    client = browser()
    client.force_login(User.objects.create_user("guest"))
    assert client.get("/api/whoami").status_code == 401


def test_an_unknown_api_path_answers_with_an_envelope() -> None:
    response = browser().get("/api/no-such-thing")
    assert response.status_code == 404
    assert response.json() == {"error": {"code": "http_404", "message": "Not Found"}}


@pytest.mark.parametrize(
    ("path", "without_account"),
    [("/api/accounts/acc_1/export/auth", 404), ("/admin/accounts/account/acc_5F1/export/", 302)],
)
def test_a_named_network_sees_an_open_dashboard_and_gets_no_tokens(
    settings: SettingsWrapper, path: str, without_account: int
) -> None:
    settings.DASHBOARD_NETWORKS = (ipaddress.ip_network("192.168.1.0/24"),)
    refused = browser("192.168.1.9", "192.168.1.5:2455").post(path)
    assert refused.status_code == 403
    assert "own machine only" in refused.content.decode()
    # On that machine it gets as far as the account, which there is none of: the page leads back to the list.
    assert browser().post(path).status_code == without_account


def test_no_tokens_are_handed_out_while_a_lock_is_shut() -> None:
    lock_with_password()
    assert browser().post("/api/accounts/acc_1/export/auth").status_code == 401
    assert browser().post("/admin/accounts/account/acc_5F1/export/").status_code == 302


def test_a_path_that_the_project_is_mounted_below_changes_nothing() -> None:
    lock_with_password()
    response = browser().get("/api/whoami", SCRIPT_NAME="/static")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "authentication_required")
