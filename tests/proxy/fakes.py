"""Seams of the data plane, as scripted stand-ins."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from accounts.tokens import FreshToken, RefreshFailed, RefreshRefused
from codexproxy.http import TransportFailed
from proxy.affinity import Affinity
from proxy.attempts import Attempts, Services, Turn
from proxy.dialects.codex import read_request
from proxy.headers import forwarded
from proxy.pool import Member, Pool
from proxy.routing import Window
from proxy.snapshot import AccountView, SettingsView, Snapshot
from requestlogs.records import Record
from usage.windows import Sample

NOW = 1_700_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


CREATED = event("response.created", response={"id": "resp_1"})
DELTA = event("response.output_text.delta", delta="hi")
COMPLETED = event(
    "response.completed", response={"id": "resp_1", "usage": {"input_tokens": 1, "output_tokens": 2}}
)


@dataclass
class FakeResponse:
    """An upstream answer; an exception among the parts is raised when its turn comes."""

    status: int = 200
    parts: tuple[bytes | Exception, ...] = (CREATED + DELTA, COMPLETED)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    closed: bool = False
    has_ended: bool = False

    def header(self, name: bytes) -> str | None:
        return next((value.decode() for key, value in self.headers if key == name), None)

    async def blocks(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            if isinstance(part, Exception):
                raise part
            yield part

    async def read(self, limit: int) -> bytes:
        return b"".join([block async for block in self.blocks()])

    async def close(self) -> None:
        self.closed = True


def ok(*parts: bytes | Exception, **fields: Any) -> FakeResponse:
    return FakeResponse(parts=parts, **fields) if parts else FakeResponse(**fields)


def refusal(status: int, error: Any = None, **fields: Any) -> FakeResponse:
    body = b"" if error is None else json.dumps({"error": error}).encode()
    return FakeResponse(status, (body,), **fields)


def limit(resets_in: float = 600) -> FakeResponse:
    return refusal(
        429, {"type": "usage_limit_reached", "message": "limit", "resets_at": int(NOW + resets_in)}
    )


@dataclass
class Request:
    account: str
    token: str
    body: Any
    headers: dict[str, str]
    path: str = "/codex/responses"


def _read(body: bytes) -> Any:
    """JSON when it is JSON, else the bytes."""
    try:
        return json.loads(body)
    except ValueError:
        return body


class FakeUpstream:
    """Answers by account, in the scripted order; an account without a script answers well."""

    def __init__(self, script: dict[str, list[FakeResponse | Exception]]) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.responses: list[FakeResponse] = []

    async def respond(self, headers: list[tuple[bytes, bytes]], body: bytes) -> Any:
        return await self.forward("POST", "/codex/responses", headers, body)

    async def forward(self, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> Any:
        plain = {name.decode(): value.decode() for name, value in headers}
        account = plain["chatgpt-account-id"]
        token = plain["authorization"].removeprefix("Bearer ")
        self.requests.append(Request(account, token, _read(body), plain, path))
        waiting = self.script.get(account, [])
        answer = waiting.pop(0) if waiting else ok()
        if isinstance(answer, Exception):
            raise answer
        self.responses.append(answer)
        return answer

    @property
    def asked(self) -> list[str]:
        return [request.account for request in self.requests]


class FakeLedger:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def block(self, member: Member) -> None:
        candidate = member.candidate
        self.told.append(("block", candidate.account_id, candidate.status, candidate.reset_at))

    def unblock(self, account_id: str, cause: str, blocked_at: float | None) -> None:
        self.told.append(("unblock", account_id, blocked_at))

    def sign_in_needed(self, account_id: str, reason: str, generation: int, code: str = "") -> None:
        self.told.append(("sign in", account_id, reason))

    def deactivate(self, account_id: str, reason: str, code: str = "") -> None:
        self.told.append(("deactivate", account_id, reason))

    def sample(self, account_id: str, sample: Sample) -> None:
        self.told.append(("sample", account_id, sample))


class FakeRefresher:
    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.answer: RefreshRefused | RefreshFailed | None = None

    async def refresh(self, account_id: str, *, stale_generation: int, reason: str = "") -> FreshToken:
        self.calls.append((account_id, stale_generation))
        if self.answer is not None:
            raise self.answer
        expires_at = datetime.fromtimestamp(NOW, UTC) + timedelta(hours=1)
        return FreshToken(f"token-{account_id}-{stale_generation + 1}", expires_at, stale_generation + 1)


def view(name: str, used: float = 10.0, **fields: Any) -> AccountView:
    windows = {
        "primary": Window(used, NOW + 3600, 300, NOW - 60),
        "secondary": Window(used, NOW + 86_400, 10_080, NOW - 60),
    }
    values: dict[str, Any] = {
        "account_id": name,
        "label": f"{name}@example.com",
        "chatgpt_account_id": name,
        "plan_type": "plus",
        "status": "active",
        "reason": "",
        "blocked_at": None,
        "reset_at": None,
        "block_window_reset_at": None,
        "access_token": f"token-{name}-1",
        "access_expires_at": NOW + 3600,
        "generation": 1,
        "windows": windows,
        "weekly_credits": 7560.0,
    }
    return AccountView(**{**values, **fields})


class DataPlane:
    """A pool of accounts over a scripted upstream. Accounts are asked in the order they are given in."""

    def __init__(
        self, *views: AccountView, script: dict[str, list[Any]] | None = None, **settings: Any
    ) -> None:
        self.clock, self.ledger, self.refresher = Clock(), FakeLedger(), FakeRefresher()
        self.pool = Pool(self.ledger, self.clock, random.Random(1))
        self.settings = SettingsView(**{"routing_strategy": "round_robin", **settings})
        self.swap(*views)
        self.upstream = FakeUpstream(script or {})
        self.affinity = Affinity()
        seams: Any = (self.pool, self.affinity, self.upstream, self.refresher, self.clock)
        self.services = Services(*seams)

    def swap(self, *views: AccountView, version: int = 1) -> None:
        self.pool.swap(Snapshot(version, views, self.settings))

    def turn(self, conversation: str = "", headers: dict[str, str] | None = None, **body: Any) -> Turn:
        given = {"model": "gpt-5.5", "store": False, "stream": True, "input": [], **body}
        pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        return Turn(
            request=read_request(json.dumps(given).encode()),
            passed=forwarded(pairs),
            conversation=conversation,
            turn_state=(headers or {}).get("x-codex-turn-state", ""),
            record=Record("rid", datetime.fromtimestamp(NOW, UTC)),
        )

    async def serve(self, turn: Turn | None = None, **fields: Any) -> Turn:
        """Run a turn to its judged event and let go of it. Raises Surfaced."""
        turn = turn or self.turn(**fields)
        served = await Attempts(turn, self.services).run()
        await served.close()
        return turn

    def candidate(self, name: str) -> Any:
        member = self.pool.member(name)
        assert member is not None
        return member.candidate


def reset() -> TransportFailed:
    return TransportFailed("broken", "connection reset")


def unreachable() -> TransportFailed:
    return TransportFailed("connect", "connection refused")
