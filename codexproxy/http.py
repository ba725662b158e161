"""The HTTP client, and the only module that imports httpx: requests out, blocks of bytes in; websockets too.

httpx runs over aiohttp's transport: its own pool scans every connection for each request and goes
quadratic in open streams. Nothing here keeps cookies, reads proxies from the environment or follows
redirects.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Literal, cast

import aiohttp
import httpx  # noqa: TID251
from httpx_aiohttp import AiohttpTransport
from multidict import CIMultiDict

from codexproxy.tasks import spawn

Headers = Sequence[tuple[bytes, bytes]]

# A websocket is pinged after so long a silence, and is broken when nothing comes for half as long again.
WEBSOCKET_PING_S = 60.0
# How long the other side may take to answer a close.
WEBSOCKET_CLOSE_S = 1.0
_DEFLATE_WINDOW_BITS = 15
# As much as one block brings, in bytes.
_BLOCK = 16 * 1024
# What is kept of the body of a refused upgrade.
REFUSAL_LIMIT = 256 * 1024


class TransportFailed(Exception):
    """The other side could not be reached, or the connection broke.

    kind: "connect" (no connection was made), "timeout" (silence), "broken" (the connection ended early).
    """

    def __init__(self, kind: Literal["connect", "timeout", "broken"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ResponseTooLarge(Exception):
    """An answer that is read whole is larger than its limit."""


class HandshakeRefused(Exception):
    """The other side answered the upgrade to a websocket with something else."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        super().__init__(f"the upgrade was answered with {status}")
        self.status, self.headers, self.body = status, headers, body


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; `read_s` is the longest silence, not the length of the answer."""

    connect_s: float = 10.0
    read_s: float = 600.0


# There are few of them, and reading one takes longer than anything else about a request.
_parsed = lru_cache(maxsize=256)(httpx.URL)


@dataclass(slots=True)
class Response:
    """An answer whose body is still to be read. It must be closed."""

    status: int
    headers: list[tuple[bytes, bytes]]
    # Of httpx's own response nothing more is wanted, and a stream of hours must not keep what was sent.
    _answer: aiohttp.ClientResponse = field(repr=False)

    def header(self, name: bytes) -> str | None:
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    @property
    def has_ended(self) -> bool:
        """Nothing more will come: what is still to be read is here."""
        return self._answer.content.is_eof()

    async def blocks(self) -> AsyncIterator[bytes]:
        """What each read brings, as it comes. Raises TransportFailed."""
        try:
            async for block in self._answer.content.iter_chunked(_BLOCK):
                yield block
        except aiohttp.ClientError as error:
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
            await self._answer.__aexit__(None, None, None)
        except aiohttp.ClientError:
            return


class _SocketResponse(aiohttp.ClientWebSocketResponse[bool]):
    """With what aiohttp has no public names for; its version is pinned."""

    async def receive_waiting_text(self) -> bytes | None:
        # Whatever is no text is left to `receive`.
        reader = self._reader
        if not reader._buffer or reader._buffer[0][0].type is not aiohttp.WSMsgType.TEXT:
            return None
        return cast(bytes, (await reader.read()).data)

    def abort_unsent(self) -> None:
        """Closed in order, a connection keeps its file and its bytes until the other side has read them."""
        transport = self._writer.transport
        if transport.get_write_buffer_size():
            transport.abort()

    def _pong_not_received(self) -> None:
        if self._reader._protocol._reading_paused:
            # It waits behind what we have not read, as our own client reads slowly.
            self._reset_heartbeat()
        else:
            super()._pong_not_received()


class WebSocket:
    """An open websocket that carries text. It must be closed."""

    def __init__(self, socket: _SocketResponse, headers: list[tuple[bytes, bytes]]) -> None:
        self._socket = socket
        # Of the answer to the upgrade.
        self.headers = headers
        # One timer for the silence, which is not set anew for each message.
        self._loop = asyncio.get_running_loop()
        self._silence_s: float | None = None
        self._waits_since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_silent = False

    @property
    def is_closed(self) -> bool:
        return self._socket.closed

    async def send(self, text: bytes, within_s: float) -> None:
        """Raises TransportFailed, also when the other side does not take it in time."""
        try:
            async with asyncio.timeout(within_s):
                await self._socket.send_frame(text, aiohttp.WSMsgType.TEXT)
        except TimeoutError:
            raise TransportFailed("timeout", f"the message was not taken within {within_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise TransportFailed("broken", str(error) or type(error).__name__) from error

    async def receive(self, silence_s: float | None = None) -> bytes:
        """The next message. Raises TransportFailed, which ends the socket; cancelling loses nothing."""
        self._silence_s, self._waits_since = silence_s, self._loop.time()
        if silence_s is not None and self._timer is None:
            self._timer = self._loop.call_later(silence_s, self._judge_silence)
        message = await self._socket.receive()
        # What passes until the next wait is our own time, be it that of a client who reads slowly.
        self._silence_s = None
        if message.type is aiohttp.WSMsgType.TEXT:
            return cast(bytes, message.data)
        if message.type is aiohttp.WSMsgType.BINARY:
            raise TransportFailed("broken", "a binary message came")
        if message.type is aiohttp.WSMsgType.ERROR:
            raise TransportFailed("broken", str(message.data) or "the websocket failed")
        if self._is_silent:
            raise TransportFailed("timeout", f"silence for {silence_s or 0:g} s")
        code = self._socket.close_code
        raise TransportFailed("broken", f"the websocket was closed with {code}" if code else "it was closed")

    async def receive_waiting(self) -> bytes | None:
        """The next message, should it be here already: without the way that a message is waited for."""
        return await self._socket.receive_waiting_text()

    def _judge_silence(self) -> None:
        self._timer = None
        if self._silence_s is None:
            return
        left_s = self._waits_since + self._silence_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._judge_silence)
        else:
            self._is_silent = True
            spawn(self.close(), name="silent websocket")

    async def close(self) -> None:
        """Tell the other side, and wait briefly for its answer; never fails."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            # As a whole: aiohttp's own limit starts anew with each message that still comes.
            async with asyncio.timeout(WEBSOCKET_CLOSE_S):
                await self._socket.close()
        except (TimeoutError, aiohttp.ClientError, OSError):
            return
        finally:
            self._socket.abort_unsent()


