"""Which browser a flow belongs to."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from accounts import sign_in
from accounts.sign_in_scope import COOKIE, Scope, flows_of, remember, scope_of

pytestmark = pytest.mark.django_db


def request(cookie: str = "", **fields: Any) -> HttpRequest:
    made = RequestFactory().get("/", **{"REMOTE_ADDR": "127.0.0.1", "HTTP_USER_AGENT": "one", **fields})
    if cookie:
        made.COOKIES[COOKIE] = cookie
    return made


def cookie_of(scope: Scope, asked: HttpRequest) -> Any:
    response = HttpResponse()
    remember(response, scope, asked)
    return response.cookies[COOKIE]


def test_the_cookie_brings_the_same_scope_back() -> None:
    scope = scope_of(request())
    again = scope_of(request(cookie_of(scope, request()).value))
    assert (again.secret, again.fallback) == (scope.secret, "")


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites() -> None:
    cookie = cookie_of(scope_of(request()), request())
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert not cookie["secure"]
    assert cookie_of(scope_of(request()), request(**{"wsgi.url_scheme": "https"}))["secure"]


@pytest.mark.parametrize("cookie", ["planted", "planted:signature", "\x00", "x" * 5000])
def test_a_cookie_that_we_did_not_sign_is_no_cookie(cookie: str) -> None:
    assert scope_of(request(cookie)).fallback


def test_without_a_cookie_address_and_agent_tell_browsers_apart() -> None:
    fallbacks = {
        scope_of(request()).fallback,
        scope_of(request()).fallback,
        scope_of(request(HTTP_USER_AGENT="two")).fallback,
        scope_of(request(REMOTE_ADDR="192.0.2.1")).fallback,
    }
    assert len(fallbacks) == 3


def test_once_the_cookie_came_back_only_the_cookie_finds_the_flow() -> None:
    scope = scope_of(request())
    flow = sign_in.start_browser(scope=scope)
    stranger = scope_of(request())
    assert flows_of(stranger).get() == flow
    assert flows_of(Scope(scope.secret)).get() == flow
    assert not flows_of(stranger).exists()
