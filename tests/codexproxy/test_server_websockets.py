from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.codexproxy.served import BATCH, SMALL_BATCH
from tests.codexproxy.test_server import MIB, Running, read_all, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


def opened(server: Running, path: str = "/v1/x", **fields: Any) -> ClientConnection:
    given = {"max_size": None, "proxy": None, "compression": None, **fields}
    return connect(f"ws://127.0.0.1:{server.port}{path}", **given)


def closed_with(client: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(5)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


def test_it_works(server: Running) -> None:
    with opened(server, additional_headers={"session_id": "s"}) as client:
        assert client.recv(5) == "True"
        client.send("hä?")
        assert client.recv(5) == "hä?"
        client.send(bytes(3 * MIB))
        assert client.recv(5) == bytes(3 * MIB)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_many_frames_of_any_size_go_out_in_their_order(server: Running, compression: str | None) -> None:
    with opened(server, compression=compression) as client:
        client.recv(5)
        client.send("batch")
        expected = ["x" * size for size in BATCH] + ["y" * size for size in SMALL_BATCH] + ["batch"]
        assert [client.recv(5) for _ in expected] == expected


def test_the_accept_carries_headers(server: Running) -> None:
    with opened(server) as client:
        assert client.response is not None
        assert client.response.headers.get_all("x-greeting") == ["one", "two"]


def test_a_refusal_is_an_answer_of_its_own(server: Running) -> None:
    with pytest.raises(InvalidStatus) as caught:
        opened(server, "/refused")
    response = caught.value.response
    assert (response.status_code, response.headers["x-why"]) == (429, "limit")
    assert response.headers.get_all("content-type") == ["application/json"]
    assert response.body == b'{"error":"busy"}'


@pytest.mark.parametrize(("path", "status"), [("/closed", 403), ("/broken", 500)])
def test_an_application_that_does_not_accept_refuses(server: Running, path: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as caught:
        opened(server, path)
    assert caught.value.response.status_code == status
    assert json.loads(caught.value.response.body or b"")["error"]["message"]


def test_an_application_that_ends_leaves_no_open_socket(server: Running) -> None:
    with opened(server, "/left") as client:
        client.recv(5)
        assert closed_with(client)[0] == 1011


def test_the_application_chooses_the_close_code(server: Running) -> None:
    with opened(server) as client:
        client.recv(5)
        client.send("close")
        assert closed_with(client) == (1012, "a successor is there")


def test_compressed_messages_are_read_and_large_ones_are_written(server: Running) -> None:
    with opened(server, compression="deflate") as client:
        assert "permessage-deflate" in client.response.headers["sec-websocket-extensions"]  # type: ignore[union-attr]
        client.recv(5)
        for text in ("small", "x" * MIB, "small again"):
            client.send(text)
            assert client.recv(5) == text


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_message_over_the_limit_is_named_before_the_socket_closes(
    server: Running, compression: str | None
) -> None:
    with opened(server, compression=compression) as client:
        client.recv(5)
        # The server may have said so, and closed, before all of it is sent.
        with contextlib.suppress(ConnectionClosed):
            client.send(bytes(65 * MIB))
        told = json.loads(client.recv(20))
        assert (told["type"], told["status"]) == ("error", 413)
        assert "64 MiB" in told["error"]["message"]
        assert closed_with(client)[0] == 1009


def test_text_that_is_no_text_closes_the_socket_with_its_own_code(server: Running) -> None:
    with opened(server) as client:
        client.recv(5)
        client.send(b"\xff\xfe", text=True)
        assert closed_with(client)[0] == 1007


def test_messages_of_many_clients_share_the_budget_of_bodies(server: Running) -> None:
    """Announced, not sent: 60 MiB each, where 100 are allowed in flight."""
    frame = b"\x82\xff" + struct.pack(">Q", 60 * MIB) + b"mask" + bytes(100)
    with opened(server) as first, opened(server) as second:
        first.recv(5), second.recv(5)
        first.socket.sendall(frame)
        first.ping().wait(0.2)
        second.socket.sendall(frame)
        assert closed_with(second)[0] == 1013
        first.socket.shutdown(socket.SHUT_RDWR)
    server.wait_for("closed")
    assert has_room(server)


def has_room(server: Running) -> bool:
    """Whether nothing is in flight any more: twice, so that nothing stays of the first either."""
    with opened(server) as client:
        client.recv(5)
        for _ in range(2):
            client.send(bytes(60 * MIB))
            if len(client.recv(20)) != 60 * MIB:
                return False
    return True


def test_a_message_counts_until_the_application_is_done_with_it(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        with opened(server, "/keeps") as keeps, opened(server) as other:
            keeps.recv(5), other.recv(5)
            keeps.send(bytes(60 * MIB))
            assert len(keeps.recv(20)) == 60 * MIB
            with contextlib.suppress(ConnectionClosed):
                other.send(bytes(60 * MIB))
            assert closed_with(other)[0] == 1013
        assert has_room(server)


def test_a_message_counts_as_what_it_is_unpacked(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        with opened(server, "/keeps") as keeps, opened(server, compression="deflate") as packed:
            keeps.recv(5), packed.recv(5)
            keeps.send(bytes(60 * MIB))
            assert len(keeps.recv(20)) == 60 * MIB
            packed.send(bytes(60 * MIB))
            assert closed_with(packed)[0] == 1013
        assert has_room(server)


def test_a_body_that_comes_with_the_upgrade_is_forgotten(server: Running) -> None:
    for _ in range(2):
        with server.connect() as client:
            handshake(client, "/v1/x", bytes(60 * MIB))
    assert has_room(server)


@pytest.mark.parametrize("without", ["sec-websocket-key", "sec-websocket-version"])
def test_a_handshake_that_is_none_is_refused_without_a_fault_of_ours(tmp_path: Path, without: str) -> None:
    with serving(tmp_path) as server:
        with server.connect() as client:
            lines = [line for line in upgrade("/v1/x") if not line.startswith(without)]
            client.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
            assert read_all(client).startswith(b"HTTP/1.1 400 ")
        assert has_room(server)
        assert "Traceback" not in server.log.read_text()


def test_who_reads_slowly_reads_all_before_the_close(tmp_path: Path) -> None:
    """What the kernel still holds of it when the close has waited long enough."""
    with serving(tmp_path) as server, server.connect(receive_buffer=16 * 1024) as client:
        handshake(client, "/v1/x")
        client.sendall(masked(b"much") + masked(b"close"))
        parts = [client.recv(65536)]
        while "closing" not in server.log.read_text():
            parts.append(client.recv(65536))
        time.sleep(2.5)
        answer = b"".join([*parts, read_all(client)])
        assert answer.count(b"z") == 12 * MIB
        assert answer.endswith(b"\x03\xf4a successor is there")


def test_a_client_that_never_reads_holds_the_application_back(tmp_path: Path) -> None:
    with serving(tmp_path) as server, server.connect(receive_buffer=16 * 1024) as client:
        handshake(client, "/socket-flood")
        server.wait_for("produced")
        produced = -1
        while produced != server.produced():
            produced = server.produced()
            time.sleep(0.5)
        assert produced < 32 * MIB


def test_a_client_that_sends_without_end_is_not_read_without_end(tmp_path: Path) -> None:
    with serving(tmp_path) as server, server.connect() as client:
        client.settimeout(0.3)
        handshake(client, "/v1/x")
        client.sendall(masked(b"sleep"))
        server.wait_for("asleep")
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 64 * MIB:
                client.sendall(masked(bytes(256 * 1024)))
                sent += 256 * 1024
        assert sent < 16 * MIB


def test_a_drain_waits_for_the_application_of_a_socket(tmp_path: Path) -> None:
    with serving(tmp_path) as server, opened(server) as client:
        client.recv(5)
        client.send("sleep")
        server.wait_for("asleep")
        server.process.terminate()
        assert client.recv(5) == "sleep"
        client.send("close")
        assert closed_with(client)[0] == 1012
        assert server.process.wait(10) == 0


def upgrade(path: str) -> list[str]:
    return [
        f"GET {path} HTTP/1.1",
        "host: 127.0.0.1",
        "upgrade: websocket",
        "connection: Upgrade",
        "sec-websocket-version: 13",
        "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
    ]


def handshake(client: socket.socket, path: str, body: bytes = b"") -> None:
    lines = [*upgrade(path), f"content-length: {len(body)}"] if body else upgrade(path)
    client.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    assert b" 101 " in client.recv(65536)


def masked(payload: bytes) -> bytes:
    """A text frame under a mask of zeros."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65_536:
        length = b"\xfe" + struct.pack(">H", size)
    else:
        length = b"\xff" + struct.pack(">Q", size)
    return b"\x81" + length + bytes(4) + payload
