"""One HTTP request to the simulated upstream together with the means to answer it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from .asgi import Client, Scope, Send, decompressed, headers_of, raw_headers, read_body
from .contract import bearer_token, header_violations
from .replies import Fail
from .state import Received, SimAccount, Simulator
from .windows import window_headers

HeaderList = list[tuple[str, str]]

# Pages that a person's browser opens may carry its cookies.
BROWSER_PATHS = ("/oauth/authorize", "/codex/device")


@dataclass(slots=True)
class Exchange:
    sim: Simulator
    received: Received
    client: Client
    send: Send

    async def start(self, status: int, headers: HeaderList) -> None:
        self.received.status = status
        await self.send({"type": "http.response.start", "status": status, "headers": raw_headers(headers)})

    async def body(self, data: bytes, *, more: bool = False) -> None:
        self.received.finished = self.received.finished or not more
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, status: int, data: bytes, headers: HeaderList) -> None:
        await self.start(status, [*headers, ("content-length", str(len(data)))])
        await self.body(data)

    async def json(self, status: int, payload: Any, headers: HeaderList | None = None) -> None:
        data = json.dumps(payload).encode()
        await self.answer(status, data, [("content-type", "application/json"), *(headers or ())])

    async def html(self, page: str) -> None:
        await self.answer(200, page.encode(), [("content-type", "text/html; charset=utf-8")])

    async def fail(self, fail: Fail, headers: HeaderList) -> None:
        if await self.client.pause(fail.delay_s):
            self.mark_left()
            return
        data, content_type = fail_body(fail)
        merged = [*headers, *fail.headers, *([("content-type", content_type)] if content_type else [])]
        await self.answer(fail.status, data, merged)

    def violation(self, sentence: str) -> None:
        note_violation(self.sim, self.received, sentence)

    def mark_left(self) -> None:
        self.received.closed_by_client = True
        self.received.closed_at = self.sim.clock()


def fail_body(fail: Fail) -> tuple[bytes, str | None]:
    if fail.body is None:
        return b"", fail.content_type
    if isinstance(fail.body, bytes):
        return fail.body, fail.content_type
    if isinstance(fail.body, str):
        return fail.body.encode(), fail.content_type or "text/plain"
    return json.dumps(fail.body).encode(), fail.content_type or "application/json"


def note_violation(sim: Simulator, received: Received, sentence: str) -> None:
    sim.violations.append(f"{received.method} {received.path}: {sentence}")


def note_header_violations(sim: Simulator, received: Received) -> None:
    if received.path.endswith(BROWSER_PATHS):
        return
    for sentence in header_violations(received.headers, any_auth=sim.any_auth):
        note_violation(sim, received, sentence)


def received_head(sim: Simulator, scope: Scope, method: str) -> Received:
    query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True))
    return Received(method, scope["path"], query, headers_of(scope), None, sim.clock())


def decoded_body(raw: bytes, headers: dict[str, str]) -> Any:
    """JSON when it is JSON, else the bytes; a body that cannot be decompressed stays as it came."""
    try:
        data = decompressed(raw, headers.get("content-encoding", "").strip().lower())
    except ValueError:
        return raw
    try:
        return json.loads(data)
    except ValueError:
        return data


async def read_exchange(sim: Simulator, scope: Scope, client: Client, send: Send) -> tuple[Exchange, Any]:
    received = received_head(sim, scope, scope["method"])
    body = decoded_body(await read_body(client), received.headers)
    if sim.keep_bodies:
        received.body = body
    return Exchange(sim, received, client, send), body


def identify(sim: Simulator, received: Received) -> SimAccount | Fail:
    """Whose request it is; a token that does not go with its account id is a violation."""
    token = bearer_token(received.headers)
    account = sim.account_of(token)
    named = received.headers.get("chatgpt-account-id")
    if account is None and sim.any_auth and sim.accounts:
        first = next(iter(sim.accounts.values()))
        account = next((each for each in sim.accounts.values() if each.chatgpt_account_id == named), first)
        named = account.chatgpt_account_id
    if account is None:
        return Fail(401, {"detail": "Could not validate your token. Please try signing in again."})
    received.account_id = account.id
    if named != account.chatgpt_account_id and not sim.any_auth:
        sentence = f"the token of {account.id} came with the account id {named}"
        note_violation(sim, received, sentence)
        return Fail(401, {"detail": "The account id does not match the token."})
    return account


def account_headers(account: SimAccount) -> HeaderList:
    return [
        ("x-request-id", f"req_{account.simulator.serial()}"),
        ("cf-ray", f"{account.simulator.serial()[-16:]}-SIM"),
        *window_headers(account.windows),
    ]


def merged_headers(base: HeaderList, extra: Iterable[tuple[str, str]]) -> HeaderList:
    """`extra` replaces what has the same name, Set-Cookie aside."""
    extra = list(extra)
    replaced = {name.lower() for name, _ in extra}
    return [pair for pair in base if pair[0] not in replaced] + extra
