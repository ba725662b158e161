"""A server that things happen to: the processes are those of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from proxy.simulator import Simulator
from tests.e2e.conftest import (  # noqa: F401  (fixtures)
    Start,
    importer,
    migrated,
    prepared,
    serve,
    sim,
    template,
    upstream,
)
from tests.e2e.server import Server
from tests.faults.upstreams import RawUpstream, Script, raw_upstream

# Nobody asks upstream but the test's own clients.
QUIET = {"CODEXPROXY_USAGE_REFRESH_INTERVAL_S": "0"}


@pytest.fixture
def in_front_of(sim: Simulator, prepared: Start) -> Iterator[Callable[..., tuple[Server, RawUpstream]]]:  # noqa: F811
    """Starts a server with two accounts whose upstream does as the script says."""
    opened = []

    def start(script: Script, *, accounts: int = 2, **environment: str) -> tuple[Server, RawUpstream]:
        context = raw_upstream(script)
        upstream = context.__enter__()  # noqa: F811
        opened.append(context)
        for number in range(accounts):
            sim.add_account(f"account{number}")
        url = f"{upstream.base_url}/backend-api"
        server = prepared(**{**QUIET, "CODEXPROXY_UPSTREAM_BASE_URL": url, **environment}).start()
        return server, upstream

    yield start
    for context in opened:
        context.__exit__(None, None, None)