@cache
def _ssl_context() -> ssl.SSLContext:
    """One for all clients of the process: to read the certificates of all authorities takes 30 ms."""
    return httpx.create_ssl_context(trust_env=False)


class HttpClient:
    """Connections of one event loop."""

    def __init__(self) -> None:
        ssl_context = _ssl_context()
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
        self._upgrades = aiohttp.ClientSession(
            connector=self._session.connector,
            connector_owner=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            timeout=aiohttp.ClientTimeout(total=None),
            ws_response_class=cast(Any, _SocketResponse),
            middlewares=(_upgraded,),
        )

    async def send(
        self, method: str, url: str, headers: Headers, content: bytes = b"", timeouts: Timeouts | None = None
    ) -> Response:
        """Send a request and wait for the status and headers of its answer. Raises TransportFailed."""
        limits = timeouts or Timeouts()
        request = httpx.Request(
            method,
            _parsed(url),
            headers=list(headers),
            content=content,
            extensions={"timeout": {"connect": limits.connect_s, "read": limits.read_s}},
        )
        try:
            response = await self._transport.handle_async_request(request)
        except (httpx.TransportError, aiohttp.ClientError) as error:
            raise _translated(error) from error
        # The transport has no public name for it; its version is pinned.
        answer: aiohttp.ClientResponse = cast(Any, response.stream)._aiohttp_response
        return Response(answer.status, _raw_headers(answer), answer)

    async def connect(
        self, url: str, headers: Headers, *, message_limit: int, timeouts: Timeouts | None = None
    ) -> WebSocket:
        """Open a websocket. Raises HandshakeRefused and TransportFailed."""
        given = CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
        try:
            async with asyncio.timeout((timeouts or Timeouts()).connect_s):
                socket = await self._upgrades.ws_connect(
                    url,
                    headers=given,
                    timeout=aiohttp.ClientWSTimeout(ws_close=WEBSOCKET_CLOSE_S),
                    heartbeat=WEBSOCKET_PING_S,
                    compress=_DEFLATE_WINDOW_BITS,
                    max_msg_size=message_limit,
                    decode_text=False,
                )
        except TimeoutError:
            raise TransportFailed("connect", "the websocket did not open in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error) from error
        # The answer to the upgrade has no public name.
        return WebSocket(cast(_SocketResponse, socket), _raw_headers(socket._response))

    async def close(self) -> None:
        await self._upgrades.close()
        await self._session.close()


async def _upgraded(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Whatever else is answered is a refusal: aiohttp would follow a redirect, and forget the body."""
    response = await handler(request)
    if response.status == 101:
        return response
    body = bytearray()
    try:
        async for block in response.content.iter_any():
            body += block[: REFUSAL_LIMIT - len(body)]
            if len(body) == REFUSAL_LIMIT:
                break
    except (aiohttp.ClientError, OSError):
        body.clear()
    finally:
        response.close()
    raise HandshakeRefused(response.status, _raw_headers(response), bytes(body))


def _raw_headers(response: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in response.raw_headers]


def _translated(error: Exception) -> TransportFailed:
    # The transport maps some connection errors to ConnectTimeout, so its own types do not tell
    # "never connected" from "broken"; the aiohttp error behind them does.
    cause = error if isinstance(error, aiohttp.ClientError) else error.__cause__ or error
    text = str(cause) or type(cause).__name__
    if isinstance(cause, aiohttp.ClientConnectorError):
        return TransportFailed("connect", text)
    if isinstance(cause, (aiohttp.ServerTimeoutError, TimeoutError)) or isinstance(error, httpx.ReadTimeout):
        connecting = isinstance(cause, aiohttp.ConnectionTimeoutError)
        return TransportFailed("connect" if connecting else "timeout", text)
    return TransportFailed("broken", text)
