"""A simulated upstream, a server process in front of it, and the real client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

from proxy.simulator import Served, Simulator, running
from tests.conftest import missing
from tests.e2e.browser import chromium, page, surroundings  # noqa: F401  (fixtures)
from tests.e2e.codex import Codex, find_codex
from tests.e2e.importer import OWN_DATA, Importer, importing
from tests.e2e.looking import looker  # noqa: F401  (fixture)
from tests.e2e.server import Server

Start = Callable[..., Server]


@pytest.fixture
def sim() -> Simulator:
    return Simulator()


@pytest.fixture
def upstream(sim: Simulator) -> Iterator[Served]:
    with running(sim) as served:
        yield served


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Server:
    """With an empty database and its key, to be copied; it is never started."""
    server = Server(tmp_path_factory.mktemp("template"), {})
    done = server.manage("migrate", "--verbosity", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    return server


@pytest.fixture(scope="session")
def migrated(template: Server) -> Path:
    return template.data_dir


@pytest.fixture(scope="session")
def importer(template: Server) -> Iterator[Importer]:
    with importing(template) as found:
        yield found


@pytest.fixture
def prepared(
    sim: Simulator, upstream: Served, migrated: Path, importer: Importer, tmp_path: Path
) -> Iterator[Start]:
    """Makes a server that knows the simulator's accounts and is not started yet. Ends it afterwards."""
    made: list[Server] = []

    def prepare(**environment: str) -> Server:
        settings = {
            "CODEXPROXY_UPSTREAM_BASE_URL": f"{upstream.base_url}/backend-api",
            "CODEXPROXY_AUTH_BASE_URL": upstream.base_url,
            **environment,
        }
        server = Server(tmp_path / f"server{len(made)}", settings, migrated)
        made.append(server)
        if sim.accounts and not environment.keys() & set(OWN_DATA):
            importer.bring(server, sim.accounts.values())
        elif sim.accounts:
            server.import_accounts(sim.accounts.values())
        return server

    yield prepare
    for server in made:
        server.kill()
        print(f"--- log of the server on port {server.port}\n{server.log[-6000:]}")


@pytest.fixture
def serve(prepared: Start) -> Iterator[Start]:
    """Starts a server for the simulator's accounts. At the end a SIGTERM must end it with 0."""
    started: list[Server] = []

    def start(**environment: str) -> Server:
        server = prepared(**environment).start()
        started.append(server)
        return server

    yield start
    for server in started:
        assert server.process is not None
        if server.process.poll() is None:
            assert server.stop() == 0, server.log


@pytest.fixture
def codex_program() -> str:
    program = find_codex()
    if program is None:
        missing("the Codex CLI (scripts/clients installs it)")
    assert program is not None
    return program


@pytest.fixture
def codex(codex_program: str, tmp_path: Path) -> Callable[[str], Codex]:
    return lambda base_url: Codex(codex_program, tmp_path, base_url)


@pytest.fixture
def client(sim: Simulator, serve: Start) -> Iterator[openai.OpenAI]:
    sim.add_account("first")
    server = serve()
    with openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="sk-any", max_retries=0) as client:
        yield client
