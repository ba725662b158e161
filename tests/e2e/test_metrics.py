"""Figures for Prometheus over several processes of one server."""

from __future__ import annotations

import os
import signal

from prometheus_client.parser import text_string_to_metric_families

from proxy.simulator import Simulator
from tests.e2e.asking import ask, at_once, send
from tests.e2e.conftest import Start
from tests.e2e.server import SERVE, Server, until


def figure(server: Server, name: str) -> float:
    """Of whichever worker is asked; all labels together."""
    text = send(server, "GET", "/metrics").body.decode()
    families = text_string_to_metric_families(text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def workers_of(server: Server) -> list[int]:
    with open(f"/proc/{server.pid}/task/{server.pid}/children") as children:
        return [int(pid) for pid in children.read().split()]


def test_any_worker_answers_for_all_and_what_was_counted_survives_one(
    sim: Simulator, prepared: Start
) -> None:
    sim.add_account("ann")
    server = prepared()
    server.start((*SERVE, "--port", str(server.port), "--workers", "2"))
    assert {answer.status for answer in at_once(12, lambda number: ask(server))} == {200}
    asked = [figure(server, "codexproxy_requests_total") for _ in range(6)]
    assert asked == [12.0] * 6
    assert figure(server, "codexproxy_open_requests") == 0

    os.kill(workers_of(server)[0], signal.SIGKILL)
    until(lambda: len(workers_of(server)) == 2 and "ended with -9" in server.log, 20, "it is replaced")
    until(lambda: server.readiness() == 200, 20, "it serves")
    assert figure(server, "codexproxy_requests_total") == 12
    assert figure(server, "codexproxy_attempts_total") == 12
    assert server.stop() == 0
