from __future__ import annotations

import json
import socket
import threading
import time

import pytest

from proxy.simulator import Silence, Simulator, running

from .requests_made import credentials, turn_body


def simulators() -> set[threading.Thread]:
    """Other tests of this process may have one of their own running."""
    return {thread for thread in threading.enumerate() if thread.name == "simulator"}


def test_it_stops_at_once_while_a_connection_is_held(sim: Simulator) -> None:
    before = simulators()
    account = sim.accounts["acct-A"]
    account.default = Silence()
    with running(sim) as server:
        connection = socket.create_connection(("127.0.0.1", server.port))
        body = json.dumps(turn_body()).encode()
        head = "".join(f"{name}: {value}\r\n" for name, value in credentials(account).items())
        start = (
            f"POST /backend-api/codex/responses HTTP/1.1\r\nhost: x\r\n{head}content-length: {len(body)}\r\n"
        )
        connection.sendall(start.encode() + b"\r\n" + body)
        while not sim.journal:
            time.sleep(0.01)
        stopping_at = time.monotonic()
    connection.close()
    assert time.monotonic() - stopping_at < 1
    assert simulators() <= before


def test_it_stops_when_the_test_fails(sim: Simulator) -> None:
    before = simulators()
    with pytest.raises(ZeroDivisionError), running(sim):
        _ = 1 / 0
    assert simulators() <= before
