"""What the dashboard tells a person to paste works with the real client."""

from __future__ import annotations

import html
import json
import re
import time
import urllib.request
from collections.abc import Callable

import pytest

from proxy.simulator import Simulator
from tests.e2e.asking import send
from tests.e2e.codex import Codex
from tests.e2e.conftest import Start
from tests.e2e.server import Server

JSON = {"Content-Type": "application/json"}


def snippet(server: Server, slug: str) -> str:
    with urllib.request.urlopen(f"{server.base_url}/admin/connect/") as answer:
        page = answer.read().decode()
    found = re.search(rf'<pre [^>]*id="{slug}-snippet"[^>]*>(.*?)</pre>', page, re.S)
    assert found is not None
    return html.unescape(found[1])


@pytest.mark.client
def test_the_codex_snippet_connects_the_real_cli(
    sim: Simulator, serve: Start, codex: Callable[[str], Codex]
) -> None:
    sim.add_account("first")
    server = serve()
    cli = codex(server.base_url)
    (cli.home / "config.toml").write_text('model = "gpt-5.5"\n' + snippet(server, "codex"))
    ran = cli.exec("say hi")
    assert (ran.exit_code, ran.stdout) == (0, "Hello from the simulator."), ran.stderr


@pytest.mark.client
def test_the_app_s_snippet_connects_a_signed_in_codex_by_its_key_and_its_own_token_stays_here(
    sim: Simulator, serve: Start, codex: Callable[[str], Codex]
) -> None:
    sim.add_account("first")
    server = serve()
    made = send(server, "POST", "/api/api-keys/", b'{"name": "app"}', JSON).json()
    assert send(server, "PUT", "/api/settings", b'{"apiKeyAuthEnabled": true}', JSON).status == 200
    elsewhere = Simulator().add_account("the-client-s-own", email="client@example.com")
    cli = codex(server.base_url)
    (cli.home / "auth.json").write_text(json.dumps(elsewhere.auth_json(expires_at=time.time() + 86_400)))
    written = snippet(server, "codex-app").replace("any-key", made["key"])
    (cli.home / "config.toml").write_text('model = "gpt-5.5"\n' + written)
    ran = cli.exec("say hi")
    assert (ran.exit_code, ran.stdout) == (0, "Hello from the simulator."), ran.stderr
    assert {call.account_id for call in sim.responses()} == {"first"}
    assert server.wait_for_records(1) and server.records("api_key_id, status") == [(made["id"], "success")]
    assert sim.violations == []
