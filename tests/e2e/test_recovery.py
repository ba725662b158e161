"""What an operator does with the server stopped: save a damaged database, replace the key."""

from __future__ import annotations

import pytest

from proxy.simulator import Simulator
from tests.e2e.asking import ask
from tests.e2e.conftest import Start
from tests.e2e.database import IS_POSTGRES, SqliteDatabase


@pytest.mark.skipif(IS_POSTGRES, reason="PostgreSQL has its own tools")
def test_a_damaged_database_is_refused_recovered_and_serves_again(sim: Simulator, serve: Start) -> None:
    sim.add_account("first")
    server = serve()
    assert ask(server).status == 200
    assert server.manage("recover", "--replace").returncode != 0, "it is in use"
    assert server.stop() == 0
    assert isinstance(server.database, SqliteDatabase)
    file_path = server.database.file
    pages = file_path.stat().st_size // 4096
    with file_path.open("r+b") as file:
        file.seek((pages - 2) * 4096)
        file.write(b"\xff" * 4096)

    refused = server.manage("serve", "--port", "0")
    assert refused.returncode != 0
    assert "manage.py recover" in refused.stderr

    recovered = server.manage("recover", "--replace")
    assert recovered.returncode == 0, recovered.stderr
    assert "accounts_account: 1 rows" in recovered.stdout
    server.start()
    assert ask(server).status == 200


def test_the_key_is_replaced_while_nothing_runs_and_the_accounts_serve_on(
    sim: Simulator, serve: Start
) -> None:
    sim.add_account("first")
    server = serve()
    assert ask(server).status == 200
    if not IS_POSTGRES:
        assert "stop the server" in server.manage("rotate_key", "--new").stderr
    assert server.stop() == 0
    before = (server.data_dir / "encryption.key").read_text()
    rotated = server.manage("rotate_key", "--new")
    assert rotated.returncode == 0, rotated.stderr
    assert (server.data_dir / "encryption.key").read_text() != before
    server.start()
    assert ask(server).status == 200
