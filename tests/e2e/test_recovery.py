"""What an operator does with the server stopped: save a damaged database, replace the key."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from proxy.simulator import Simulator
from tests.conftest import ROOT
from tests.e2e.asking import ask
from tests.e2e.conftest import Start
from tests.e2e.database import IS_POSTGRES, SqliteDatabase
from tests.e2e.server import Server


def spoil(path: Path) -> None:
    pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        file.seek((pages - 2) * 4096)
        file.write(b"\xff" * 4096)


@pytest.fixture
def damaged(migrated: Path, tmp_path: Path) -> Server:
    """Never started, in a folder whose name an address would have to quote."""
    server = Server(tmp_path / "data #1? 100%41", {}, migrated)
    assert isinstance(server.database, SqliteDatabase)
    spoil(server.database.file)
    return server


@pytest.mark.skipif(IS_POSTGRES, reason="PostgreSQL has its own tools")
def test_the_copy_may_be_looked_at_before_it_takes_the_place(damaged: Server) -> None:
    file = damaged.data_dir / "codexproxy.sqlite3"
    before = file.read_bytes()
    written = damaged.manage("recover")
    assert written.returncode == 0, written.stderr
    assert file.read_bytes() == before
    copied = damaged.data_dir / "codexproxy-recovered.sqlite3"
    assert f"Written to {copied}. Run again with --replace" in written.stdout
    content = copied.read_bytes()

    assert "exists already" in damaged.manage("recover").stderr
    replaced = damaged.manage("recover", "--replace")
    assert replaced.returncode == 0, replaced.stderr
    assert file.read_bytes() == content and not copied.exists()
    assert [path.read_bytes() for path in damaged.data_dir.glob("*.damaged-*[0-9]")] == [before]


@pytest.mark.skipif(IS_POSTGRES, reason="PostgreSQL has its own tools")
def test_a_copy_of_what_has_changed_since_is_not_taken(damaged: Server) -> None:
    file = damaged.data_dir / "codexproxy.sqlite3"
    copied = damaged.data_dir / "codexproxy-recovered.sqlite3"
    shutil.copy(file, copied)
    earlier = file.stat().st_mtime_ns - 1_000_000_000
    os.utime(copied, ns=(earlier, earlier))
    before = file.read_bytes()
    refused = damaged.manage("recover", "--replace")
    assert refused.returncode != 0
    assert "exists already" in refused.stderr
    assert file.read_bytes() == before


@pytest.mark.skipif(IS_POSTGRES, reason="PostgreSQL has its own tools")
def test_a_disk_that_fills_up_leaves_everything_as_it_was_and_is_named(damaged: Server) -> None:
    file = damaged.data_dir / "codexproxy.sqlite3"
    fill(file, 24 * 1024 * 1024)
    before = file.read_bytes()
    # Enough for an empty install and its log, and too little for what is to be copied.
    limit = 16 * 1024 * 1024
    limited = ["prlimit", f"--fsize={limit}", sys.executable, "manage.py", "recover", "--replace"]
    refused = subprocess.run(
        limited, cwd=ROOT, env=damaged.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert refused.returncode != 0
    assert "The copy could not be written" in refused.stderr and "Make room" in refused.stderr
    assert file.read_bytes() == before
    assert list(damaged.data_dir.glob("*recover*")) == []


def fill(path: Path, size: int) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO django_session VALUES ('key', ?, '2026-01-01')", ("x" * size,))


@pytest.mark.skipif(IS_POSTGRES, reason="PostgreSQL has its own tools")
def test_a_damaged_database_is_refused_recovered_and_serves_again(sim: Simulator, serve: Start) -> None:
    sim.add_account("first")
    server = serve()
    assert ask(server).status == 200
    assert server.manage("recover", "--replace").returncode != 0, "it is in use"
    assert server.stop() == 0
    assert isinstance(server.database, SqliteDatabase)
    spoil(server.database.file)

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
