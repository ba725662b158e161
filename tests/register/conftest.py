"""One server for the whole register."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.simulator import Simulator, running
from tests.e2e.server import Server, port_for_later
from tests.register.pool import REVERSE_PROXY, Pool


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    sim = Simulator()
    with running(sim) as upstream:
        environment = {
            "CODEXPROXY_UPSTREAM_BASE_URL": f"{upstream.base_url}/backend-api",
            "CODEXPROXY_AUTH_BASE_URL": upstream.base_url,
            "CODEXPROXY_TRUSTED_PROXIES": REVERSE_PROXY,
            "CODEXPROXY_CALLBACK_PORT": str(port_for_later()),
        }
        server = Server(tmp_path_factory.mktemp("register") / "served", environment)
        try:
            yield Pool(sim, server.start())
            assert server.stop() == 0, server.log
        finally:
            server.kill()
            print(f"--- log of the server\n{server.log[-6000:]}")
