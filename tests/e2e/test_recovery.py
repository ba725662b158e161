"""A damaged database is noticed at the start, and what can be read of it is saved."""

from __future__ import annotations

from proxy.simulator import Simulator
from tests.e2e.asking import ask
from tests.e2e.conftest import Start


def test_a_damaged_database_is_refused_recovered_and_serves_again(sim: Simulator, serve: Start) -> None:
    sim.add_account("first")
    server = serve()
    assert ask(server).status == 200
    assert server.manage("recover", "--replace").returncode != 0, "it is in use"
    assert server.stop() == 0
    pages = server.database.stat().st_size // 4096
    with server.database.open("r+b") as file:
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
