"""Websockets through the real server, from the handshake to the drain."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from proxy.simulator import Ok, Received, Silence, Simulator
from proxy.simulator.catalogue import etag_of
from proxy.simulator.events import rendered
from tests.codexproxy.test_server_websockets import handshake, masked
from tests.e2e.asking import RESPONSES, message, send, turn, types_of
from tests.e2e.conftest import Start
from tests.e2e.server import Server, until
from tests.e2e.test_keys import KEYS, api, make_key, usage

MIB = 1024 * 1024
Event = dict[str, Any]


def opened(server: Server, path: str = RESPONSES, **headers: str) -> ClientConnection:
    return connect(
        f"ws://127.0.0.1:{server.port}{path}",
        additional_headers={name.replace("_", "-"): value for name, value in headers.items()},
        max_size=None,
        proxy=None,
    )


def frame(*items: dict[str, Any], **fields: Any) -> str:
    return json.dumps({"type": "response.create", **turn(*items, **fields)})


def told(client: ClientConnection) -> list[Event]:
    """The events of one turn, to the terminal one."""
    events: list[Event] = []
    while not events or events[-1]["type"] not in ("response.completed", "response.failed", "error"):
        events.append(json.loads(client.recv(15)))
    return events


@pytest.fixture
def server(sim: Simulator, serve: Start) -> Server:
    sim.add_account("first")
    sim.add_account("second")
    return serve()


def test_it_works(sim: Simulator, server: Server) -> None:
    with opened(server) as client:
        assert client.response is not None
        headers = client.response.headers
        assert headers["x-request-id"] and "permessage-deflate" in headers["sec-websocket-extensions"]
        for text in ("one", "two"):
            client.send(frame(message(text)))
            assert types_of(told(client))[-1] == "response.completed"
    assert server.wait_for_records(2)[0][:2] == ("success", 200)
    assert sim.violations == []


def test_what_upstream_says_of_its_models_is_said_when_the_next_socket_opens(
    sim: Simulator, server: Server
) -> None:
    with opened(server) as client:
        assert client.response is not None and "x-models-etag" not in client.response.headers
        client.send(frame())
        told(client)
    with opened(server) as client:
        assert client.response is not None
        headers = client.response.headers
        # The server that the simulator runs in writes the values of an accept in small letters.
        assert headers["x-models-etag"].lower() == etag_of(sim.models).lower()
        assert headers["x-reasoning-included"] == "true"
        assert float(headers["x-codex-primary-used-percent"]) >= 0


def test_events_arrive_one_by_one(sim: Simulator, server: Server) -> None:
    for account in sim.accounts.values():
        account.default = Ok(deltas=5, interval_s=0.2)
    with opened(server) as client:
        client.send(frame())
        began, at = time.monotonic(), []
        while json.loads(client.recv(5))["type"] != "response.completed":
            at.append(time.monotonic() - began)
    assert at[0] < 0.4 < 0.8 < at[-1]


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        (RESPONSES, {"Origin": "https://evil.example"}, 403, "cross_site_forbidden"),
        (RESPONSES, {"Host": "evil.example", "Origin": "http://evil.example"}, 403, "host_forbidden"),
        (RESPONSES, {"X_Forwarded_For": "203.0.113.9"}, 401, "invalid_api_key"),
        ("/backend-api/codex/elsewhere", {}, 404, "not_found"),
    ],
)
def test_who_may_not_come_in_is_told_before_the_accept(
    server: Server, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    if "Host" in headers:
        answer = raw_refusal(server, path, headers)
        assert f" {status} ".encode() in answer and code.encode() in answer
    else:
        with pytest.raises(InvalidStatus) as caught, opened(server, path, **headers):
            pass
        response = caught.value.response
        assert response.status_code == status
        assert json.loads(response.body or b"")["error"]["code"] == code
    (row,) = server.wait_for_records(1)
    assert row[:3] == ("error", status, code)


def test_who_has_no_key_where_keys_are_required_is_told_before_the_accept(
    sim: Simulator, server: Server
) -> None:
    _, key = make_key(server)
    api(server, "PUT", "/api/settings", {"apiKeyAuthEnabled": True})
    until(lambda: send(server, "GET", "/v1/models").status == 401, 10, "keys are required")
    for path in (RESPONSES, "/v1/responses"):
        with pytest.raises(InvalidStatus) as caught, opened(server, path):
            pass
        response = caught.value.response
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        assert json.loads(response.body or b"")["error"]["code"] == "invalid_api_key"
        with opened(server, path, Authorization=f"Bearer {key}") as client:
            client.send(frame())
            assert types_of(told(client))[-1] == "response.completed"
    assert len(turns(sim)) == 2 and sim.violations == []


def test_a_key_that_ends_between_two_turns_opens_nothing_any_more(sim: Simulator, server: Server) -> None:
    key_id, key = make_key(server)
    with opened(server, Authorization=f"Bearer {key}") as client:
        client.send(frame())
        assert types_of(told(client))[-1] == "response.completed"
        api(server, "PATCH", f"{KEYS}{key_id}", {"isActive": False})
        until(lambda: usage(server, key).status == 401, 10, "the key has ended")
        client.send(frame())
        (refused,) = told(client)
        assert (refused["type"], refused["status"], "status_code" in refused) == ("error", 401, False)
        assert refused["error"]["code"] == "invalid_api_key"
        # The socket stays: a key that is active again serves on it.
        api(server, "PATCH", f"{KEYS}{key_id}", {"isActive": True})
        until(lambda: usage(server, key).status == 200, 10, "the key is active again")
        client.send(frame())
        assert types_of(told(client))[-1] == "response.completed"
    assert len(turns(sim)) == 2


def test_a_key_over_its_limit_is_told_so_in_one_frame(sim: Simulator, server: Server) -> None:
    most = {"limitType": "requests", "limitWindow": "daily", "maxValue": 1}
    _, key = make_key(server, limits=[most])
    with opened(server, Authorization=f"Bearer {key}") as client:
        client.send(frame())
        assert types_of(told(client))[-1] == "response.completed"
        client.send(frame())
        (refused,) = told(client)
    assert (refused["type"], refused["status"], "status_code" in refused) == ("error", 429, False)
    assert refused["error"]["type"] == "usage_limit_reached"
    assert isinstance(refused["error"]["resets_at"], int)
    assert len(turns(sim)) == 1


def turns(sim: Simulator) -> list[Received]:
    return [call for call in sim.responses() if call.method == "WEBSOCKET"]


def raw_refusal(server: Server, path: str, headers: dict[str, str]) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        "upgrade: websocket",
        "connection: Upgrade",
        "sec-websocket-version: 13",
        "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        parts = []
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_a_large_context_passes(sim: Simulator, server: Server) -> None:
    with opened(server) as client:
        client.send(frame(message("x" * (20 * MIB))))
        assert types_of(told(client))[-1] == "response.completed"
    (call,) = turns(sim)
    assert len(call.body["input"][0]["content"][0]["text"]) == 20 * MIB


def test_bad_frames_are_named_and_the_socket_goes_on(sim: Simulator, server: Server) -> None:
    with opened(server) as client:
        for content in ("{", b"binary", '{"type":"response.fly"}'):
            client.send(content)
            (error,) = told(client)
            assert (error["status"], error["error"]["type"]) == (400, "invalid_request_error")
        client.send(frame())
        assert types_of(told(client))[-1] == "response.completed"
        client.send("x" * (65 * MIB))
        (error,) = told(client)
        assert error["status"] == 413
        with pytest.raises(ConnectionClosed):
            client.recv(5)


def test_a_client_that_leaves_closes_the_upstream_socket(sim: Simulator, server: Server) -> None:
    for account in sim.accounts.values():
        account.default = Silence(after=1)
    client = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    handshake(client, RESPONSES)
    client.sendall(masked(frame().encode()))
    until(lambda: len(sim.responses()) == 2, 10, "upstream is asked")
    client.close()
    until(lambda: sim.responses()[0].closed_by_client, 10, "the upstream socket is closed")
    assert [row[0] for row in server.wait_for_records(1)] == ["cancelled"]


def test_a_client_that_never_reads_does_not_grow_the_process(sim: Simulator, server: Server) -> None:
    for account in sim.accounts.values():
        account.default = Ok(deltas=800, delta_bytes=MIB // 4)
    before = server.memory_bytes()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.settimeout(10)
        client.connect(("127.0.0.1", server.port))
        handshake(client, RESPONSES)
        client.sendall(masked(frame().encode()))
        call = until(lambda: len(sim.responses()) == 2 and sim.responses()[1], 10, "upstream is asked")
        until(lambda: call.deltas_sent, 30, "the turn runs")
        # The simulator's own server takes all at once: what counts is what stays out of ours.
        grown, deadline = 0, time.monotonic() + 6
        while time.monotonic() < deadline:
            grown = max(grown, server.memory_bytes() - before)
            time.sleep(0.2)
        assert grown < 48 * MIB, f"grew by {grown / MIB:.0f} MiB"
        assert server.records() == []
    rendered.cache_clear()


def test_a_stop_lets_the_running_turn_finish_and_then_closes_the_socket(
    sim: Simulator, server: Server
) -> None:
    for account in sim.accounts.values():
        account.default = Ok(deltas=10, interval_s=0.1)
    with opened(server) as busy, opened(server) as idle:
        busy.send(frame())
        busy.recv(5)
        server.terminate()
        with pytest.raises(ConnectionClosed) as caught:
            idle.recv(5)
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1012
        assert types_of(told(busy))[-1] == "response.completed"
        with pytest.raises(ConnectionClosed):
            busy.recv(5)
    assert server.wait() == 0, server.log
    assert [row[0] for row in server.records()] == ["success"]


def test_sockets_of_one_account_run_side_by_side(sim: Simulator, server: Server) -> None:
    for account in sim.accounts.values():
        account.default = Ok(deltas=5, interval_s=0.1)
    with ExitStack() as stack:
        clients = [stack.enter_context(opened(server, session_id="one")) for _ in range(12)]
        began = time.monotonic()
        for client in clients:
            client.send(frame())
        threads = [threading.Thread(target=told, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert time.monotonic() - began < 4
    assert len({call.account_id for call in turns(sim)}) == 1, "one conversation"
    assert len({call.connection for call in turns(sim)}) == 12


@pytest.fixture
def plain(sim: Simulator, prepared: Start) -> Iterator[Server]:
    sim.add_account("only")
    server = prepared()
    yield server.start(("-m", "daphne", "-p", str(server.port), "codexproxy.asgi:application"))


def test_plain_daphne_serves_them_too(sim: Simulator, plain: Server) -> None:
    with opened(plain) as client:
        client.send(frame())
        assert types_of(told(client))[-1] == "response.completed"
    with pytest.raises(InvalidStatus) as caught, opened(plain, Origin="https://evil.example"):
        pass
    assert caught.value.response.status_code == 403
    assert sim.violations == []
