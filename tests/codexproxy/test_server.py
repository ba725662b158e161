from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
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

    def wait_until_refused(self, within_s: float = 5.0) -> None:
        """Until nobody listens any more; who was waiting to be accepted when that began is reset."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            try:
                self.connect().close()
            except ConnectionRefusedError:
                return
            except ConnectionResetError:
                pass
        raise AssertionError("somebody listens")

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            if "ready" in self.log.read_text().splitlines():
                return
            time.sleep(0.02)
        raise AssertionError(f"it did not start: {self.log.read_text()[-500:]}")

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
            start_new_session=True,
        )
        running = Running(process, port, log)
        try:
            running.wait_until_ready()
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


def test_a_client_that_reads_slowly_is_not_taken_for_stalled(tmp_path: Path) -> None:
    short = {"WRITE_STALL_S": "0.5", "REQUEST_STALL_S": "0.5"}
    with serving(tmp_path, **short) as server, server.connect(receive_buffer=65536) as client:
        client.sendall(b"GET /whole HTTP/1.1\r\nhost: h\r\n\r\n")
        received, began = 0, time.monotonic()
        while part := client.recv(256 * 1024):
            received += len(part)
            # No faster than 6 MiB a second.
            time.sleep(max(0.0, received / (6 * MIB) - (time.monotonic() - began)))
    assert received > 12 * MIB


def test_a_client_that_never_takes_the_end_of_its_answer_is_dropped(tmp_path: Path) -> None:
    with serving(tmp_path, WRITE_STALL_S="0.3") as server, server.connect(receive_buffer=4096) as client:
        client.sendall(b"GET /whole HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        server.wait_for("written")
        server.wait_for("stopped reading")


@pytest.mark.parametrize("path", ["/broken", "/silent"])
def test_an_application_that_ends_without_an_answer_is_answered_for(server: Running, path: str) -> None:
    for _ in range(2):
        answer = server.ask(f"GET {path} HTTP/1.1\nhost: h\nconnection: close")
        assert answer.startswith(b"HTTP/1.1 500")
        assert b'"server_error"' in answer
        assert b"daphne" not in answer.lower()


def test_a_fault_of_the_application_is_in_the_log(server: Running) -> None:
    server.ask("GET /broken HTTP/1.1\nhost: h\nconnection: close")
    said = server.wait_for("broken on purpose")
    assert said.count("Exception inside application") == 1


def test_requests_that_have_ended_are_forgotten_at_once(server: Running) -> None:
    for path in ("/x", "/silent", "/broken-stream", "/x"):
        server.ask(f"GET {path} HTTP/1.1\nhost: h\nconnection: close")
    assert b"1 known" in server.ask("GET /known HTTP/1.1\nhost: h\nconnection: close")


def test_a_fault_in_the_moment_of_the_regular_look_is_logged_once(server: Running) -> None:
    answer = server.ask("GET /looked-at HTTP/1.1\nhost: h\nconnection: close")
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"1 known" in server.ask("GET /known HTTP/1.1\nhost: h\nconnection: close")
    said = server.log.read_text()
    assert said.count("Exception inside application") == 1
    assert "KeyError" not in said


def test_the_answer_to_a_head_request_has_no_body(server: Running) -> None:
    answer = server.ask("HEAD /stream HTTP/1.1\nhost: h\nconnection: close")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("header", ["x-one: a\x0bb", "x-one: a\x1cb", "x one: a", "x(: a", "\xe4: a", ": a"])
def test_a_header_that_no_application_may_see_is_refused(server: Running, header: str) -> None:
    answer = server.ask(f"GET /x HTTP/1.1\nhost: h\nconnection: close\n{header}")
    assert answer.startswith(b"HTTP/1.1 400")
    assert server.ask("GET /x HTTP/1.1\nhost: h\nconnection: close").startswith(b"HTTP/1.1 200")


def test_a_stream_that_breaks_does_not_look_complete(server: Running) -> None:
    answer = server.ask("GET /broken-stream HTTP/1.1\nhost: h\nconnection: close")
    assert not answer.endswith(b"0\r\n\r\n")
    server.wait_for("broken on purpose")


@pytest.mark.parametrize("resets", [False, True])
def test_the_application_learns_at_once_that_the_client_has_left(server: Running, resets: bool) -> None:
    with server.connect() as client:
        client.sendall(b"GET /stream HTTP/1.1\r\nhost: h\r\n\r\n")
        client.recv(1)
        if resets:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.wait_for("gone", 1.0)


def test_a_body_that_announces_too_much_is_refused_before_it_is_sent(server: Running) -> None:
    answer = server.ask(f"POST /small HTTP/1.1\nhost: h\ncontent-length: {9 * MIB}")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"payload_too_large" in answer


@pytest.mark.parametrize("name", ["x-request-id", "request-id"])
def test_what_the_server_refuses_by_itself_has_the_request_s_id(server: Running, name: str) -> None:
    for request in (f"POST /small HTTP/1.1\ncontent-length: {9 * MIB}", "GET /broken HTTP/1.1"):
        head = f"{request}\nhost: h\nconnection: close"
        assert b"x-request-id: mine\r\n" in server.ask(f"{head}\n{name}: mine").lower()
        own = [re.findall(rb"x-request-id: (\S+)", server.ask(head).lower()) for _ in range(2)]
        assert len(own[0]) == len(own[1]) == 1 and own[0] != own[1]


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


def test_a_large_body_of_unknown_length_is_kept_in_memory(server: Running) -> None:
    chunk = b"%x\r\n%s\r\n" % (MIB, bytes(MIB))
    head = "POST /x HTTP/1.1\nhost: h\nconnection: close\ntransfer-encoding: chunked"
    answer = server.ask(head, chunk * 20 + b"0\r\n\r\n")
    assert f"[{20 * MIB}]".encode() in answer
    assert b" 0 deleted files" in answer


def test_a_client_that_waits_for_a_100_gets_it_when_it_may_send(server: Running) -> None:
    with server.connect() as client:
        client.sendall(
            b"POST /x HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\nconnection: close\r\n"
            b"content-length: 2\r\n\r\n"
        )
        assert client.recv(100).startswith(b"HTTP/1.1 100")
        client.sendall(b"hi")
        assert read_all(client).startswith(b"HTTP/1.1 200")


def test_a_request_can_be_refused_at_its_headers(server: Running) -> None:
    answer = server.ask(f"POST /x?y=1 HTTP/1.1\nhost: h\nx-unwelcome: yes\ncontent-length: {MIB}")
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"connection: close" in answer
    assert b"POST /x from 127.0.0.1 is not welcome" in answer


@pytest.mark.parametrize(
    ("length", "body", "status"),
    [
        ("content-length: 1000", b"x" * 1000, b"200"),
        ("content-length: 1001", b"", b"403"),
        ("transfer-encoding: chunked", b"", b"403"),
        ("accept: */*", b"", b"200"),
    ],
)
def test_only_large_bodies_and_those_of_unknown_length_are_judged_before_they_are_read(
    server: Running, length: str, body: bytes, status: bytes
) -> None:
    answer = server.ask(f"POST /x HTTP/1.1\nhost: h\nconnection: close\nx-unwelcome: yes\n{length}", body)
    assert answer.startswith(b"HTTP/1.1 " + status)


def test_a_client_that_stops_in_the_middle_of_its_body_is_disconnected(tmp_path: Path) -> None:
    with serving(tmp_path, REQUEST_STALL_S="0.3") as server, server.connect() as client:
        client.sendall(b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nhalf")
        assert read_all(client) == b""


def test_all_bodies_together_are_bounded_and_the_budget_comes_back(server: Running) -> None:
    big = f"POST /x HTTP/1.1\nhost: h\nconnection: close\ncontent-length: {60 * MIB}"
    with server.connect() as waiting:
        waiting.sendall(big.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        deadline = time.monotonic() + 5
        while (answer := server.ask(big)[:300]) == b"" and time.monotonic() < deadline:
            pass
        assert answer.startswith(b"HTTP/1.1 429")
        assert b"retry-after: 5" in answer
        assert answer.count(b"x-request-id: ") == 1
    deadline = time.monotonic() + 5
    while not (answer := server.ask(big, bytes(60 * MIB))).startswith(b"HTTP/1.1 200"):
        assert time.monotonic() < deadline, answer[:200]


def test_bodies_that_are_kept_apart_take_no_room_of_the_others(server: Running) -> None:
    apart = f"POST /apart HTTP/1.1\r\nhost: h\r\ncontent-length: {60 * MIB}\r\n\r\n".encode()
    with server.connect() as waiting:
        waiting.sendall(apart)
        deadline = time.monotonic() + 5
        while (answer := server.ask("POST /apart HTTP/1.1\nhost: h\ncontent-length: 1")[:300]) == b"":
            assert time.monotonic() < deadline
        assert answer.startswith(b"HTTP/1.1 429")
        other = f"POST /x HTTP/1.1\nhost: h\nconnection: close\ncontent-length: {60 * MIB}"
        assert server.ask(other, bytes(60 * MIB)).startswith(b"HTTP/1.1 200")


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


@contextlib.contextmanager
def streaming(server: Running) -> Iterator[socket.socket]:
    with server.connect() as client:
        client.sendall(b"GET /stream HTTP/1.1\r\nhost: h\r\n\r\n")
        assert client.recv(200)
        yield client


def test_sigterm_lets_an_open_stream_finish(server: Running) -> None:
    with streaming(server) as client:
        server.process.send_signal(signal.SIGTERM)
        # Kept alive for nobody: the connection ends with the answer.
        assert read_all(client).endswith(b"end\n\r\n0\r\n\r\n")
    assert server.process.wait(10) == 0
    assert "shut down" in server.log.read_text()


def test_while_it_drains_nobody_new_is_accepted(server: Running) -> None:
    with streaming(server) as client:
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        server.wait_until_refused()
        assert b"end\n" in read_all(client)


def test_a_drain_closes_idle_connections_at_once(server: Running) -> None:
    with server.connect() as idle, streaming(server):
        idle.sendall(b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n")
        while not idle.recv(65536).endswith(b"0\r\n\r\n"):
            pass
        server.process.send_signal(signal.SIGTERM)
        assert read_all(idle) == b""
        assert server.process.poll() is None


def test_an_answer_that_begins_during_the_drain_closes_its_connection(server: Running) -> None:
    with server.connect() as client:
        client.sendall(b"GET /late HTTP/1.1\r\nhost: h\r\n\r\n")
        server.wait_for("asked")
        server.process.send_signal(signal.SIGTERM)
        answer = read_all(client)
    assert b"connection: close" in answer.lower()
    assert b"late" in answer


def test_a_drain_waits_for_what_a_slow_reader_has_not_taken_yet(server: Running) -> None:
    with server.connect(receive_buffer=65536) as client:
        client.sendall(b"GET /whole HTTP/1.1\r\nhost: h\r\n\r\n")
        server.wait_for("written")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        assert len(read_all(client)) > 12 * MIB
    assert server.process.wait(10) == 0


def test_a_second_signal_ends_at_once(server: Running) -> None:
    with server.connect(receive_buffer=4096) as client:
        client.sendall(b"GET /flood HTTP/1.1\r\nhost: h\r\n\r\n")
        client.recv(1)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(2)


def test_a_start_that_fails_ends_the_process(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="fails on purpose"), serving(tmp_path, FAIL_TO_START="1"):
        raise AssertionError("it started")


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


def test_ctrl_c_in_a_terminal_drains_the_workers(tmp_path: Path) -> None:
    with serving(tmp_path, workers=2) as server, streaming(server) as client:
        os.killpg(server.process.pid, signal.SIGINT)
        assert read_all(client).endswith(b"end\n\r\n0\r\n\r\n")
        assert server.process.wait(10) == 0


def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path, workers=2) as server:
        server.process.kill()
        server.wait_until_refused()
