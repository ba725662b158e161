"""An upstream that is slow, breaks off, says nothing, says too much or says nonsense."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest

from proxy.simulator import Ok, Simulator
from tests.e2e.asking import Answer, ask, at_once, events_of, message, send, turn, types_of
from tests.e2e.conftest import Start
from tests.e2e.server import Server, free_port, until
from tests.faults.conftest import QUIET
from tests.faults.settled import assert_settled
from tests.faults.upstreams import (
    COMPLETED,
    CREATED,
    DELTA,
    LAST_CHUNK,
    Connection,
    RawUpstream,
    chunk,
    chunked_head,
    event,
    head,
    raw_upstream,
    whole_answer,
)

MIB = 1024 * 1024
InFrontOf = Callable[..., tuple[Server, RawUpstream]]
ANSWER = CREATED + DELTA + COMPLETED
# What is never told apart from "soon" on a machine that does other things too.
SOON_S = 5.0


def failed(answer: Answer) -> str:
    """The code with which an answer tells of its failure: as a refusal, or at the end of its stream."""
    if answer.status != 200:
        return str(answer.error["code"])
    events = answer.events
    assert events[-1]["type"] == "response.failed", events[-1]
    return str(events[-1]["response"]["error"]["code"])


def told(server: Server, number: int = 1) -> list[tuple[str, str | None]]:
    rows = server.wait_for_records(number)
    return [(status, error_code) for status, _, error_code, _ in rows]


# --- slow ---------------------------------------------------------------------------------------


def test_an_answer_that_comes_in_single_bytes_arrives_whole(in_front_of: InFrontOf) -> None:
    def one_by_one(connection: Connection) -> None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in chunked_head() + chunk(ANSWER) + LAST_CHUNK:
            connection.send(bytes([byte]))
            time.sleep(0.0005)

    server, upstream = in_front_of(one_by_one)
    answers = at_once(4, lambda number: ask(server))
    assert [answer.body for answer in answers] == [ANSWER] * 4
    assert told(server, 4) == [("success", None)] * 4
    assert_settled(server, upstream)


def test_a_slow_answer_holds_up_nobody_else(in_front_of: InFrontOf) -> None:
    quick: list[int] = []
    all_quick = Event()
    waited: list[bool] = []

    def slow_for_some(connection: Connection) -> None:
        if "slow" in connection.json["input"][0]["content"][0]["text"]:
            connection.send(chunked_head() + chunk(CREATED + DELTA))
            waited.append(all_quick.wait(20))
            connection.send(chunk(COMPLETED) + LAST_CHUNK)
        else:
            whole_answer(connection)

    server, upstream = in_front_of(slow_for_some)

    def asked(number: int) -> Answer:
        if number < 10:
            return ask(server, turn(message("slow")))
        answer = ask(server, turn(message("quick")))
        quick.append(number)
        if len(quick) == 10:
            all_quick.set()
        return answer

    assert {answer.body for answer in at_once(20, asked)} == {ANSWER}
    assert waited == [True] * 10, "the quick ones were answered first"
    assert_settled(server, upstream)


# --- cut ----------------------------------------------------------------------------------------


def _cut_at(connection: Connection) -> None:
    """After as many bytes of the answer as the request's text says; "reset" breaks the connection too."""
    how, position = connection.json["input"][0]["content"][0]["text"].split()
    connection.send(chunked_head() + chunk(ANSWER[: int(position)]))
    if how == "reset":
        connection.reset()


@pytest.mark.parametrize("how", ["end", "reset"])
def test_an_answer_may_be_cut_at_every_byte(in_front_of: InFrontOf, how: str) -> None:
    server, upstream = in_front_of(_cut_at)
    positions = range(1, len(ANSWER))

    def asked(first: int) -> list[tuple[int, Answer]]:
        return [
            (position, ask(server, turn(message(f"{how} {position}"))))
            for position in list(positions)[first::6]
        ]

    found: dict[int, Answer] = {}
    for answers in _in_threads(6, asked):
        found.update(answers)
    judged = len(CREATED) + len(DELTA)
    for position, answer in sorted(found.items()):
        code = failed(answer)
        if position < judged:
            assert answer.status in (502, 503), position
            assert code in ("upstream_unavailable", "stream_incomplete"), position
        else:
            assert (answer.status, code) == (200, "stream_incomplete"), position
            assert answer.body.startswith(CREATED + DELTA), position
            assert types_of(answer.events) == [
                "response.created",
                "response.output_text.delta",
                "response.failed",
            ]
    assert len(found) == len(positions)
    statuses = told(server, len(positions))
    assert {status for status, _ in statuses} == {"error"} and len(statuses) == len(positions)
    assert_settled(server, upstream)


