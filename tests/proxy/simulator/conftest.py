from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from proxy.simulator import Served, SimAccount, Simulator, running


@pytest.fixture
def sim() -> Simulator:
    simulator = Simulator()
    simulator.add_account("acct-A", email="a@example.com")
    simulator.add_account("acct-B", email="b@example.com", plan="pro")
    return simulator


@pytest.fixture
def account(sim: Simulator) -> SimAccount:
    return sim.accounts["acct-A"]


@pytest.fixture
def served(sim: Simulator) -> Iterator[Served]:
    with running(sim) as server:
        yield server


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.base_url, timeout=5) as http_client:
        yield http_client
