"""What a server holds has a bound: memory over churning conversations, idle, and with streams open."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
import time
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path

import pytest

from proxy.events import KEEP_ALIVE_NATIVE
from proxy.simulator import Ok, Simulator
from tests.e2e.asking import RESPONSES, ask, message, opened, send_over, turn
from tests.e2e.conftest import Start
from tests.e2e.server import SERVE, Server, family, until
from tests.faults.conftest import QUIET
from tests.faults.load import loaded
from tests.faults.settled import assert_all_on_record, assert_settled, assert_states
from tests.faults.upstreams import (
    COMPLETED,
    CREATED,
    DELTA,
    LAST_CHUNK,
    Connection,
    chunk,
    chunked_head,
    raw_upstream,
    whole_answer,
)

MIB = 1024 * 1024
IDLE_MIB, OPEN_STREAMS, OPEN_MIB = 150, 200, 300
# What is filled once is full after the first part: caches, pools of connections, the allocator's own.
WARM_UP_S = 10
# With the warm-up two minutes.
SOAK_S = [
    pytest.param(110, marks=pytest.mark.timeout(300)),
    pytest.param(1800, marks=[pytest.mark.full, pytest.mark.timeout(2400)]),
]
GROWTH_MIB = 12
DESCRIPTORS = 120


def resident_mib(server: Server) -> float:
    """With what it shares: the whole of its processes."""
    found = 0
    for pid in family(server.pid):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                found += int(line.split()[1])
    return found / 1024


@pytest.mark.parametrize("seconds", SOAK_S)
def test_memory_is_flat_while_conversations_come_and_go(
    sim: Simulator, prepared: Start, seconds: int
) -> None:
    sim.keep_bodies = False
    sim.journal_limit = 100
    for name in ("ann", "bob"):
        sim.add_account(name)
    server = prepared().start()
    numbers = count()

    def one_of_its_own(number: int) -> dict[str, str]:
        # A name that comes once: nothing may be kept for it for ever.
        return {"session-id": f"conversation-{next(numbers)}", "x-codex-turn-state": f"state-{number}"}

    rested = threading.Event()
    with loaded(server, clients=4, pause_s=0.12, headers=one_of_its_own) as load:
        rested.wait(WARM_UP_S)
        before, asked = server.memory_bytes(), len(load.ended)
        rested.wait(seconds)
        after = server.memory_bytes()
    assert set(load.outcomes()) == {"complete"}
    assert len(load.ended) - asked > 20 * seconds
    assert (after - before) / MIB < GROWTH_MIB
    assert_settled(server)


def test_an_idle_server_and_one_with_two_hundred_streams_fit_their_budget(
    sim: Simulator, prepared: Start
) -> None:
    sim.add_account("only").default = Ok(deltas=400, interval_s=0.1)
    server = prepared().start()
    assert resident_mib(server) <= IDLE_MIB
    with ExitStack() as streams:
        for _ in range(OPEN_STREAMS):
            connection, response = opened(server, turn())
            streams.enter_context(closing(connection))
            assert response.status == 200
        assert resident_mib(server) <= OPEN_MIB
    until(lambda: all(call.closed_by_client for call in sim.responses()), 30, "upstream answers nobody")
    rows = server.wait_for_records(OPEN_STREAMS, 30)
    assert [status for status, *_ in rows] == ["cancelled"] * OPEN_STREAMS
    assert_settled(server)


def test_a_server_without_descriptors_serves_again_as_soon_as_there_are_some(
    sim: Simulator, prepared: Start
) -> None:
    sim.add_account("only")
    free_again = threading.Event()

    def answer(connection: Connection) -> None:
        if "long" in connection.json["input"][0]["content"][0]["text"]:
            connection.send(chunked_head() + chunk(CREATED + DELTA))
            free_again.wait(100)
            connection.send(chunk(COMPLETED) + LAST_CHUNK)
        else:
            whole_answer(connection)

    with raw_upstream(answer) as upstream:
        server = _with_few_descriptors(prepared, f"{upstream.base_url}/backend-api")
        accepted = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        long, response = opened(server, turn(message("long")))
        with closing(accepted), closing(long):
            assert _ask_over(accepted) == 200
            with ExitStack() as held:
                _take_all(server, held)
                # Whom it has let in is told: by an answer, or by a refusal that says so.
                assert _ask_over(accepted) in (200, 503)
            until(lambda: _serves(server), 60, "it serves again")
            free_again.set()
            # Whole, but for what kept it alive meanwhile.
            assert response.read().replace(KEEP_ALIVE_NATIVE, b"") == CREATED + DELTA + COMPLETED
            assert _ask_over(accepted) == 200
    assert_all_on_record(server)
    assert_states(server)
    assert server.stop() == 0


def _with_few_descriptors(prepared: Start, upstream: str) -> Server:
    server = prepared(**QUIET, CODEXPROXY_UPSTREAM_BASE_URL=upstream)
    program = f'ulimit -n {DESCRIPTORS} && exec "{sys.executable}" manage.py serve --port {server.port}'
    assert SERVE[1] in program
    shell = "import os, sys; os.execvp('sh', ['sh', '-c', sys.argv[1]])"
    return server.start(("-c", shell, program))


def _take_all(server: Server, held: ExitStack) -> None:
    """More connections than it has descriptors for: it waits and does not turn round and round."""
    for _ in range(200):
        # The kernel takes them for a server that cannot.
        client = held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        client.sendall(b"GET ")
    # The server keeps one apart, to refuse with.
    until(lambda: len(list(Path(f"/proc/{server.pid}/fd").iterdir())) >= DESCRIPTORS - 2, 30, "all are taken")
    cpu = _cpu_s(server)
    time.sleep(2)
    assert _cpu_s(server) - cpu < 1.5


def _ask_over(connection: http.client.HTTPConnection) -> int:
    body = json.dumps(turn(message("short"))).encode()
    answer = send_over(connection, "POST", RESPONSES, body, {"Content-Type": "application/json"})
    assert answer.status == 200 or answer.error["code"] == "upstream_unavailable", answer
    return answer.status


def _serves(server: Server) -> bool:
    try:
        return ask(server).status == 200
    except OSError:
        return False


def _cpu_s(server: Server) -> float:
    fields = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
