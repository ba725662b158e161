"""Codex's built-in provider with a ChatGPT sign-in of its own, over TLS behind a real nginx."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import deque
from pathlib import Path

import pytest

from proxy.simulator import Fail, Reply, SimAccount, Simulator
from tests.e2e.asking import ask
from tests.e2e.conftest import Start
from tests.e2e.nginx import Nginx, tls_in_front_of

pytestmark = pytest.mark.client

TEXT = "Hello from the simulator."

CONFIG = """
model = "gpt-5.5"
chatgpt_base_url = "{base_url}/backend-api/"
openai_base_url = "{base_url}/backend-api/codex"
"""


def signed_in(home: Path, nginx: Nginx) -> dict[str, str]:
    """A CODEX_HOME whose owner is nobody of the pool; the environment that goes with it."""
    elsewhere = Simulator().add_account("the-client-s-own", email="client@example.com")
    home.mkdir()
    (home / "auth.json").write_text(json.dumps(elsewhere.auth_json(expires_at=time.time() + 86_400)))
    (home / "config.toml").write_text(CONFIG.format(base_url=nginx.base_url))
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(home), "CODEX_HOME": str(home), "CODEX_CA_CERTIFICATE": str(nginx.authority)}


def ran(program: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, "exec", "--skip-git-repo-check", "say hi"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def accounts(sim: Simulator) -> list[SimAccount]:
    return [sim.add_account("first"), sim.add_account("second")]


def test_a_turn_over_tls_is_served_and_the_client_s_own_token_stays_here(
    sim: Simulator, prepared: Start, codex_program: str, tmp_path: Path
) -> None:
    accounts(sim)
    server = prepared(CODEXPROXY_TRUSTED_PROXIES="127.0.0.0/8").start()
    with tls_in_front_of(server.port, tmp_path / "nginx") as nginx:
        environment = signed_in(tmp_path / "home", nginx)
        done = ran(codex_program, environment, tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, TEXT), done.stderr
    assert server.wait_for_records(1) and server.records("transport, status") == [("websocket", "success")]
    assert {call.account_id for call in sim.responses()} <= {"first", "second"}
    assert sim.violations == []


def test_a_limited_account_is_not_noticed_over_tls(
    sim: Simulator, prepared: Start, codex_program: str, tmp_path: Path
) -> None:
    shared: deque[Reply] = deque([Fail.usage_limit(resets_at=int(time.time()) + 3600)])
    for account in accounts(sim):
        account.replies = shared
    server = prepared(CODEXPROXY_TRUSTED_PROXIES="127.0.0.0/8").start()
    with tls_in_front_of(server.port, tmp_path / "nginx") as nginx:
        done = ran(codex_program, signed_in(tmp_path / "home", nginx), tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, TEXT), done.stderr
    assert "usage limit" not in done.stderr.lower(), done.stderr
    # Whoever was asked first is limited.
    (limited,) = [call.account_id for call in sim.responses() if call.status == 429]
    assert sim.responses()[-1].status == 200 and sim.responses()[-1].account_id != limited


def test_codex_shows_the_pool_s_limits(
    sim: Simulator, serve: Start, codex_program: str, tmp_path: Path
) -> None:
    account = sim.add_account("first")
    account.windows.primary.used_percent = 37
    server = serve()
    assert ask(server).status == 200
    environment = signed_in(tmp_path / "home", Nginx(server.base_url, tmp_path))
    del environment["CODEX_CA_CERTIFICATE"]
    provider = (
        f'model_provider = "cp"\n[model_providers.cp]\nname = "cp"\nbase_url = "{server.base_url}/v1"\n'
    )
    settings = f'chatgpt_base_url = "{server.base_url}/backend-api/"\n{provider}requires_openai_auth = true\n'
    (tmp_path / "home/config.toml").write_text(settings)
    client = {"clientInfo": {"name": "probe", "version": "1"}, "capabilities": {"experimentalApi": True}}
    messages = [
        {"id": 1, "method": "initialize", "params": client},
        {"method": "initialized"},
        {"id": 2, "method": "account/rateLimits/read"},
    ]
    with subprocess.Popen(
        [codex_program, "app-server"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as running:
        assert running.stdin is not None and running.stdout is not None
        for message in messages:
            running.stdin.write(json.dumps(message) + "\n")
        running.stdin.flush()
        answers = (json.loads(line) for line in running.stdout)
        answer = next(answer for answer in answers if answer.get("id") == 2)
        running.kill()
    assert "result" in answer, answer
    limits = answer["result"]["rateLimits"]
    assert limits["primary"]["usedPercent"] == 37
    assert limits["planType"] == account.plan
