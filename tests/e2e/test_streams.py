"""Streams that are left, not read, or open when the server is told to stop."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from contextlib import closing

from proxy.simulator import Ok, Silence, Simulator
from proxy.simulator.events import rendered, rendered_sse
from tests.e2e.asking import RESPONSES, ask, at_once, events_of, opened, send_over, turn, types_of
from tests.e2e.conftest import Start
from tests.e2e.server import until

MIB = 1024 * 1024


def test_events_arrive_one_by_one_and_unaltered(sim: Simulator, serve: Start) -> None:
    sim.add_account("only").default = Ok(deltas=5, interval_s=0.2, rate_limits_event=False)
    server = serve()
    connection, response = opened(server, turn())
    with closing(connection):
        began = time.monotonic()
        blocks = []
        while block := response.read1(65536):
            blocks.append((time.monotonic() - began, block))
    assert response.getheader("content-type", "").startswith("text/event-stream")
    assert blocks[0][0] < 0.5 < 0.7 < blocks[-1][0]
    events = events_of(b"".join(block for _, block in blocks))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = types_of(events)
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert kinds.count("response.output_text.delta") == 5


def test_a_client_that_leaves_closes_the_upstream_and_leaves_one_record(sim: Simulator, serve: Start) -> None:
    sim.add_account("only").default = Ok(deltas=2000, interval_s=0.05)
    server = serve()
    connection, response = opened(server, turn())
    assert response.read1(65536)
    response.close()
    connection.close()
    (call,) = sim.responses()
    until(lambda: call.closed_by_client, 1.0, "the upstream is closed")
    assert [row[0] for row in server.wait_for_records(1)] == ["cancelled"]
    time.sleep(0.3)
    assert len(server.records()) == 1


def test_a_client_that_leaves_before_any_answer_does_too(sim: Simulator, serve: Start) -> None:
    sim.add_account("only").default = Silence()
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(raw_request(turn()))
        call = until(lambda: next(iter(sim.responses()), None), 10, "the upstream is asked")
    until(lambda: call.closed_by_client, 1.0, "the upstream is closed")
    assert [row[0] for row in server.wait_for_records(1)] == ["cancelled"]


def test_a_client_that_never_reads_does_not_grow_the_process(sim: Simulator, serve: Start) -> None:
    account = sim.add_account("only")
    server = serve()
    assert ask(server).status == 200
    account.default = Ok(deltas=800, delta_bytes=MIB // 4)
    before = server.memory_bytes()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.settimeout(10)
        client.connect(("127.0.0.1", server.port))
        client.sendall(raw_request(turn()))
        call = until(lambda: len(sim.responses()) == 2 and sim.responses()[1], 10.0, "the upstream is asked")
        until(lambda: call.deltas_sent, 30.0, "the stream runs")
        sent, grown = -1, 0
        deadline = time.monotonic() + 15
        while call.deltas_sent != sent and time.monotonic() < deadline:
            sent = call.deltas_sent
            time.sleep(1)
            grown = max(grown, server.memory_bytes() - before)
        assert sent < 400 and not call.finished, "the upstream is held back too"
        assert grown < 48 * MIB, f"grew by {grown / MIB:.0f} MiB"
    until(lambda: call.closed_by_client, 2.0, "the upstream is closed")
    rendered.cache_clear()
    rendered_sse.cache_clear()


def test_sigterm_lets_an_open_stream_finish(sim: Simulator, serve: Start) -> None:
    sim.add_account("only").default = Ok(deltas=20, interval_s=0.1)
    server = serve()
    connection, response = opened(server, turn())
    with closing(connection):
        first = response.read1(65536)
        server.terminate()
        rest = response.read()
    assert types_of(events_of(first + rest))[-1] == "response.completed"
    assert server.wait() == 0, server.log
    assert [row[0] for row in server.records()] == ["success"]


def test_while_it_drains_it_is_not_ready(sim: Simulator, serve: Start) -> None:
    sim.add_account("only").default = Ok(deltas=30, interval_s=0.1)
    server = serve()
    connection, response = opened(server, turn())
    with closing(connection):
        assert response.read1(65536)
        server.terminate()
        until(lambda: server.readiness() != 200, 10, "readiness is off")
        assert types_of(events_of(response.read()))[-1] == "response.completed"
    assert server.wait() == 0, server.log


def test_five_hundred_requests_leave_five_hundred_rows(sim: Simulator, serve: Start) -> None:
    sim.add_account("first")
    sim.add_account("second")
    server = serve()
    body, headers = json.dumps(turn()).encode(), {"Content-Type": "application/json"}
    statuses: list[int] = []
    lock = threading.Lock()

    def fifty(number: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
            for _ in range(50):
                status = send_over(connection, "POST", RESPONSES, body, headers).status
                with lock:
                    statuses.append(status)

    threads = [threading.Thread(target=fifty, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert server.stop() == 0, server.log
    assert statuses == [200] * 500
    rows = server.records("status, status_code, input_tokens, output_tokens")
    assert len(rows) == 500
    assert set(rows) == {("success", 200, 100, 9)}


def test_many_first_requests_of_one_conversation_land_on_one_account(sim: Simulator, serve: Start) -> None:
    for name in ("first", "second", "third"):
        sim.add_account(name).default = Ok(first_byte_s=0.2)
    server = serve()
    answers = at_once(12, lambda number: ask(server, session="twins"))
    assert [answer.status for answer in answers] == [200] * 12
    assert len({call.account_id for call in sim.responses()}) == 1


def raw_request(body: dict[str, object], path: str = RESPONSES) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def test_an_answer_says_where_the_time_until_its_first_byte_went(sim: Simulator, serve: Start) -> None:
    sim.add_account("only").default = Ok(deltas=2, first_event_s=0.3)
    server = serve()
    connection, response = opened(server, turn())
    with closing(connection):
        response.read()
    named = (part.strip().split(";dur=") for part in response.getheader("server-timing", "").split(","))
    split = {name: float(ms) for name, ms in named}
    assert list(split) == ["queue", "choose", "connect", "upstream", "own"]
    assert split["connect"] + split["upstream"] >= 300
    assert split["own"] < split["connect"] + split["upstream"]
