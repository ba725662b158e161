from __future__ import annotations

import httpx
import pytest

from proxy.simulator import Fail, SimAccount, Simulator
from proxy.simulator.files import TRANSCRIBED, form_fields
from tests.proxy.simulator.requests_made import ask, credentials

FILES = "/backend-api/files"


def made(client: httpx.Client, account: SimAccount) -> str:
    answer = client.post(FILES, json={"file_name": "a", "file_size": 1}, headers=credentials(account))
    return str(answer.json()["file_id"])


def test_a_file_belongs_to_the_account_that_made_it(
    client: httpx.Client, sim: Simulator, account: SimAccount
) -> None:
    file_id, other = made(client, account), sim.accounts["acct-B"]
    statuses = [
        client.post(f"{FILES}/{file_id}/uploaded", headers=credentials(who)).status_code
        for who in (account, other)
    ]
    given = {"type": "message", "role": "user", "content": [{"type": "input_file", "file_id": file_id}]}
    turns = [ask(client, who, given).status_code for who in (account, other)]
    assert (statuses, turns) == ([200, 404], [200, 404])


@pytest.mark.parametrize("path", [FILES, "/backend-api/transcribe", "/backend-api/codex/safety/arc"])
def test_it_is_scripted_as_turns_are(client: httpx.Client, account: SimAccount, path: str) -> None:
    account.script(Fail.usage_limit())
    assert client.post(path, headers=credentials(account)).status_code == 429
    assert client.post(path).status_code == 401


def test_a_form_with_a_file_is_written_down(
    client: httpx.Client, sim: Simulator, account: SimAccount
) -> None:
    given = {"file": ("a.wav", b"RIFF")}
    answer = client.post("/backend-api/transcribe", files=given, headers=credentials(account))
    assert answer.json() == {"text": TRANSCRIBED}
    refused = client.post(
        "/backend-api/transcribe", files=given, data={"model": "x"}, headers=credentials(account)
    )
    assert (refused.status_code, len(sim.violations)) == (400, 1)


def test_what_is_no_form_has_no_fields() -> None:
    assert form_fields("application/json", {"a": 1}) == {}
    assert form_fields("text/plain", b"x") == {}
