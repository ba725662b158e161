"""The demo: its own upstream, its own data, nothing of the operator's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from django.utils import timezone

from accounts.models import Account, Credential
from codexproxy import demo, demo_history
from proxy.simulator import Simulator, running
from requestlogs.models import RequestRecord
from usage.models import CurrentWindow

ROOT = Path(__file__).resolve().parents[2]
PREPARE = """
import json, os
from codexproxy import demo
demo.prepare()
demo.prepare()
ours = {name: value for name, value in os.environ.items() if name.startswith("CODEXPROXY_")}
print(json.dumps(ours), flush=True)
input()
"""


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CODEXPROXY_")}
    return {**kept, "CODEXPROXY_DATA_DIR": str(folder), **more}


def is_up(base_url: str) -> bool:
    try:
        with urlopen(f"{base_url}/__sim__/accounts", timeout=5):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    "name",
    [
        "UPSTREAM_BASE_URL",
        "AUTH_BASE_URL",
        "DATABASE_URL",
        "DATABASE_URL_FILE",
        "ENCRYPTION_KEY",
        "ENCRYPTION_KEY_FILE",
    ],
)
def test_what_contradicts_the_demo_is_refused_by_name(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for other in demo._CONTRADICTIONS:
        monkeypatch.delenv(f"CODEXPROXY_{other}", raising=False)
    monkeypatch.setenv("CODEXPROXY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv(f"CODEXPROXY_{name}", "x")
    with pytest.raises(SystemExit, match=f"CODEXPROXY_{name}"):
        demo.prepare()
    assert list(tmp_path.iterdir()) == []


def test_prepare_starts_one_simulator_that_dies_even_with_a_killed_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PREPARE],
        cwd=ROOT,
        env=environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None and parent.stdin is not None
    try:
        variables = json.loads(parent.stdout.readline())
        base_url = variables["CODEXPROXY_AUTH_BASE_URL"]
        assert base_url.startswith("http://127.0.0.1:")
        assert variables["CODEXPROXY_UPSTREAM_BASE_URL"] == f"{base_url}/backend-api"
        assert variables["CODEXPROXY_DATA_DIR"] == str(tmp_path / "demo")
        assert is_up(base_url)
    finally:
        parent.kill()
        parent.wait(10)
        parent.stdout.close()
        parent.stdin.close()
    deadline = time.monotonic() + 10
    while is_up(base_url) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_up(base_url)


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    upstream = Simulator()
    with running(upstream) as served:
        monkeypatch.setenv("CODEXPROXY_DEMO_SIMULATOR", served.base_url)
        yield upstream


@pytest.mark.django_db
def test_seed_imports_three_plans_and_blocks_the_one_that_is_at_its_limit(simulator: Simulator) -> None:
    demo.seed()
    states = {account.plan_type: account.status for account in Account.objects.all()}
    assert states == {"plus": "active", "pro": "active", "team": "rate_limited"}
    limited = Account.objects.get(plan_type="team")
    assert limited.reset_at is not None and limited.reset_at > timezone.now()
    assert CurrentWindow.objects.count() == 6
    assert RequestRecord.objects.count() == demo_history.ROWS


@pytest.mark.django_db
def test_a_second_start_brings_the_new_simulators_tokens_and_nothing_twice(simulator: Simulator) -> None:
    demo.seed()
    before = {credential.pk: credential.access_token for credential in Credential.objects.all()}
    simulator.accounts.clear()
    demo.seed()
    after = {credential.pk: credential.access_token for credential in Credential.objects.all()}
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())
    assert RequestRecord.objects.count() == demo_history.ROWS
    assert CurrentWindow.objects.count() == 6


def test_the_announcement_names_what_to_try(capsys: pytest.CaptureFixture[str]) -> None:
    demo.announce("127.0.0.1", 2455)
    shown = capsys.readouterr().out
    assert "curl -N http://127.0.0.1:2455/backend-api/codex/responses" in shown
    assert 'base_url = "http://127.0.0.1:2455/backend-api/codex"' in shown
    demo.announce("::1", 2455)
    assert "http://[::1]:2455/admin/" in capsys.readouterr().out
