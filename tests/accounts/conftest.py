"""A simulated sign-in service for the tests that sign in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from proxy.simulator import Simulator, running


@pytest.fixture
def sim(settings: Any) -> Iterator[Simulator]:
    simulator = Simulator()
    simulator.add_account("ann", email="ann@example.com")
    simulator.add_account("bob", email="bob@example.com", plan="pro")
    with running(simulator) as served:
        settings.AUTH_BASE_URL = served.base_url
        yield simulator
