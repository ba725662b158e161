"""What a stranger may try against a dashboard that is locked, and gets nothing by."""

from __future__ import annotations

import json

import pytest

from proxy.simulator import Simulator
from tests.e2e.asking import send
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
