"""Neither a request that comes in drops nor a long rest keeps a connection; an answer may take its time."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from tests.codexproxy.test_server import read_all, serving

SHORT = {"PACE_S": "0.3"}
HEAD = b"POST /v1/responses HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n"


def dripped(tmp_path: Path, first: bytes, drop: bytes) -> bytes:
    """What the server says to a client that goes on with a drop every 50 ms, for five seconds at most."""
    answer = bytearray()
    with serving(tmp_path, **SHORT) as server, server.connect() as client:
        client.settimeout(0.05)
        client.sendall(first)
        deadline = time.monotonic() + 5
        while b"\r\n\r\n" not in answer and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                answer += client.recv(65_536)
                continue
            with contextlib.suppress(OSError):
                client.sendall(drop)
    return bytes(answer)


@pytest.mark.parametrize(
    ("first", "drop"), [(b"GET /late HT", b"x"), (HEAD % 100_000, b"x" * 5)], ids=["head", "body"]
)
def test_a_request_in_drops_is_refused(tmp_path: Path, first: bytes, drop: bytes) -> None:
    answer = dripped(tmp_path, first, drop)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"too slowly" in answer
    assert answer.count(b"x-request-id: ") == 1


def test_a_slow_but_steady_body_is_taken(tmp_path: Path) -> None:
    with serving(tmp_path, **SHORT) as server, server.connect() as client:
        client.sendall(HEAD % 100_000)
        for _ in range(10):
            client.sendall(b"x" * 10_000)
            time.sleep(0.1)
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_an_answer_may_take_its_time(tmp_path: Path) -> None:
    with serving(tmp_path, **SHORT) as server, server.connect() as client:
        for _ in range(2):
            client.sendall(b"GET /late HTTP/1.1\r\nhost: h\r\n\r\n")
            assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
            # The connection is kept, and rests longer than the pace is looked at.
            time.sleep(0.5)


def test_a_connection_that_rests_for_long_is_closed(tmp_path: Path) -> None:
    with serving(tmp_path, REQUEST_STALL_S="0.5") as server, server.connect() as client:
        began = time.monotonic()
        client.sendall(b"GET /late HTTP/1.1\r\nhost: h\r\n\r\n")
        assert read_all(client).endswith(b"late\r\n0\r\n\r\n")
        # The answer took as long as a rest may, and the rest begins after it.
        assert time.monotonic() - began > 0.9


def test_a_connection_without_a_request_is_closed(tmp_path: Path) -> None:
    with serving(tmp_path, REQUEST_STALL_S="0.3") as server, server.connect() as client:
        assert read_all(client) == b""


def test_a_connection_that_is_used_now_and_then_is_kept(tmp_path: Path) -> None:
    with serving(tmp_path, REQUEST_STALL_S="0.6") as server, server.connect() as client:
        for _ in range(5):
            client.sendall(b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n")
            assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.25)