def _in_threads(number: int, do: Callable[[int], list[tuple[int, Answer]]]) -> list[list[tuple[int, Answer]]]:
    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(do, range(number)))


def test_an_answer_that_is_cut_before_it_began_comes_from_another_account(in_front_of: InFrontOf) -> None:
    # The first try and its second chance; then the other account is asked.
    cuts = iter([len(CREATED) // 2, len(CREATED)])

    def twice(connection: Connection) -> None:
        position = next(cuts, None)
        if position is None:
            whole_answer(connection)
        else:
            connection.send(chunked_head() + chunk(ANSWER[:position]))
            connection.reset()

    server, upstream = in_front_of(twice, accounts=3)
    answer = ask(server)
    assert (answer.status, answer.body) == (200, ANSWER)
    assert told(server) == [("success", None)]
    assert_settled(server, upstream)


def test_a_cut_after_the_last_event_is_no_failure(in_front_of: InFrontOf) -> None:
    def no_end(connection: Connection) -> None:
        connection.send(chunked_head() + chunk(ANSWER))
        connection.reset()

    server, upstream = in_front_of(no_end)
    for _ in range(5):
        assert ask(server).body == ANSWER
    assert told(server, 5) == [("success", None)] * 5
    assert_settled(server, upstream)


# --- half-open ----------------------------------------------------------------------------------


# As impatient as the settings allow.
LEAST_SILENCE_S = 30
SAID = (b"", chunked_head(), chunked_head() + chunk(CREATED), chunked_head() + chunk(CREATED + DELTA))


def _silent(connection: Connection) -> None:
    """After as much as the request's text says."""
    connection.send(SAID[int(connection.json["input"][0]["content"][0]["text"])])
    connection.wait()


@pytest.mark.full
def test_an_upstream_that_falls_silent_is_given_up_with_a_word(in_front_of: InFrontOf) -> None:
    server, upstream = in_front_of(_silent, accounts=1)
    wanted = json.dumps({"upstreamSilenceSeconds": LEAST_SILENCE_S}).encode()
    changed = send(server, "PUT", "/api/settings", wanted, {"Content-Type": "application/json"})
    assert changed.status == 200, changed.body
    # Every process knows it by then.
    time.sleep(2)
    began = time.monotonic()
    answers = at_once(len(SAID), lambda number: ask(server, turn(message(str(number)))))
    assert LEAST_SILENCE_S - 1 < time.monotonic() - began < LEAST_SILENCE_S + 10
    assert [failed(answer) for answer in answers] == ["stream_idle_timeout"] * len(SAID)
    assert CREATED + DELTA in answers[-1].body
    assert told(server, len(SAID)) == [("error", "stream_idle_timeout")] * len(SAID)
    assert_settled(server, upstream)


def test_whoever_leaves_a_silent_upstream_closes_its_connection(in_front_of: InFrontOf) -> None:
    server, upstream = in_front_of(_silent)
    content = json.dumps(turn(message("3"))).encode()
    start = f"POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
    clients = []
    for _ in range(20):
        client = socket.create_connection(("127.0.0.1", server.port), 10)
        client.sendall(start.encode() + content)
        clients.append(client)
    until(lambda: upstream.open_connections == 20, 10, "all are asked")
    for client in clients:
        client.close()
    until(lambda: upstream.open_connections == 0, 10, "all are closed")
    assert [status for status, _ in told(server, 20)] == ["cancelled"] * 20
    assert_settled(server, upstream)


@pytest.mark.full
def test_an_upstream_that_takes_no_connection_is_told_of_after_ten_seconds(
    sim: Simulator, prepared: Start
) -> None:
    sim.add_account("only")
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as listener:
        port = listener.getsockname()[1]
        # Its queue is full: further ones are not answered at all.
        held = [socket.socket() for _ in range(4)]
        for each in held:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        time.sleep(0.2)
        url = f"http://127.0.0.1:{port}/backend-api"
        server = prepared(**QUIET, CODEXPROXY_UPSTREAM_BASE_URL=url).start()
        began = time.monotonic()
        answer = ask(server)
        assert 9 < time.monotonic() - began < 15
        assert failed(answer) in ("upstream_unavailable", "stream_idle_timeout")
        for each in held:
            each.close()
    assert_settled(server)


# --- too much, and nonsense ----------------------------------------------------------------------


def test_an_event_without_an_end_is_cut_off_and_not_kept(in_front_of: InFrontOf) -> None:
    """Before the answer has begun and after it."""

    def endless(connection: Connection) -> None:
        started = CREATED + DELTA if connection.json["input"][0]["content"][0]["text"] == "late" else CREATED
        connection.send(chunked_head() + chunk(started + b'data: {"type":"response.output_text.delta","x":"'))
        for _ in range(24):
            connection.send(chunk(b"x" * MIB))
        connection.wait()

    server, upstream = in_front_of(endless, accounts=1)
    # A first request, so that what one takes in any case is there.
    assert failed(ask(server, turn(message("early")))) == "stream_event_too_large"
    before = server.memory_bytes()
    for when in ("early", "late", "early", "late"):
        assert failed(ask(server, turn(message(when)))) == "stream_event_too_large"
    assert server.memory_bytes() - before < 64 * MIB
    assert [code for _, code in told(server, 5)] == ["stream_event_too_large"] * 5
    assert_settled(server, upstream)


def test_a_large_event_within_the_limit_passes(in_front_of: InFrontOf) -> None:
    large = event("response.output_text.delta", delta="x" * (12 * MIB))

    def answer(connection: Connection) -> None:
        connection.send(head() + CREATED + large + COMPLETED)

    server, upstream = in_front_of(answer)
    assert ask(server).body == CREATED + large + COMPLETED
    assert_settled(server, upstream)


DEEP = b"[" * 200_000
NONSENSE: dict[str, bytes] = {
    "no HTTP": b"hello\r\n\r\n",
    "nothing": b"",
    "a header without an end": b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000,
    "a wrong chunk": chunked_head() + b"zz\r\nhello\r\n",
    "a length that is none": head(content_length="many") + ANSWER,
    "a body that is too short": head(content_length="999999") + CREATED,
    "gzip that nobody asked for": head(content_encoding="gzip") + gzip.compress(ANSWER),
    "an empty body": head(content_length="0"),
    "a page": head(content_type="text/html") + b"<html>Just a moment...</html>",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a redirect": head("302 Found", location="http://example.invalid/") + b"",
    "events that are no JSON": head() + b"data: {nonsense\n\ndata: \xff\xfe\n\n",
    "bytes": head() + bytes(range(256)) * 64,
    "a deep event": head() + b'data: {"type":"x","y":' + DEEP + b"\n\n",
    "a deep refusal": head("500 Oops", "application/json") + b'{"error":' + DEEP,
    "a refusal that is no JSON": head("503 Busy", "application/json") + b'{"error":',
    "a status nobody knows": head("799 What", "application/json") + b"{}",
}


# A refusal's own status is kept, whatever its body is; one that no server may send is a gateway's.
OWN_STATUS = {"a deep refusal": 500, "a refusal that is no JSON": 503}


@pytest.mark.parametrize("native", [True, False])
def test_nonsense_is_a_failure_of_upstream_and_nothing_else(in_front_of: InFrontOf, native: bool) -> None:
    def nonsense(connection: Connection) -> None:
        connection.send(NONSENSE[connection.json["input"][0]["content"][0]["text"]])

    server, upstream = in_front_of(nonsense, accounts=1)
    path = "/backend-api/codex/responses" if native else "/v1/responses"
    for name in NONSENSE:
        began = time.monotonic()
        body = json.dumps(turn(message(name))).encode()
        answer = send(server, path=path, body=body, headers={"Content-Type": "application/json"})
        expected = {OWN_STATUS[name]} if name in OWN_STATUS else {502, 503}
        assert answer.status in expected, (name, answer)
        assert answer.error["code"] and answer.error["code"] != "internal_error", (name, answer.body)
        assert time.monotonic() - began < SOON_S, name
    assert {status for status, _ in told(server, len(NONSENSE))} == {"error"}
    assert_settled(server, upstream)


LATE: dict[str, bytes] = {
    "no JSON": b"data: {nonsense\n\n",
    "no UTF-8": b"data: \xff\xfe\n\n",
    "no event": b"hello\n\n",
    "deep": b'data: {"type":"x","y":' + DEEP + b"}\n\n",
    "deep, and it names the end": b'data: {"type":"response.completed","response":' + DEEP + b"}\n\n",
    "a completed that is no object": b'data: "response.completed"\n\n',
    "limits that are none": b'data: {"type":"codex.rate_limits","rate_limits":[1]}\n\n',
    "limits that are no JSON": b'data: {"type":"codex.rate_limits", oops\n\n',
    "an error that is none": b'data: {"type":"x","error":7}\n\n',
}


@pytest.mark.parametrize("path", ["/backend-api/codex/responses", "/v1/responses", "/v1/chat/completions"])
def test_nonsense_in_the_middle_of_an_answer_keeps_nobody_from_its_end(
    in_front_of: InFrontOf, path: str
) -> None:
    def nonsense(connection: Connection) -> None:
        said = LATE[connection.json["input"][0]["content"][0]["text"]]
        connection.send(head() + CREATED + DELTA + said + DELTA + COMPLETED)

    server, upstream = in_front_of(nonsense, accounts=1)
    for name in LATE:
        if "chat" in path:
            asked = {"model": "gpt-5.5", "stream": True, "messages": [{"role": "user", "content": name}]}
        else:
            asked = turn(message(name))
        headers = {"Content-Type": "application/json"}
        answer = send(server, path=path, body=json.dumps(asked).encode(), headers=headers)
        assert answer.status == 200, (name, answer)
        end = b"data: [DONE]" if "chat" in path else b'"response.completed"'
        assert end in answer.body[-600:], (name, answer.body[-600:])
    assert {status for status, _ in told(server, len(LATE))} == {"success"}
    assert_settled(server, upstream)


# --- not to be reached ---------------------------------------------------------------------------


def _unreachable(sim: Simulator, prepared: Start, url: str) -> tuple[Server, Answer]:
    for name in ("first", "second"):
        sim.add_account(name)
    server = prepared(**QUIET, CODEXPROXY_UPSTREAM_BASE_URL=f"{url}/backend-api").start()
    began = time.monotonic()
    answer = ask(server)
    assert time.monotonic() - began < 2 * SOON_S
    assert (answer.status, answer.error["code"]) == (503, "upstream_unavailable")
    models = send(server, "GET", "/backend-api/codex/models")
    assert models.status == 503 and models.error["code"]
    assert told(server) == [("error", "upstream_unavailable")]
    # Nobody is shut out for it either: the accounts can do nothing about it.
    assert_settled(server)
    return server, answer


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """Of nobody's authority."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"]
    subprocess.run(
        [*command, "-keyout", "key.pem", "-out", "cert.pem"], cwd=tmp_path, check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


def test_a_certificate_that_nobody_vouches_for_is_not_accepted(
    sim: Simulator, prepared: Start, certificate: ssl.SSLContext
) -> None:
    with raw_upstream(whole_answer, certificate) as upstream:
        _, answer = _unreachable(sim, prepared, upstream.base_url)
    assert upstream.turns == 0, "no token may go there"
    assert "certificate" in answer.error["message"].lower()


def test_a_port_that_speaks_no_tls_is_told_of(sim: Simulator, prepared: Start) -> None:
    with raw_upstream(whole_answer) as upstream:
        _unreachable(sim, prepared, upstream.base_url.replace("http:", "https:"))
    assert upstream.turns == 0


@pytest.mark.full
def test_a_handshake_that_does_not_end_is_given_up(sim: Simulator, prepared: Start) -> None:
    sim.add_account("only")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/backend-api"
        server = prepared(**QUIET, CODEXPROXY_UPSTREAM_BASE_URL=url).start()
        began = time.monotonic()
        assert failed(ask(server)) == "upstream_unavailable"
        assert 9 < time.monotonic() - began < 20
    assert_settled(server)


def test_a_name_that_does_not_resolve_is_told_of(sim: Simulator, prepared: Start) -> None:
    _, answer = _unreachable(sim, prepared, "http://upstream.invalid")
    assert "upstream.invalid" in answer.error["message"]


def test_when_upstream_is_back_everything_is_as_before(sim: Simulator, prepared: Start) -> None:
    for name in ("first", "second"):
        sim.add_account(name).default = Ok()
    port = free_port()
    url = f"http://127.0.0.1:{port}/backend-api"
    server = prepared(**QUIET, CODEXPROXY_UPSTREAM_BASE_URL=url).start()
    answers = at_once(12, lambda number: ask(server))
    assert {answer.status for answer in answers} == {503}
    with closing(socket.create_server(("127.0.0.1", port))) as listener:
        listener.settimeout(10)

        # As patient as it has to be: errors in a row keep no account out when there is no other.
        def serve_one() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(head() + ANSWER)

        thread = Thread(target=serve_one)
        thread.start()
        assert ask(server).body == ANSWER
        thread.join(10)
    assert events_of(ANSWER)[-1]["type"] == "response.completed"
    assert_settled(server)
