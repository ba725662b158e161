from __future__ import annotations

import httpx

from proxy.simulator import SimAccount, Simulator

from .requests_made import ask


def test_it_works(client: httpx.Client, account: SimAccount) -> None:
    changes = {
        "default": {"kind": "usage_limit", "resets_at": 1_795_395_478},
        "script": [
            {"kind": "cut", "after": 1, "stream": {"deltas": 2}},
            {"kind": "ok", "headers": {"x-a": "b"}},
        ],
        "windows": {"primary": {"used_percent": 99, "window_minutes": 300, "reset_at": 1_795_395_478}},
    }
    answer = client.put("/__sim__/accounts/acct-A", json=changes)
    account.replies.popleft()
    assert answer.json()["tokens"]["account_id"] == "acct-A"
    assert ask(client, account).headers["x-a"] == "b"
    assert ask(client, account).headers["x-codex-primary-used-percent"] == "99"
    assert [entry["status"] for entry in client.get("/__sim__/journal").json()] == [200, 429]


def test_an_unknown_kind_is_refused(client: httpx.Client) -> None:
    answer = client.put("/__sim__/accounts/acct-A", json={"default": {"kind": "nonsense"}})
    assert answer.status_code == 400


def test_a_reset_forgets_what_happened_and_the_scripts(
    client: httpx.Client, sim: Simulator, account: SimAccount
) -> None:
    ask(client, account, temperature=1)
    assert len(client.get("/__sim__/violations").json()) == 1
    client.post("/__sim__/reset")
    assert client.get("/__sim__/violations").json() == []
    assert sim.journal == []
