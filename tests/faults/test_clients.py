"""Clients that do not read, read slowly, or send half of what they said: nobody else feels it."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event

import pytest

from proxy.events import KEEP_ALIVE_NATIVE
from tests.e2e.asking import RESPONSES, ask, message, turn
from tests.e2e.server import Server, until
from tests.faults.settled import assert_settled
from tests.faults.test_upstream import ANSWER, SOON_S, InFrontOf
from tests.faults.upstreams import (
    COMPLETED,
    CREATED,
    LAST_CHUNK,
    Connection,
    RawUpstream,
    Script,
    chunk,
    chunked_head,
    event,
    whole_answer,
)

MIB = 1024 * 1024
LARGE_DELTA = event("response.output_text.delta", item_id="msg_1", output_index=0, delta="x" * (MIB // 4))
# More than all buffers between upstream and a client hold, the kernel's and ours.
LARGE_DELTAS = 160
LARGE_ANSWER = CREATED + LARGE_DELTA * LARGE_DELTAS + COMPLETED
# An upstream that cannot send for so long is held back.
HELD_S = 0.5
# What three clients have said they would send leaves no room for a fourth: 256 MiB for all bodies in flight.
ANNOUNCED = 80 * MIB


def request(*, announced: int | None = None, version: str = "1.1", **headers: str) -> bytes:
    """A turn that asks for a large answer; with `announced` only the beginning of one that is so large."""
    content = json.dumps(turn(message("large"))).encode()
    lines = [
        f"POST {RESPONSES} HTTP/{version}",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(content) if announced is None else announced}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    """With as little room as the kernel allows for what is not read."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(60)
        client.connect(("127.0.0.1", server.port))
        yield client


def large_until(held_back: Event) -> Script:
    """A large answer for who asks for one, and a small one for the others."""

    def answer(connection: Connection) -> None:
        if "large" not in connection.json["input"][0]["content"][0]["text"]:
            whole_answer(connection)
            return
        connection.send(chunked_head() + chunk(CREATED))
        for _ in range(LARGE_DELTAS):
            if not select.select([], [connection.socket], [], HELD_S)[1]:
                held_back.set()
            connection.send(chunk(LARGE_DELTA))
        connection.send(chunk(COMPLETED) + LAST_CHUNK)

    return answer


def assert_served_at_once(server: Server) -> None:
    began = time.monotonic()
    assert ask(server).body == ANSWER
    assert time.monotonic() - began < SOON_S


def assert_left(server: Server, upstream: RawUpstream, others: int) -> None:
    """The one that asked for a large answer has gone; the others were served."""
    rows = server.wait_for_records(others + 1, 30)
    assert sorted(status for status, *_ in rows) == ["cancelled"] + ["success"] * others
    assert_settled(server, upstream)


def test_a_client_that_never_reads_holds_back_upstream_and_leaves_nothing(in_front_of: InFrontOf) -> None:
    held_back = Event()
    server, upstream = in_front_of(large_until(held_back))
    with connected(server) as client:
        client.sendall(request())
        assert held_back.wait(60), "all of it was taken from upstream"
        assert_served_at_once(server)
    assert_left(server, upstream, others=1)


def slowly(client: socket.socket, server: Server) -> bytes:
    """A byte a second; meanwhile others are served."""
    received = b""
    for _ in range(3):
        received += client.recv(1)
        assert_served_at_once(server)
        time.sleep(1)
    return received


def test_a_client_that_reads_a_byte_a_second_and_leaves_leaves_nothing(in_front_of: InFrontOf) -> None:
    held_back = Event()
    server, upstream = in_front_of(large_until(held_back))
    with connected(server) as client:
        client.sendall(request())
        assert slowly(client, server) == b"HTT"
        assert held_back.wait(60), "all of it was taken from upstream"
    assert_left(server, upstream, others=3)


def test_a_client_that_reads_faster_after_a_while_gets_the_whole_answer(in_front_of: InFrontOf) -> None:
    held_back = Event()
    server, upstream = in_front_of(large_until(held_back))
    with connected(server) as client:
        # Without chunks, so that the answer can be compared as it is.
        client.sendall(request(version="1.0"))
        received = bytearray(slowly(client, server))
        assert held_back.wait(60), "all of it was taken from upstream"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        while block := client.recv(MIB):
            received += block
    body = received.partition(b"\r\n\r\n")[2]
    assert body.replace(KEEP_ALIVE_NATIVE, b"") == LARGE_ANSWER
    assert [status for status, *_ in server.wait_for_records(4, 30)] == ["success"] * 4
    assert_settled(server, upstream)


def may_send(client: socket.socket) -> bool:
    """Whether there is room for a large body, as a client that asks first is told."""
    client.sendall(request(announced=ANNOUNCED, Expect="100-continue"))
    return client.recv(100).startswith(b"HTTP/1.1 100")


def has_room(server: Server) -> bool:
    with connected(server) as client:
        return may_send(client)


@pytest.mark.parametrize("ends_its_side", [True, False])
def test_clients_that_send_half_a_body_leave_nothing(in_front_of: InFrontOf, ends_its_side: bool) -> None:
    """They just stop, and leave after a while; or they say that nothing more will come."""
    server, upstream = in_front_of(whole_answer)
    with ExitStack() as clients:
        for _ in range(3):
            client = clients.enter_context(connected(server))
            assert may_send(client)
            client.sendall(b"x" * 1000)
            if ends_its_side:
                client.shutdown(socket.SHUT_WR)
                until(lambda: has_room(server), 30, "it is not waited for")
        assert_served_at_once(server)
        assert has_room(server) == ends_its_side
    until(lambda: has_room(server), 30, "there is room again")
    # Nothing of them has come as a request: there is nothing to ask upstream, and nothing to record.
    assert upstream.turns == 1
    assert [status for status, *_ in server.wait_for_records(1, 30)] == ["success"]
    assert_settled(server, upstream)
