"""The HTTP client and its websockets, in front of an upstream that misbehaves on the wire."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from codexproxy import http
from codexproxy.http import HandshakeRefused, HttpClient, TransportFailed

pytestmark = pytest.mark.asyncio

MIB = 1024 * 1024
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(behaviour: Behaviour) -> AsyncIterator[str]:
    """A server whose connections do this, until they are cut off at the end."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(ConnectionError):
            await behaviour(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    finally:
        for writer in writers:
            writer.transport.abort()
        server.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def client() -> AsyncIterator[HttpClient]:
    found = HttpClient()
    try:
        yield found
    finally:
        await found.close()


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    keys = [line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")]
    accepted = base64.b64encode(hashlib.sha1(keys[0].split(b":")[1].strip() + GUID).digest())
    lines = [b"HTTP/1.1 101 Switching Protocols", b"upgrade: websocket", b"connection: Upgrade"]
    writer.write(b"\r\n".join([*lines, b"sec-websocket-accept: " + accepted, b"", b""]))
    await writer.drain()


def text(size: int) -> bytes:
    return b"\x81\x7f" + size.to_bytes(8, "big") + b"x" * size


async def test_it_works() -> None:
    async def says_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        writer.write(b"\x81\x05hello")
        await reader.read()

    async with listening(says_hello) as url, client() as ours:
        socket = await ours.connect(url, [], message_limit=MIB)
        assert await socket.receive(5.0) == b"hello"
        await socket.close()
        assert socket.is_closed


async def test_an_answer_has_ended_when_its_last_byte_is_here() -> None:
    may_end = asyncio.Event()

    async def takes_its_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await may_end.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
        await writer.drain()

    async with listening(takes_its_time) as url, client() as ours, asyncio.timeout(10):
        response = await ours.send("GET", url, [])
        blocks = response.blocks()
        assert await anext(blocks) == b"one"
        assert not response.has_ended
        may_end.set()
        # The end came with the last bytes, which are still to be read.
        assert await anext(blocks) == b"two"
        assert response.has_ended
        assert [block async for block in blocks] == []
        await response.close()


async def test_an_upgrade_follows_no_redirect() -> None:
    asked: list[bytes] = []

    async def redirects(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 4\r\n\r\nthat")
        await reader.read()

    async with listening(redirects) as url, client() as ours:
        with pytest.raises(HandshakeRefused) as caught:
            await ours.connect(url, [(b"authorization", b"Bearer secret")], message_limit=MIB)
    assert (caught.value.status, caught.value.body, len(asked)) == (302, b"that", 1)


async def test_a_message_that_the_other_side_does_not_take_is_given_up_with_its_connection() -> None:
    async def never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]

    async with listening(never_reads) as url, client() as ours:
        before = open_sockets()
        socket = await ours.connect(url, [], message_limit=MIB)
        both_ends = open_sockets() - before
        with pytest.raises(TransportFailed) as caught:
            await socket.send(os.urandom(32 * MIB), 0.3)
        await socket.close()
        await asyncio.sleep(0)
        assert caught.value.kind == "timeout"
        assert len(both_ends) == 2
        assert len(both_ends & open_sockets()) == 1, "its unsent bytes are not kept"


def open_sockets() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return {name for name in found if name.startswith("socket:")}


async def test_silence_is_what_passes_while_somebody_waits() -> None:
    async def says_two(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        writer.write(text(10) * 2)
        await reader.read()

    async with listening(says_two) as url, client() as ours:
        socket = await ours.connect(url, [], message_limit=MIB)
        assert await socket.receive(0.1)
        await asyncio.sleep(0.3)
        assert await socket.receive(0.1)
        with pytest.raises(TransportFailed) as caught:
            await socket.receive(0.1)
        assert caught.value.kind == "timeout"
        await socket.close()


async def test_a_slow_reader_is_no_dead_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing is read no answer to a ping can come."""
    monkeypatch.setattr(http, "WEBSOCKET_PING_S", 0.1)

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        for _ in range(100):
            writer.write(text(MIB // 8))
            await writer.drain()
        await reader.read()

    async with listening(floods) as url, client() as ours:
        socket = await ours.connect(url, [], message_limit=MIB)
        await asyncio.sleep(0.6)
        assert [len(await socket.receive(5.0)) for _ in range(100)] == [MIB // 8] * 100
        await socket.close()


async def test_a_connection_that_answers_no_ping_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "WEBSOCKET_PING_S", 0.1)

    async def is_dead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]

    async with listening(is_dead) as url, client() as ours:
        socket = await ours.connect(url, [], message_limit=MIB)
        with pytest.raises(TransportFailed) as caught:
            await socket.receive()
        assert caught.value.kind == "broken"
        await socket.close()


@pytest.mark.parametrize(
    "message", [b"\x82\x01x", text(2 * MIB), b"\x88\x02\x03\xf3"], ids=["bin", "big", "end"]
)
async def test_what_is_no_text_of_its_size_ends_the_socket(message: bytes) -> None:
    async def says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        writer.write(message)
        await reader.read()

    async with listening(says) as url, client() as ours:
        socket = await ours.connect(url, [], message_limit=MIB)
        with pytest.raises(TransportFailed) as caught:
            await socket.receive(5.0)
        assert caught.value.kind == "broken"
        await socket.close()
