"""What the simulator's tests send to it, and how they read its answers."""

from __future__ import annotations

import json
from typing import Any

import httpx

from proxy.simulator import SimAccount

RESPONSES = "/backend-api/codex/responses"


def credentials(account: SimAccount) -> dict[str, str]:
    return {
        "authorization": f"Bearer {account.access_token}",
        "chatgpt-account-id": account.chatgpt_account_id,
    }


def turn_body(*items: dict[str, Any], **fields: Any) -> dict[str, Any]:
    question = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    return {"model": "gpt-5.5", "input": [question, *items], "store": False, "stream": True} | fields


def ask(client: httpx.Client, account: SimAccount, *items: dict[str, Any], **fields: Any) -> httpx.Response:
    return client.post(RESPONSES, json=turn_body(*items, **fields), headers=credentials(account))


def events(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def types(text: str) -> list[str]:
    return [event["type"] for event in events(text)]
