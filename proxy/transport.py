"""How one account is asked once: the seam between the attempts and HTTP or a websocket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from codexproxy.http import Headers
from proxy import limits
from proxy.headers import HeaderList
from proxy.stream import EventStream, OnRateLimits, Reader
from proxy.upstream import Upstream


class Reply(Protocol):
    """Upstream's answer: a refusal's body, or blocks of server-sent events. It must be closed."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> HeaderList: ...
    @property
    def has_ended(self) -> bool:
        """Nothing more will come: what is still to be read is here."""

    def header(self, name: bytes) -> str | None: ...
    def blocks(self) -> AsyncIterator[bytes]:
        """What comes, as it comes. Raises TransportFailed."""

    async def read(self, limit: int) -> bytes:
        """The whole body of a refusal. Raises ResponseTooLarge and TransportFailed."""

    async def close(self) -> None: ...


class Transport(Protocol):
    @property
    def holder(self) -> str | None:
        """The account that knows what the client has sent before: over HTTP none does."""

    async def respond(self, account_id: str, headers: Headers, body: bytes) -> Reply:
        """Ask for a response. Raises TransportFailed as long as nothing has been answered."""

    def reader(self, on_rate_limits: OnRateLimits) -> Reader:
        """What reads the answer that came last."""


@dataclass(frozen=True, slots=True)
class OverHttp:
    upstream: Upstream
    event_limit: int = limits.EVENT_LIMIT
    holder: str | None = None

    async def respond(self, account_id: str, headers: Headers, body: bytes) -> Reply:
        return await self.upstream.respond(headers, body)

    def reader(self, on_rate_limits: OnRateLimits) -> Reader:
        return EventStream(on_rate_limits, self.event_limit)


@dataclass(slots=True)
class MadeReply:
    """An answer that is known as a whole."""

    status: int
    headers: HeaderList
    body: bytes = field(repr=False)
    has_ended: bool = True

    def header(self, name: bytes) -> str | None:
        return found_header(self.headers, name)

    async def blocks(self) -> AsyncIterator[bytes]:
        yield self.body

    async def read(self, limit: int) -> bytes:
        return self.body[:limit]

    async def close(self) -> None:
        return


def found_header(headers: HeaderList, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in headers if key == name), None)
