"""Signing in over a real server: the callback's port, several workers, and what becomes of the account."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from proxy.simulator import Simulator
from tests.accounts.signing_in import redirect_after
from tests.e2e.asking import Answer, ask, send
from tests.e2e.conftest import Start
from tests.e2e.server import SERVE, Server, port_for_later, until

XSS = "%3Cscript%3Ealert(1)%3C/script%3E"


class Person:
    """A client with a cookie jar of its own, or none."""

    def __init__(self, server: Server, *, keeps_cookies: bool = True) -> None:
        self._server = server
        self._keeps_cookies = keeps_cookies
        self._cookie = ""

    def send(self, method: str, path: str, fields: dict[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json", "User-Agent": "the same for all"}
        if self._cookie:
            headers["Cookie"] = self._cookie
        body = None if fields is None else json.dumps(fields).encode()
        answer = send(self._server, method, f"/api/oauth/{path}", body, headers)
        if self._keeps_cookies and (given := answer.header("Set-Cookie")):
            self._cookie = given.partition(";")[0]
        assert answer.status == 200, answer.body
        return answer.json()

    def start(self, method: str) -> Any:
        return self.send("POST", "start", {"forceMethod": method})

    def status(self, flow_id: str = "") -> str:
        return str(self.send("GET", f"status?flowId={flow_id}")["status"])


def come_back(redirected: str) -> Answer:
    """What a browser does at the end of a sign-in."""
    parts = urlsplit(redirected)
    with closing(http.client.HTTPConnection("127.0.0.1", parts.port or 0, timeout=30)) as connection:
        connection.request("GET", f"{parts.path}?{parts.query}")
        response = connection.getresponse()
        return Answer(response.status, response.getheaders(), response.read())


def is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


@pytest.fixture
def port() -> int:
    return port_for_later()


@pytest.fixture
def started(prepared: Start, port: int) -> Server:
    server = prepared(CODEXPROXY_CALLBACK_PORT=str(port))
    return server.start((*SERVE, "--port", str(server.port), "--workers", "2"))


def test_sign_ins_begun_in_any_worker_come_back_to_one_port(
    sim: Simulator, started: Server, port: int
) -> None:
    # The server starts without an account: the simulator's come later.
    names = [f"person-{number}" for number in range(5)]
    people = [Person(started) for _ in names]
    for name in names:
        sim.add_account(name)
    begun = [person.start("browser") for person in people]
    assert all("notice" not in answer for answer in begun)
    for name, answer in zip(names, begun, strict=True):
        ended = come_back(redirect_after(answer["authorizationUrl"], name))
        assert (ended.status, b"Signed in" in ended.body) == (200, True), ended.body
    assert {person.status(answer["flowId"]) for person, answer in zip(people, begun, strict=True)} == {
        "success"
    }
    until(lambda: is_free(port), 10, "the callback's port is free again")
    assert len(started.query("SELECT id FROM accounts_account")) == 5
    until(lambda: ask(started).status == 200, 10, "the new accounts serve")
    assert sim.violations == []


def test_a_callback_that_nobody_awaits_finds_no_listener_or_a_refusal(
    sim: Simulator, started: Server, port: int
) -> None:
    assert is_free(port)
    person = Person(started)
    begun = person.start("browser")
    sim.add_account("ann")
    redirected = redirect_after(begun["authorizationUrl"], "ann")
    state = redirected.partition("state=")[2].partition("&")[0]
    unknown = come_back(f"http://localhost:{port}/auth/callback?code=c&state=unknown")
    assert (unknown.status, b"Login failed" in unknown.body) == (400, True)
    refused = come_back(
        f"http://localhost:{port}/auth/callback?state={state}&error=x&error_description={XSS}"
    )
    assert (refused.status, b"<script" in refused.body, b"&lt;script&gt;" in refused.body) == (
        400,
        False,
        True,
    )
    assert person.status(begun["flowId"]) == "error"
    assert not [call for call in sim.journal if call.path == "/oauth/token"]
    assert "code=" not in started.log


def test_device_codes_of_two_people_and_of_one_without_cookies(sim: Simulator, started: Server) -> None:
    ann, bob, program = Person(started), Person(started), Person(started, keeps_cookies=False)
    for name in ("ann", "bob", "carl"):
        sim.add_account(name)
    hers, his = ann.start("device"), bob.start("device")
    assert (ann.status(), bob.status()) == ("pending", "pending")
    sim.approve_device(hers["userCode"], "ann")
    until(lambda: ann.status() == "success", 10, "her device code is accepted")
    assert bob.status() == "pending"
    its = program.start("device")
    assert program.send("POST", "complete", {"userCode": "EVIL"})["status"] == "pending"
    sim.approve_device(its["userCode"], "carl")
    until(lambda: program.status() == "success", 10, "the program's device code is accepted")
    assert bob.status(his["flowId"]) == "pending"
    assert len(started.query("SELECT id FROM accounts_account")) == 2


def test_a_device_code_whose_page_was_closed_is_finished_in_the_background(
    sim: Simulator, started: Server
) -> None:
    begun = Person(started).start("device")
    sim.add_account("ann")
    sim.approve_device(begun["userCode"], "ann")
    until(lambda: started.query("SELECT id FROM accounts_account"), 40, "the background job has asked")


def test_a_bound_port_is_told_and_the_address_can_be_pasted(
    sim: Simulator, started: Server, port: int
) -> None:
    sim.add_account("ann")
    with socket.create_server(("127.0.0.1", port)):
        person = Person(started)
        begun = person.start("browser")
        assert f"Port {port} is used by another program" in begun["notice"]
        redirected = redirect_after(begun["authorizationUrl"], "ann")
        pasted = person.send("POST", "manual-callback", {"callbackUrl": redirected})
        assert pasted == {"status": "success"}
