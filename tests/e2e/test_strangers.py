"""What a stranger may try against a dashboard that is locked, and gets nothing by."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

import pytest

from proxy.simulator import Simulator
from tests.e2e.asking import ask, message, send, turn
from tests.e2e.conftest import Start
from tests.e2e.server import Server

JSON = {"Content-Type": "application/json"}
PASSWORD = "a long password"


def lock(server: Server) -> dict[str, str]:
    """Require a password; the headers of whoever has given it."""
    auth = "/api/dashboard-auth/password/setup"
    made = send(server, "POST", auth, json.dumps({"password": PASSWORD}).encode(), JSON)
    assert made.status == 200, made.body
    cookies = [value.split(";")[0] for name, value in made.headers if name.lower() == "set-cookie"]
    signed_in = {**JSON, "Cookie": "; ".join(cookies)}
    on = json.dumps({"passwordRequiredOnLogin": True}).encode()
    assert send(server, "PUT", "/api/settings", on, signed_in).status == 200
    return signed_in


PLAIN_DAPHNE = ("-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "codexproxy.asgi:application")


@pytest.mark.parametrize("command", [None, PLAIN_DAPHNE], ids=["serve", "plain daphne"])
def test_nobody_says_below_which_path_this_is_mounted(
    sim: Simulator, prepared: Start, command: tuple[str, ...] | None
) -> None:
    """Daphne believes it of a client's header; the gate would judge another address than Django serves."""
    server = prepared()
    port = str(server.port)
    server.start(command and tuple(part.replace("{port}", port) for part in command))
    signed_in = lock(server)
    off = json.dumps({"passwordRequiredOnLogin": False}).encode()
    refused = (302, 401, 403, 404, 405)
    for root in ("/static", "/health", "/metrics", "/admin", "/x", ""):
        mounted = {**JSON, "Daphne-Root-Path": root}
        assert send(server, "GET", f"{root}/api/settings", headers=mounted).status in refused
        assert send(server, "GET", f"{root}/admin/accounts/account/", headers=mounted).status in refused
        assert send(server, "PUT", f"{root}/api/settings", off, mounted).status in refused
    assert send(server, "GET", "/api/settings", headers=signed_in).json()["passwordRequiredOnLogin"] is True
    assert send(server, "GET", "/health", headers={"Daphne-Root-Path": "/v1"}).status == 200


def test_bodies_that_strangers_begin_take_no_room_of_the_clients(sim: Simulator, serve: Start) -> None:
    """Before: eight connections to the sign-in page, a drop at a time, and nobody was served any more."""
    sim.add_account("ann")
    server = serve()
    size = {"/api/accounts/import": 8, "/admin/login/": 1, "/admin/accounts/account/add/": 8}
    with ExitStack() as begun:
        for path, mebibytes in [*size.items()] * 12:
            client = begun.enter_context(socket.create_connection(("127.0.0.1", server.port), 10))
            length = mebibytes * 1024 * 1024
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
            client.sendall(head.encode())
        assert ask(server, turn(message("x" * 1_000_000))).status == 200
    for path, limit in (("/admin/login/", 1024 * 1024), ("/v1/usage", 4096), ("/nowhere", 1024 * 1024)):
        assert send(server, "POST", path, bytes(limit + 1)).status == 413, path
