"""The little of ASGI that the simulator needs: bodies, a client that may leave, broken connections."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import import_module
from typing import Any

import zstandard

# It has no type information.
brotli: Any = import_module("brotli")

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]

DISCONNECTS = ("http.disconnect", "websocket.disconnect")
# How long an abrupt end waits for the server to notice it.
CLOSE_WAIT_S = 2.0


class BrokenConnection(Exception):
    """Stands in for a broken connection under a server whose connection cannot be reached."""


class Client:
    """The asking side of one connection. Reads its messages at once, so that its leaving is never missed."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            self._messages.put_nowait(message)
            if message["type"] in DISCONNECTS:
                self._gone.set()
                return

    @property
    def left(self) -> bool:
        return self._gone.is_set()

    async def message(self) -> Message:
        return await self._messages.get()

    async def pause(self, seconds: float | None) -> bool:
        """Waits, for ever with None; True as soon as the client has left."""
        if seconds is None:
            await self._gone.wait()
        elif seconds <= 0:
            await asyncio.sleep(0)
        else:
            await asyncio.wait({self._reader}, timeout=seconds)
        return self.left

    def close(self) -> None:
        self._reader.cancel()


async def read_body(client: Client) -> bytes:
    parts = []
    while True:
        message = await client.message()
        if message["type"] in DISCONNECTS:
            break
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    return b"".join(parts)


def decompressed(body: bytes, encoding: str) -> bytes:
    """Raises ValueError for an encoding that is unknown or a body that is broken."""
    try:
        if encoding in ("", "identity"):
            return body
        if encoding == "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(body)
        if encoding == "gzip":
            return gzip.decompress(body)
        if encoding == "deflate":
            return zlib.decompress(body)
        if encoding == "br":
            return bytes(brotli.decompress(body))
    except (OSError, EOFError, zlib.error, zstandard.ZstdError, brotli.error) as error:
        raise ValueError(f"broken {encoding} body") from error
    raise ValueError(f"unknown content-encoding {encoding}")


def headers_of(scope: Scope) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def raw_headers(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _transport(send: Send) -> Any:
    """The server's connection behind `send`: uvicorn's is a method, Daphne's a partial; else None."""
    holder = getattr(send, "__self__", None) or next(iter(getattr(send, "args", ())), None)
    channel = getattr(holder, "channel", None)
    return getattr(channel, "transport", None) or getattr(holder, "transport", None)


def _reset_on_close(transport: Any) -> None:
    connection = getattr(transport, "get_extra_info", lambda _: None)("socket")
    connection = connection or getattr(transport, "socket", None)
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def break_connection(send: Send, client: Client, *, reset: bool) -> None:
    """Ends the TCP connection without ending the answer; `reset` sends RST instead of FIN."""
    transport = _transport(send)
    if transport is None:
        raise BrokenConnection
    if reset:
        _reset_on_close(transport)
        names = ("abort", "abortConnection")
    else:
        names = ("close", "loseConnection")
    end = next(filter(None, (getattr(transport, name, None) for name in names)))
    end()
    # The server would answer 500 for an application that returns while the connection still looks alive.
    await client.pause(CLOSE_WAIT_S)
