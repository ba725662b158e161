"""A sign-in service that answers as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.builders import NOW, make_jwt

EXPIRES_AT = NOW + timedelta(days=10)


@dataclass
class Answer:
    status: int
    content: Any

    async def read(self, limit: int) -> bytes:
        return self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()

    async def close(self) -> None:
        return None


def granted(number: int = 2, **fields: Any) -> Answer:
    content = {
        "access_token": make_jwt({"exp": EXPIRES_AT.timestamp(), "number": number}),
        "refresh_token": f"refresh-{number}",
        "id_token": make_jwt({"email": "ann@example.com"}),
    }
    return Answer(200, content | fields)


def refused(code: str, status: int = 401) -> Answer:
    return Answer(status, {"error": {"code": code, "message": "no"}})


Hook = Callable[[], Awaitable[None]]


@dataclass
class SignInService:
    """Stands in for the HTTP client. Answers in order, the last one again and again."""

    answers: list[Answer | Exception] = field(default_factory=lambda: [granted()])
    delay_s: float = 0.0
    meanwhile: Hook | None = None
    calls: list[dict[str, Any]] = field(default_factory=list)

    async def send(
        self, method: str, url: str, headers: Any, content: bytes = b"", timeouts: Any = None
    ) -> Answer:
        call = {"method": method, "url": url, "headers": dict(headers), "timeouts": timeouts}
        self.calls.append(call | {"body": json.loads(content)})
        await asyncio.sleep(self.delay_s)
        if self.meanwhile is not None:
            await self.meanwhile()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer
