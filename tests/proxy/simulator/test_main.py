from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from proxy.simulator.__main__ import main


def test_it_serves_under_daphne_and_writes_the_sign_ins(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "proxy.simulator", "--port", "0", "--write-auth", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            base_url = json.loads(process.stdout.readline())["base_url"]
            tokens = json.loads((tmp_path / "acct-B" / "auth.json").read_text())["tokens"]
            headers = {"authorization": f"Bearer {tokens['access_token']}", "chatgpt-account-id": "acct-B"}
            answer = httpx.get(f"{base_url}/backend-api/wham/usage", headers=headers)
        finally:
            process.terminate()
    assert answer.json()["account_id"] == "acct-B"


def test_it_refuses_any_address_but_loopback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "0.0.0.0"]) == 2
    assert "loopback" in capsys.readouterr().err
