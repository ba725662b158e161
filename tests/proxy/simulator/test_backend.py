from __future__ import annotations

import httpx

from proxy.simulator import SimAccount, Window

from .requests_made import credentials


def test_models_come_with_an_etag(client: httpx.Client, account: SimAccount) -> None:
    path = "/backend-api/codex/models"
    answer = client.get(path, params={"client_version": "0.169.0"}, headers=credentials(account))
    slugs = [entry["slug"] for entry in answer.json()["models"]]
    assert slugs == ["gpt-5.5", "gpt-5.4-mini", "gpt-5.1-codex"]
    assert answer.headers["etag"].startswith('W/"')


def test_usage_shows_the_windows(client: httpx.Client, account: SimAccount) -> None:
    account.windows.primary = Window(100, 300, 1_795_395_478)
    answer = client.get("/backend-api/wham/usage", headers=credentials(account)).json()
    assert answer["rate_limit"]["limit_reached"] is True
    assert answer["rate_limit"]["primary_window"]["limit_window_seconds"] == 18_000


def test_accounts_check_names_the_account(client: httpx.Client, account: SimAccount) -> None:
    answer = client.get("/backend-api/wham/accounts/check", headers=credentials(account)).json()
    assert answer["default_account_id"] == "acct-A"
