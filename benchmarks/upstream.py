"""A loopback upstream that costs next to nothing: canned event streams over raw sockets.

The events are those that the simulated upstream renders; the request's model picks the pace. At a pace, each
event says when it was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import re

from benchmarks.workloads import EVENTS, PACES

_KEY = re.compile(rb"sec-websocket-key: *([^\r]+)", re.I)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.I)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_END = b"0\r\n\r\n"
# Of one length with the moment that takes its place: seconds on the clock that all processes share.
_UNTIMED = "0000000.000000"


def event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def stream() -> list[bytes]:
    """The events of one answer: the preamble, deltas, and the terminal event with its usage."""
    usage = {
        "input_tokens": 5000,
        "input_tokens_details": {"cached_tokens": 4000},
        "output_tokens": EVENTS,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 5000 + EVENTS,
    }
    response = {"id": "resp_bench", "object": "response", "status": "in_progress", "model": "gpt-5.5"}
    deltas = [
        event(
            "response.output_text.delta",
            item_id="msg_1",
            output_index=0,
            content_index=0,
            delta="lorem ipsum ",
            sequence_number=n,
            sent=_UNTIMED,
        )
        for n in range(EVENTS)
    ]
    completed = event("response.completed", response={**response, "status": "completed", "usage": usage})
    return [event("response.created", response=response), *deltas, completed]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def text_frame(event: bytes) -> bytes:
    """The event's data as a server's frame, which is not masked."""
    data = event.split(b"data: ", 1)[1].strip()
    return (
        b"\x81" + (bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")) + data
    )


CHUNKS = [chunk(data) for data in stream()]
FRAMES = [text_frame(data) for data in stream()]


class Upstream(asyncio.Protocol):
    """One connection; requests one after another."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._buffer = bytearray()
        self._wanted = -1
        self._is_websocket = False

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._is_websocket:
            self._frames()
            return
        while True:
            if self._wanted < 0:
                end = self._buffer.find(b"\r\n\r\n")
                if end < 0:
                    return
                if (key := _KEY.search(self._buffer, 0, end)) is not None:
                    self._upgrade(bytes(key[1]), end + 4)
                    return
                found = _LENGTH.search(self._buffer, 0, end)
                self._wanted = end + 4 + (int(found[1]) if found else 0)
            if len(self._buffer) < self._wanted:
                return
            paces = (pace for name, pace in PACES.items() if self._buffer.find(name, 0, self._wanted) >= 0)
            pace_s = next(paces, 0.0)
            del self._buffer[: self._wanted]
            self._wanted = -1
            self._answer(pace_s)

    def _answer(self, pace_s: float) -> None:
        if not pace_s:
            # An event a write, as fast as they come: what one read brings is up to the sockets.
            self._transport.write(_HEAD)
            for data in CHUNKS:
                self._transport.write(data)
            self._transport.write(_END)
            return
        self._transport.write(_HEAD + CHUNKS[0])
        self._next(1, pace_s)

    def _upgrade(self, key: bytes, end: int) -> None:
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            b"sec-websocket-accept: " + accept + b"\r\n\r\n"
        )
        del self._buffer[:end]
        self._is_websocket = True

    def _frames(self) -> None:
        """Each whole text frame of the client is a request; a close ends the connection."""
        while len(self._buffer) >= 8:
            size, start = self._buffer[1] & 0x7F, 6
            if size == 126:
                size, start = int.from_bytes(self._buffer[2:4], "big"), 8
            elif size == 127:
                size, start = int.from_bytes(self._buffer[2:10], "big"), 14
            if len(self._buffer) < start + size:
                return
            kind = self._buffer[0] & 0x0F
            del self._buffer[: start + size]
            if kind == 8:
                self._transport.close()
                return
            if kind == 1:
                for data in FRAMES:
                    self._transport.write(data)

    def _next(self, index: int, pace_s: float) -> None:
        if self._transport.is_closing():
            return
        if index == len(CHUNKS):
            self._transport.write(_END)
            return
        loop = asyncio.get_running_loop()
        self._transport.write(CHUNKS[index].replace(_UNTIMED.encode(), b"%014.6f" % loop.time()))
        loop.call_later(pace_s, self._next, index + 1, pace_s)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(main(parser.parse_args().port))
