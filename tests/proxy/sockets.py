"""A client's socket, message by message, in front of the data plane and the simulated upstream over TCP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from codexproxy.http import HttpClient
from codexproxy.locality import Facts
from proxy.access import AccessRules
from proxy.answer import Answer
from proxy.attempts import Services
from proxy.call import Call
from proxy.events import TERMINAL
from proxy.gatekeeper import Gatekeeper
from proxy.simulator import Served
from proxy.upstream import Upstream
from proxy.upstream_socket import UpstreamSockets
from proxy.websocket import ClientSocket
from requestlogs.records import Record
from tests.proxy.fakes import NOW, DataPlane, view

Event = dict[str, Any]


def frame(*said: str, **fields: Any) -> Event:
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        for text in said or ("hello",)
    ]
    base = {"type": "response.create", "model": "gpt-5.5", "input": items, "store": False, "stream": True}
    return {**base, "include": [], **fields}


class SocketPlane(DataPlane):
    """A data plane over the accounts of a simulator that is reached over TCP."""

    def __init__(self, served: Served, client: HttpClient) -> None:
        accounts = served.simulator.accounts.values()
        super().__init__(
            *(
                view(
                    account.id,
                    chatgpt_account_id=account.chatgpt_account_id,
                    access_token=account.access_token,
                    access_expires_at=None,
                )
                for account in accounts
            )
        )
        base_url = f"{served.base_url}/backend-api"
        upstream = Upstream(client, base_url)
        self.services = Services(self.pool, self.affinity, upstream, self.refresher, self.clock)  # type: ignore[arg-type]
        self.records: list[Record] = []
        self.runtime: Any = SimpleNamespace(
            services=self.services,
            sockets=UpstreamSockets(client, base_url, upstream, self.clock),
            client_sockets=set(),
            is_draining=False,
            writer=SimpleNamespace(put=self.records.append),
            gatekeeper=Gatekeeper(AccessRules(), self.clock),
            admission=SimpleNamespace(turn=_any_turn),
            recall=self._recall,
            catalogue=SimpleNamespace(
                models=(), plans_without=lambda model: frozenset(), sync_now_and_then=lambda: None
            ),
        )

    async def _recall(self, key: str) -> None:
        return


@asynccontextmanager
async def _any_turn(*args: object, **options: object) -> AsyncIterator[None]:
    """Nobody here has a key with limits."""
    yield


@dataclass
class SocketClient:
    """The client's side; what was sent to it is in `sent`, and event by event in `events`."""

    plane: SocketPlane
    path: str = "/backend-api/codex/responses"
    # What the server announces.
    extensions: tuple[str, ...] = ()
    inbox: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    sent: list[dict[str, Any]] = field(default_factory=list)

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        if message["type"] == "websocket.send":
            self.events.put_nowait(json.loads(message["text"]))

    def socket(self, **headers: str) -> ClientSocket:
        scope = {
            "type": "websocket",
            "path": self.path,
            "extensions": dict.fromkeys(self.extensions, {}),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }
        call = Call(
            scope,
            self.inbox.get,
            Answer(self._send, "rid", b""),
            {name.decode(): value.decode() for name, value in scope["headers"]},  # type: ignore[attr-defined]
            Facts(peer="127.0.0.1", host="localhost"),
            Record("rid", datetime.fromtimestamp(NOW, UTC), path=self.path),
            self.plane.runtime,
        )
        return ClientSocket(call, self._send)

    def say(self, content: Event | str | bytes) -> None:
        if isinstance(content, bytes):
            self.inbox.put_nowait({"type": "websocket.receive", "bytes": content})
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            self.inbox.put_nowait({"type": "websocket.receive", "text": text})

    async def ask(self, content: Event | str | bytes) -> list[Event]:
        """One turn's events, to the terminal one."""
        self.say(content)
        return await self.rest()

    async def rest(self) -> list[Event]:
        found: list[Event] = []
        async with asyncio.timeout(10):
            while not found or found[-1]["type"] not in TERMINAL:
                found.append(await self.events.get())
        return found

    def leave(self) -> None:
        self.inbox.put_nowait({"type": "websocket.disconnect", "code": 1001})


@asynccontextmanager
async def plane_over(served: Served) -> AsyncIterator[SocketPlane]:
    client = HttpClient()
    try:
        yield SocketPlane(served, client)
    finally:
        await client.close()


@asynccontextmanager
async def connected(
    plane: SocketPlane, path: str = "", extensions: tuple[str, ...] = (), **headers: str
) -> AsyncIterator[SocketClient]:
    """A client with an open socket; afterwards it has left, and nothing runs any more."""
    client = SocketClient(plane, path or "/backend-api/codex/responses", extensions)
    serving = asyncio.ensure_future(client.socket(**headers).serve())
    try:
        yield client
    finally:
        client.leave()
        async with asyncio.timeout(5):
            await serving


def kinds(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


def response_id(events: list[Event]) -> str:
    return str(events[-1]["response"]["id"])
