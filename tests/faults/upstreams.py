"""Upstreams that do what no well-behaved one does: each connection is a socket in the test's hands."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

# Longer than any test: a script that waits ends with its test, not before.
FOREVER_S = 120.0


@dataclass(slots=True)
class Connection:
    """One request in hand; `number` counts the turns asked of this upstream."""

    socket: socket.socket
    body: bytes
    number: int
    ended: threading.Event

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def wait(self, seconds: float = FOREVER_S) -> None:
        """Say nothing, until the other side leaves; the end of the test ends it too."""
        deadline = time.monotonic() + seconds
        while not self.ended.is_set() and (left_s := deadline - time.monotonic()) > 0:
            readable, _, _ = select.select([self.socket], [], [], min(left_s, 0.05))
            if readable and not self.socket.recv(65536):
                return

    def reset(self) -> None:
        """Break the connection instead of ending it."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    @property
    def json(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


Script = Callable[[Connection], None]


@dataclass(slots=True)
class RawUpstream:
    base_url: str = ""
    turns: int = 0
    open_connections: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_number(self) -> int:
        with self._lock:
            self.turns += 1
            return self.turns

    def count(self, change: int) -> None:
        with self._lock:
            self.open_connections += change


def head(status: str = "200 OK", content_type: str = "text/event-stream", **headers: str) -> bytes:
    """Without a length the body ends with the connection."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\n{more}\r\n".encode()


def chunked_head() -> bytes:
    return head(transfer_encoding="chunked")


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


# What a client begins with that takes the port for one of https.
TLS_HELLO = b"\x16"
LAST_CHUNK = b"0\r\n\r\n"


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def response(status: str) -> dict[str, Any]:
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    found = {"id": "resp_1", "object": "response", "status": status, "model": "gpt-5.5", "output": []}
    return {**found, "usage": usage if status == "completed" else None}


CREATED = event("response.created", response=response("in_progress"))
DELTA = event("response.output_text.delta", item_id="msg_1", output_index=0, delta="Hello")
COMPLETED = event("response.completed", response=response("completed"))


def whole_answer(connection: Connection) -> None:
    connection.send(chunked_head() + chunk(CREATED + DELTA + COMPLETED) + LAST_CHUNK)


def _read_request(connection: socket.socket) -> tuple[bytes, bytes] | None:
    received = b""
    while b"\r\n\r\n" not in received:
        block = connection.recv(65536)
        if not block:
            return None
        received += block
        if received[:1] == TLS_HELLO:
            connection.sendall(head("400 Bad Request", content_length="0"))
            return None
    start, _, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in start.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    length = int(lengths[0].split(b":")[1]) if lengths else 0
    while len(body) < length:
        block = connection.recv(65536)
        if not block:
            return None
        body += block
    return start, body


def _serve(upstream: RawUpstream, connection: socket.socket, script: Script, ended: threading.Event) -> None:
    """One request for each connection: what breaks, breaks alone."""
    upstream.count(1)
    with connection, contextlib.suppress(OSError):
        connection.settimeout(FOREVER_S)
        request = _read_request(connection)
        if request is None:
            pass
        elif b"/responses " not in request[0].split(b"\r\n", 1)[0]:
            connection.sendall(head("404 Not Found", "application/json", content_length="2") + b"{}")
        else:
            script(Connection(connection, request[1], upstream.next_number(), ended))
    upstream.count(-1)


@contextmanager
def raw_upstream(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[RawUpstream]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    scheme = "https" if tls else "http"
    upstream = RawUpstream(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")
    ended = threading.Event()

    def handle(connection: socket.socket) -> None:
        try:
            secured = tls.wrap_socket(connection, server_side=True) if tls else connection
        except OSError:
            connection.close()
            return
        _serve(upstream, secured, script, ended)

    def accept() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(connection,), name="raw upstream", daemon=True).start()

    thread = threading.Thread(target=accept, name="raw upstream", daemon=True)
    thread.start()
    try:
        yield upstream
    finally:
        ended.set()
        # What a thread waits in, accept() does not leave by a close alone.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
