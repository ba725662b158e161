"""The HTTP client, and the only module that imports httpx: requests out, blocks of bytes in.

httpx runs over aiohttp's transport: its own pool scans every connection for each request and goes
quadratic in open streams. Nothing here keeps cookies, reads proxies from the environment or follows
redirects.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
import httpx  # noqa: TID251
from httpx_aiohttp import AiohttpTransport

Headers = Sequence[tuple[bytes, bytes]]


class TransportFailed(Exception):
    """The other side could not be reached, or the connection broke.

    kind: "connect" (no connection was made), "timeout" (silence), "broken" (the connection ended early).
    """

    def __init__(self, kind: Literal["connect", "timeout", "broken"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ResponseTooLarge(Exception):
    """An answer that is read whole is larger than its limit."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; `read_s` is the longest silence, not the length of the answer."""

    connect_s: float = 10.0
    read_s: float = 600.0


@dataclass(slots=True)
class Response:
    """An answer whose body is still to be read. It must be closed."""

    status: int
    headers: list[tuple[bytes, bytes]]
    _response: httpx.Response = field(repr=False)

    def header(self, name: bytes) -> str | None:
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    async def blocks(self) -> AsyncIterator[bytes]:
        """What each read brings, as it comes. Raises TransportFailed."""
        try:
            async for block in self._response.stream:  # type: ignore[union-attr]
                yield block
        except (httpx.TransportError, aiohttp.ClientError) as error:
            raise _translated(error) from error

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises ResponseTooLarge over `limit` bytes, and TransportFailed."""
        parts = bytearray()
        async for block in self.blocks():
            parts += block
            if len(parts) > limit:
                raise ResponseTooLarge(f"the answer is larger than {limit} bytes")
        return bytes(parts)

    async def close(self) -> None:
        """Close the connection unless the body was read to its end; never fails."""
        try:
            await self._response.aclose()
        except (httpx.TransportError, aiohttp.ClientError):
            return


class HttpClient:
    """Connections of one event loop."""

    def __init__(self) -> None:
        ssl_context = httpx.create_ssl_context(trust_env=False)
        self._session = aiohttp.ClientSession(
            # No cap: the default of 100 connections stalls the 101st stream.
            connector=aiohttp.TCPConnector(limit=0, ssl=ssl_context, keepalive_timeout=30),
            # SECURITY: a cookie that one account was given must never be sent with another's request.
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )
        # The transport is called directly: httpx.AsyncClient would add cookies, redirects and
        # authentication, none of which may happen here.
        self._transport = AiohttpTransport(verify=ssl_context, trust_env=False, client=self._session)

    async def send(
        self, method: str, url: str, headers: Headers, content: bytes = b"", timeouts: Timeouts | None = None
    ) -> Response:
        """Send a request and wait for the status and headers of its answer. Raises TransportFailed."""
        limits = timeouts or Timeouts()
        request = httpx.Request(
            method,
            url,
            headers=list(headers),
            content=content,
            extensions={"timeout": {"connect": limits.connect_s, "read": limits.read_s}},
        )
        try:
            response = await self._transport.handle_async_request(request)
        except (httpx.TransportError, aiohttp.ClientError) as error:
            raise _translated(error) from error
        raw = [(name.lower(), value) for name, value in response.headers.raw]
        return Response(response.status_code, raw, response)

    async def close(self) -> None:
        await self._session.close()


def _translated(error: Exception) -> TransportFailed:
    # The transport maps some connection errors to ConnectTimeout, so its own types do not tell
    # "never connected" from "broken"; the aiohttp error behind them does.
    cause = error.__cause__ or error
    text = str(cause) or type(cause).__name__
    if isinstance(cause, aiohttp.ClientConnectorError):
        return TransportFailed("connect", text)
    if isinstance(cause, (aiohttp.ServerTimeoutError, TimeoutError)) or isinstance(error, httpx.ReadTimeout):
        connecting = isinstance(cause, aiohttp.ConnectionTimeoutError)
        return TransportFailed("connect" if connecting else "timeout", text)
    return TransportFailed("broken", text)
