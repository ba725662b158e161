"""A served pool: each account with an API key that reaches only it, so that tests share one server."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from proxy.simulator import Fail, Reply, SimAccount, Simulator
from tests.e2e.asking import Answer, send_over, upload
from tests.e2e.server import Server, until

# A peer of this address counts as a reverse proxy.
REVERSE_PROXY = "127.0.0.9"
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
NATIVE = "/backend-api/codex/responses"


class Pool:
    def __init__(self, sim: Simulator, server: Server) -> None:
        self.sim = sim
        self.server = server
        self._number = 0

    def send(
        self, method: str, path: str, fields: Any = None, *, source: str = "127.0.0.1", **headers: str
    ) -> Answer:
        """As a client on this machine, from whichever of its loopback addresses."""
        body = None if fields is None else json.dumps(fields).encode()
        if body is not None:
            headers["Content-Type"] = "application/json"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.server.port, timeout=30, source_address=(source, 0)
        )
        with closing(connection):
            return send_over(connection, method, path, body, named)

    def until_models(self, status: int) -> None:
        """Waits until every keyless client of this machine is answered so: a change has arrived."""
        until(lambda: self.send("GET", "/v1/models").status == status, 10, f"/v1/models answers {status}")

    def account(self, *replies: Reply) -> Member:
        """One more, which answers so, and a key for it alone."""
        account = self._added()
        imported = upload(self.server, json.dumps(account.auth_json()).encode())
        assert imported.status == 200, imported.body
        return self._member(account, imported.json()["accountId"], replies)

    def unrefreshed(self, *replies: Reply) -> Member:
        """One whose token was not tried at its import: it may be refreshed at any moment."""
        account = self._added()
        self.server.import_accounts([account])
        found = self.server.query("SELECT id FROM accounts_account WHERE chatgpt_account_id = ?", account.id)
        return self._member(account, found[0][0], replies)

    def _added(self) -> SimAccount:
        self._number += 1
        return self.sim.add_account(f"acc{self._number}")

    def together(self, first: Member, *others: Member) -> Member:
        """The first with a key that reaches the others too, which are asked only when it cannot serve."""
        path = f"/api/accounts/{first.id}/routing-policy"
        routing = self.send("PUT", path, {"routingPolicy": "burn_first"})
        assert routing.status == 200, routing.body
        return self._with_key(first.account, first.id, *(other.id for other in others))

    def _member(self, account: SimAccount, account_id: str, replies: tuple[Reply, ...]) -> Member:
        member = self._with_key(account, account_id)
        account.script(*replies)
        return member

    def _with_key(self, account: SimAccount, account_id: str, *others: str) -> Member:
        fields = {"name": account.id, "assignedAccountIds": [account_id, *others]}
        made = self.send("POST", "/api/api-keys/", fields)
        assert made.status == 200, made.body
        member = Member(self, account, account_id, made.json())
        until(lambda: member.send("GET", "/v1/models").status == 200, 30, "the key is known")
        return member


class Member:
    def __init__(self, pool: Pool, account: SimAccount, account_id: str, key: dict[str, Any]) -> None:
        self.account = account
        self.id = account_id
        self._pool = pool
        self.key = key["key"]
        self._key_id = key["id"]

    def send(self, method: str, path: str, fields: Any = None, **headers: str) -> Answer:
        return self._pool.send(method, path, fields, Authorization=f"Bearer {self.key}", **headers)

    def chat(self, **fields: Any) -> Answer:
        asked = {"model": "gpt-5.5", "messages": [{"role": "user", "content": "hi"}]}
        return self.send("POST", CHAT, asked | fields)

    def respond(self, **fields: Any) -> Answer:
        return self.send("POST", RESPONSES, {"model": "gpt-5.5", "input": "hi"} | fields)

    def respond_with(self, headers: dict[str, str], **fields: Any) -> Answer:
        asked = {"model": "gpt-5.5", "input": "hi"} | fields
        return self.send("POST", RESPONSES, asked, **headers)

    @property
    def asked(self) -> list[Any]:
        """The bodies that upstream got."""
        return [call.body for call in self._pool.sim.responses(self.account.id)]

    def state(self, expected: str) -> tuple[Any, ...]:
        """(status, reset_at, reason) in the database, once it is as expected."""
        sql = "SELECT status, reset_at, status_reason FROM accounts_account WHERE id = ?"
        until(lambda: self._pool.server.query(sql, self.id)[0][0] == expected, 10, f"it is {expected}")
        return self._pool.server.query(sql, self.id)[0]

    def record(self, column: str) -> Any:
        """Of its newest request, once it is written."""
        sql = f"SELECT {column} FROM requestlogs_requestrecord WHERE api_key_id = ? ORDER BY id DESC"
        rows = until(lambda: self._pool.server.query(sql, self._key_id), 10, "the record is written")
        # SQLite keeps JSON as text.
        is_json = column in ("attempts", "routing") and isinstance(rows[0][0], str)
        return json.loads(rows[0][0]) if is_json else rows[0][0]


def stream(*events: dict[str, Any], done: bool = False) -> Reply:
    """A 200 with exactly these events."""
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return Fail(200, body + ("data: [DONE]\n\n" if done else ""), content_type="text/event-stream")


def created() -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}


def completed(kind: str = "completed", **fields: Any) -> dict[str, Any]:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    response = {"id": "resp_1", "object": "response", "status": kind, "output": [], "usage": usage}
    return {"type": f"response.{kind}", "response": response | fields}


def text(delta: str) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "delta": delta}


def chunks(answer: Answer) -> list[dict[str, Any]]:
    assert answer.body.count(b"data: [DONE]") == 1 and answer.body.rstrip().endswith(b"data: [DONE]")
    return answer.events


def arguments_in(found: Iterable[dict[str, Any]]) -> dict[int, str]:
    """tool call's index → its argument fragments, put together."""
    joined: dict[int, str] = {}
    for chunk in found:
        for choice in chunk["choices"]:
            for call in choice["delta"].get("tool_calls") or ():
                joined[call["index"]] = joined.get(call["index"], "") + call["function"].get("arguments", "")
    return joined
