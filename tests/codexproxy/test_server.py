from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024


class Running:
    """The server, and what it has said."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(10)
        try:
            client.connect(("127.0.0.1", self.port))
        except OSError:
            client.close()
            raise
        return client

    def ask(self, head: str, body: bytes = b"") -> bytes:
        """The whole answer of a request on a connection of its own."""
        with self.connect() as client:
            client.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
            return read_all(client)

    def wait_for(self, text: str, within_s: float = 5.0) -> str:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if text in (said := self.log.read_text()):
                return said
            time.sleep(0.02)
        raise AssertionError(f"{text!r} was not said: {self.log.read_text()[-500:]!r}")

    def produced(self) -> int:
        found = re.findall(r"produced (\d+)", self.log.read_text())
        return int(found[-1]) if found else 0

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


def read_all(client: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(tmp_path: Path, workers: int = 1, **environment: str) -> Iterator[Running]:
    port, log = free_port(), tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.codexproxy.served", str(port), str(workers)],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=file,
            stderr=file,
        )
        running = Running(process, port, log)
        try:
            running.wait_for("ready", 20)
            yield running
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(10)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with serving(tmp_path) as running:
        yield running


def settled(running: Running) -> int:
    """What was produced once nothing more is."""
    last, same_since = -1, time.monotonic()
    while time.monotonic() - same_since < 0.5:
        if (now := running.produced()) != last:
            last, same_since = now, time.monotonic()
        time.sleep(0.05)
    return last


def test_it_works(server: Running) -> None:
    assert server.ask("POST /x HTTP/1.1\nhost: h\nconnection: close\ncontent-length: 2", b"hi").startswith(
        b"HTTP/1.1 200"
    )


def test_a_client_that_never_reads_stops_the_application(server: Running) -> None:
    with server.connect(receive_buffer=4096) as client:
        client.sendall(b"GET /flood HTTP/1.1\r\nhost: h\r\n\r\n")
        server.wait_for("produced")
        assert settled(server) < 16 * MIB


def test_a_slow_reader_that_goes_on_gets_every_byte(server: Running) -> None:
    with server.connect(receive_buffer=4096) as client:
        client.sendall(b"GET /flood HTTP/1.0\r\nhost: h\r\n\r\n")
        server.wait_for("produced")
        settled(server)
        received = 0
        while part := client.recv(1024 * 1024):
            received += len(part)
    assert received >= 300 * MIB


def test_a_client_that_stalls_for_long_is_dropped(tmp_path: Path) -> None:
    with serving(tmp_path, WRITE_STALL_S="0.3") as server, server.connect(receive_buffer=4096) as client:
        client.sendall(b"GET /flood HTTP/1.1\r\nhost: h\r\n\r\n")
        server.wait_for("stopped reading")


def test_the_application_learns_at_once_that_the_client_has_left(server: Running) -> None:
    with server.connect() as client:
        client.sendall(b"GET /stream HTTP/1.1\r\nhost: h\r\n\r\n")
        client.recv(1)
    server.wait_for("gone", 1.0)


def test_a_body_that_announces_too_much_is_refused_before_it_is_sent(server: Running) -> None:
    answer = server.ask(f"POST /small HTTP/1.1\nhost: h\ncontent-length: {9 * MIB}")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"payload_too_large" in answer


def test_a_client_that_waits_for_a_100_is_refused_at_once(server: Running) -> None:
    answer = server.ask(f"POST /small HTTP/1.1\nhost: h\nexpect: 100-continue\ncontent-length: {9 * MIB}")
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_chunked_body_is_counted_while_it_comes(server: Running) -> None:
    with server.connect() as client:
        client.sendall(b"POST /small HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(10):
                client.sendall(b"%x\r\n%s\r\n" % (MIB, bytes(MIB)))
        assert read_all(client).startswith(b"HTTP/1.1 413")


def test_a_large_body_comes_in_one_message(server: Running) -> None:
    head = f"POST /x HTTP/1.1\nhost: h\nconnection: close\ncontent-length: {20 * MIB}"
    assert f"[{20 * MIB}]".encode() in server.ask(head, bytes(20 * MIB))


def test_all_bodies_together_are_bounded_and_the_budget_comes_back(server: Running) -> None:
    big = f"POST /x HTTP/1.1\nhost: h\nconnection: close\ncontent-length: {60 * MIB}"
    with server.connect() as waiting:
        waiting.sendall(big.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        deadline = time.monotonic() + 5
        while (answer := server.ask(big)[:300]) == b"" and time.monotonic() < deadline:
            pass
        assert answer.startswith(b"HTTP/1.1 429")
        assert b"retry-after: 5" in answer
    deadline = time.monotonic() + 5
    while not (answer := server.ask(big, bytes(60 * MIB))).startswith(b"HTTP/1.1 200"):
        assert time.monotonic() < deadline, answer[:200]


@pytest.mark.parametrize(
    ("path", "expected"), [("/v1/x", True), ("/backend-api/x", True), ("/admin/", False)]
)
def test_known_headers_with_an_underscore_reach_client_paths_only(
    server: Running, path: str, expected: bool
) -> None:
    answer = server.ask(f"GET {path} HTTP/1.1\nhost: h\nconnection: close\nsession_id: s\nevil_header: e")
    assert (b"'session_id'" in answer) is expected
    assert b"evil_header" not in answer


def test_a_connection_serves_several_requests(server: Running) -> None:
    with server.connect() as client:
        for _ in range(3):
            client.sendall(b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n")
            received = b""
            while not received.endswith(b"0\r\n\r\n"):
                received += client.recv(65536)
            assert received.startswith(b"HTTP/1.1 200")


def test_pipelined_requests_are_answered_in_order(server: Running) -> None:
    request = b"GET /x HTTP/1.1\r\nhost: h\r\n%s\r\n"
    with server.connect() as client:
        client.sendall(request % b"" + request % b"connection: close\r\n")
        assert read_all(client).count(b"HTTP/1.1 200") == 2


def test_sigterm_lets_an_open_stream_finish(server: Running) -> None:
    with server.connect() as client:
        client.sendall(b"GET /stream HTTP/1.1\r\nhost: h\r\n\r\n")
        received = client.recv(200)
        server.process.send_signal(signal.SIGTERM)
        while not received.endswith(b"0\r\n\r\n"):
            assert (part := client.recv(65536))
            received += part
    assert b"end\n" in received
    assert server.process.wait(10) == 0


def test_while_it_drains_nobody_new_is_accepted(server: Running) -> None:
    with server.connect() as client:
        client.sendall(b"GET /flood HTTP/1.1\r\nhost: h\r\n\r\n")
        client.recv(1)
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        with pytest.raises(OSError):
            while time.monotonic() < deadline:
                server.connect().close()


def test_two_workers_serve_on_one_port(tmp_path: Path) -> None:
    with serving(tmp_path, workers=2) as server:
        deadline, seen = time.monotonic() + 10, set()
        while len(seen) < 2 and time.monotonic() < deadline:
            answer = server.ask("GET /x HTTP/1.1\nhost: h\nconnection: close")
            seen.add(re.findall(rb"\r\n(\d+) \[", answer)[0])
        assert len(seen) == 2
        assert server.end() == 0


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, workers=2) as server:
        answer = server.ask("GET /x HTTP/1.1\nhost: h\nconnection: close")
        os.kill(int(re.findall(rb"\r\n(\d+) \[", answer)[0]), signal.SIGKILL)
        server.wait_for("ended with -9")
        deadline = time.monotonic() + 10
        while server.log.read_text().count("ready") < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert server.end() == 0
