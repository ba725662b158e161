"""The listener on the callback's port: who it serves, when it closes, and what it says."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from accounts import sign_in
from accounts.callback_listener import CallbackListener, Page, owner_of, receive_redirect
from accounts.models import Account, SignInFlow
from proxy.simulator import Simulator
from tests.accounts.signing_in import HERE, exchanges, redirect_after

XSS = "%3Cscript%3Ealert(1)%3C/script%3E"


class Awaited:
    """Says whether somebody waits, and notices that it was asked."""

    def __init__(self) -> None:
        self.value = True

    def __call__(self) -> bool:
        return self.value


@pytest.fixture
def awaited() -> Iterator[Awaited]:
    """At the end nobody is awaited, and every listener closes."""
    found = Awaited()
    yield found
    found.value = False
    for thread in serving():
        thread.join(10)


def serving() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sign-in callback"]


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def listener(port: int, awaited: Awaited, owner: str = "us") -> CallbackListener:
    return CallbackListener(
        address=("127.0.0.1", port),
        owner=owner,
        receive=lambda query: Page(200, "Signed in", query),
        is_awaited=awaited,
    )


def get(port: int, path: str) -> tuple[int, str, http.client.HTTPMessage]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers


def test_it_works(port: int, awaited: Awaited) -> None:
    assert listener(port, awaited).ensure_open().is_open
    status, page, headers = get(port, "/auth/callback?code=c&state=s")
    assert (status, "code=c&amp;state=s" in page) == (200, True)
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_it_closes_when_nobody_is_awaited_and_opens_again(port: int, awaited: Awaited) -> None:
    one = listener(port, awaited)
    one.ensure_open()
    awaited.value = False
    one.join(10)
    with socket.create_server(("127.0.0.1", port)):
        pass
    awaited.value = True
    assert one.ensure_open().is_open
    assert get(port, "/auth/callback?code=c")[0] == 200


def test_it_opens_once_for_many_sign_ins(port: int, awaited: Awaited) -> None:
    one = listener(port, awaited)
    assert all(one.ensure_open().is_open for _ in range(3))
    assert len(serving()) == 1


def test_another_process_of_ours_may_have_it(port: int, awaited: Awaited) -> None:
    listener(port, awaited).ensure_open()
    assert owner_of(("127.0.0.1", port)) == "us"
    assert listener(port, awaited).ensure_open().is_open


def test_a_port_that_is_bound_by_another_program_is_told(port: int, awaited: Awaited) -> None:
    listener(port, awaited, owner="somebody else").ensure_open()
    opening = listener(port, awaited).ensure_open()
    assert not opening.is_open
    assert f"Port {port} is used by another program" in opening.problem
    assert "Paste the address" in opening.problem


def test_a_silent_program_on_the_port_is_told(
    port: int, awaited: Awaited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounts.callback_listener.PROBE_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", port)):
        assert "another program" in listener(port, awaited).ensure_open().problem


def test_an_address_that_is_not_here_is_told(port: int, awaited: Awaited) -> None:
    one = CallbackListener(
        address=("192.0.2.1", port), owner="us", receive=lambda query: Page(200, "", ""), is_awaited=awaited
    )
    assert "192.0.2.1" in one.ensure_open().problem


def test_nothing_else_is_there(port: int, awaited: Awaited) -> None:
    listener(port, awaited).ensure_open()
    assert get(port, "/")[0] == 404
    assert get(port, f"/{XSS}")[0] == 404


@pytest.mark.django_db(transaction=True)
def test_a_redirect_finishes_its_flow(sim: Simulator) -> None:
    flow = sign_in.start_browser(scope=HERE)
    other = sign_in.start_browser(scope=HERE)
    query = redirect_after(flow.authorization_url, "ann").partition("?")[2]
    assert receive_redirect(query) == Page(
        200, "Signed in", "The account is stored. You may close this page."
    )
    assert Account.objects.get().email == "ann@example.com"
    again = receive_redirect(query)
    assert (again.status, again.title) == (400, "Login failed")
    assert exchanges(sim) == 1
    other.refresh_from_db()
    assert other.status == SignInFlow.Status.PENDING


@pytest.mark.django_db
@pytest.mark.parametrize(
    "query", ["", "code=c", f"state={XSS}&error={XSS}", "code=c&state=never-made", "%ff=%00"]
)
def test_a_callback_without_a_flow_is_told(query: str) -> None:
    page = receive_redirect(query)
    assert (page.status, page.title) == (400, "Login failed")


@pytest.mark.django_db(transaction=True)
def test_what_the_address_says_stays_text(port: int, awaited: Awaited, sim: Simulator) -> None:
    flow = sign_in.start_browser(scope=HERE)
    state = redirect_after(flow.authorization_url, "ann").partition("state=")[2].partition("&")[0]
    one = CallbackListener(
        address=("127.0.0.1", port), owner="us", receive=receive_redirect, is_awaited=awaited
    )
    one.ensure_open()
    status, page, _ = get(port, f"/auth/callback?state={state}&error=x&error_description={XSS}")
    assert (status, "<script" in page, "&lt;script&gt;alert(1)" in page) == (400, False, True)
    flow.refresh_from_db()
    assert flow.status == SignInFlow.Status.ERROR
