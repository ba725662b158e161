"""What a client, an operator or the network can get wrong, and how soon and how clearly they hear of it."""

from __future__ import annotations

import gzip
import json
import socket
import time
from contextlib import closing
from typing import Any

import pytest
import zstandard

from proxy.simulator import Simulator
from tests.e2e.asking import RESPONSES, Answer, ask, send, turn, upload
from tests.e2e.conftest import Start
from tests.e2e.server import RECORDS, Server, free_port, until

MIB = 1024 * 1024
BOMB_BYTES = 160 * MIB
JSON = {"Content-Type": "application/json"}
SOON_S = 5.0


def bomb(encoding: str) -> bytes:
    """Far over the limit when unpacked, a few KiB as it is sent."""
    body = b'{"model":"gpt-5.5","input":[],"x":"' + bytes(BOMB_BYTES) + b'"}'
    return zstandard.compress(body) if encoding == "zstd" else gzip.compress(body, 1)


def encoded(encoding: str, body: bytes) -> dict[str, Any]:
    return {"body": body, "headers": {**JSON, "Content-Encoding": encoding}}


CASES: list[tuple[str, dict[str, Any], int]] = [
    ("broken zstd", encoded("zstd", b"not zstd at all"), 400),
    ("broken gzip", encoded("gzip", b"not gzip at all"), 400),
    ("broken brotli", encoded("br", b"\xff\xff not brotli"), 400),
    ("cut zstd", encoded("zstd", zstandard.compress(json.dumps(turn()).encode())[:-9]), 400),
    ("an encoding nobody knows", encoded("snappy", b"{}"), 400),
    ("no JSON", {"body": b"hello", "headers": JSON}, 400),
    ("no UTF-8", {"body": b'{"model":"\xff\xfe","input":[]}', "headers": JSON}, 400),
    ("no object", {"body": b"[1, 2]", "headers": JSON}, 400),
    ("no body", {"body": b"", "headers": JSON}, 400),
    ("no model", {"body": b'{"input":[]}', "headers": JSON}, 400),
    ("a stored response", {"body": json.dumps(turn(previous_response_id="resp_1")).encode()}, 400),
    ("an unknown path", {"method": "POST", "path": "/backend-api/codex/nothing", "body": b"{}"}, 404),
    ("an unknown path under v1", {"method": "GET", "path": "/v1/nothing"}, 404),
    ("a wrong method", {"method": "GET"}, 405),
    ("another wrong method", {"method": "DELETE", "path": "/backend-api/codex/models"}, 405),
]


@pytest.fixture
def server(sim: Simulator, serve: Start) -> Server:
    sim.add_account("only")
    return serve()


def test_each_mistake_has_its_answer_in_the_envelope(server: Server, sim: Simulator) -> None:
    for case, request, status in CASES:
        answer = send(server, **request)
        assert answer.status == status, (case, answer.body)
        assert answer.error["message"], case
        if status == 405:
            assert answer.header("allow") in ("POST", "GET"), case
    assert sim.responses() == []
    assert ask(server).status == 200


@pytest.mark.parametrize("encoding", ["zstd", "gzip"])
def test_a_bomb_is_refused_and_does_not_stay_in_memory(server: Server, sim: Simulator, encoding: str) -> None:
    body = bomb(encoding)
    before = server.memory_bytes()
    answer = send(server, **encoded(encoding, body))
    assert (answer.status, answer.error["code"]) == (413, "payload_too_large")
    assert server.memory_bytes() - before < 200 * MIB
    assert sim.responses() == []


def test_a_body_over_the_limit_is_refused_at_its_headers(server: Server) -> None:
    head = f"POST {RESPONSES} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=SOON_S) as client:
        client.sendall(f"{head}X-Request-Id: mine\r\nContent-Length: {128 * MIB + 1}\r\n\r\n{{".encode())
        answer = _received(client)
    assert answer.status == 413
    assert answer.error["code"] == "payload_too_large"
    assert answer.header("x-request-id") == "mine"


def _received(client: socket.socket) -> Answer:
    """Whatever comes until the whole of the announced body is here."""
    received = b""
    while True:
        head, complete, body = received.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = [tuple(line.split(": ", 1)) for line in lines[1:] if ": " in line]
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), None)
        if complete and length is not None and len(body) >= length:
            return Answer(int(lines[0].split()[1]), [(name, value) for name, value in headers], body[:length])
        block = client.recv(65536)
        assert block, f"closed after {received!r}"
        received += block


def test_an_upstream_that_is_down_is_told_soon(sim: Simulator, prepared: Start) -> None:
    for name in ("first", "second"):
        sim.add_account(name)
    server = prepared(CODEXPROXY_UPSTREAM_BASE_URL=f"http://127.0.0.1:{free_port()}/backend-api").start()
    began = time.monotonic()
    answer = ask(server)
    assert time.monotonic() - began < SOON_S
    assert answer.status in (502, 503) and answer.error["code"]
    began = time.monotonic()
    answer = send(server, "GET", "/backend-api/codex/models")
    assert time.monotonic() - began < SOON_S
    assert answer.status in (502, 503) and answer.error["code"]
    assert [row[0] for row in server.wait_for_records(1)] == ["error"]
    assert server.stop() == 0


def test_an_empty_pool_says_so(serve: Start) -> None:
    server = serve()
    answer = ask(server)
    assert (answer.status, answer.error["code"]) == (503, "no_accounts")
    assert "no account" in answer.error["message"]
    # Codex asks for the models before its first turn, and for as long as it is told an error.
    for path in ("/backend-api/codex/models", "/v1/models"):
        listed = send(server, "GET", f"{path}?client_version=0.169.0")
        assert (listed.status, listed.json(), listed.header("etag")) == (200, {"models": []}, None)


def test_a_broken_auth_file_says_what_is_missing(server: Server) -> None:
    for content, missing in (
        (b"", "empty"),
        (b"not json", "JSON"),
        (b"[]", "object"),
        (b'{"OPENAI_API_KEY": "sk-x"}', "tokens"),
        (b'{"tokens": {}}', "id_token"),
        (b'{"tokens": {"id_token": "a.b.c"}}', "access_token"),
        (b'{"tokens": {"id_token": "a.b.c", "access_token": "a.b.c"}}', "refresh_token"),
    ):
        answer = upload(server, content)
        assert answer.status == 400, (content, answer.body)
        error = answer.json()["error"]
        assert error["code"] == "invalid_auth_json" and missing in error["message"], (content, error)


def test_a_large_body_of_a_stranger_is_refused_before_it_is_sent(sim: Simulator, serve: Start) -> None:
    sim.add_account("ann")
    server = serve()
    head = (
        f"POST /v1/responses HTTP/1.1\r\nHost: localhost:{server.port}\r\nContent-Type: application/json\r\n"
        "Authorization: Bearer sk-cp-wrong\r\nContent-Length: 50000000\r\n\r\n"
    )
    with closing(socket.create_connection(("127.0.0.1", server.port), 10)) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"invalid_api_key" in answer
    query = f"SELECT status_code, path FROM {RECORDS}"
    assert until(lambda: server.query(query), 10, "it is on record") == [(401, "/v1/responses")]
