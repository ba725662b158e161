"""The review's critical items."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from proxy.simulator import Simulator, running
from tests.e2e.asking import at_once, send, upload
from tests.e2e.server import Server, family, until

# --- C1: a database in memory is one for all ------------------------------------------------------


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[tuple[Simulator, Server]]:
    sim = Simulator()
    with running(sim) as upstream:
        environment = {
            "CODEXPROXY_DATABASE_URL": "sqlite://:memory:",
            "CODEXPROXY_UPSTREAM_BASE_URL": f"{upstream.base_url}/backend-api",
            "CODEXPROXY_AUTH_BASE_URL": upstream.base_url,
        }
        server = Server(tmp_path / "served", environment)
        try:
            yield sim, server.start()
            if server.process is not None and server.process.poll() is None:
                # Only a clean end takes the file away.
                assert server.stop() == 0, server.log
        finally:
            server.kill()


def test_c1_what_one_connection_writes_all_others_see(in_memory: tuple[Simulator, Server]) -> None:
    sim, server = in_memory
    account = sim.add_account("only")
    assert upload(server, json.dumps(account.auth_json()).encode()).status == 200
    lists = at_once(10, lambda number: send(server, "GET", "/api/accounts"))
    assert [[row["email"] for row in found.json()["accounts"]] for found in lists] == [
        ["only@example.com"]
    ] * 10
    pages = at_once(10, lambda number: send(server, "GET", "/admin/accounts/account/"))
    assert [b"only@example.com" in page.body for page in pages] == [True] * 10
    asked = json.dumps({"model": "gpt-5.5", "input": "hi"}).encode()
    headers = {"Content-Type": "application/json"}

    def ask(number: int = 0) -> int:
        return send(server, "POST", "/v1/responses", asked, headers).status

    until(lambda: ask() == 200, 10, "the account serves")
    with ThreadPoolExecutor(10) as threads:
        assert list(threads.map(ask, range(10))) == [200] * 10
    assert not any(
        words in server.log for words in ("no such table", "database is locked", "table is locked")
    )


def files_in_memory(server: Server) -> set[Path]:
    """The databases of a server that is one for all that it holds open."""
    opened = (Path(f"/proc/{pid}/fd") for pid in family(server.pid))
    targets = {os.readlink(file) for folder in opened for file in folder.iterdir() if file.is_symlink()}
    return {Path(target) for target in targets if target.endswith("/memory.sqlite3")}


def test_c1_the_private_file_is_gone_at_the_end(in_memory: tuple[Simulator, Server]) -> None:
    _, server = in_memory
    (file,) = until(lambda: files_in_memory(server), 10, "it holds its database open")
    assert file.parent.stat().st_mode & 0o077 == 0
    assert server.stop() == 0, server.log
    assert not file.parent.exists()


LOOK = """
import json, threading
from django.db import connection, connections

def asked(*statements):
    with connection.cursor() as cursor:
        return [cursor.execute(statement).fetchone() for statement in statements]

def look():
    found.extend(asked("SELECT word FROM told", "PRAGMA foreign_keys", "PRAGMA synchronous",
                       "PRAGMA busy_timeout"))
    connections.close_all()

found = []
asked("CREATE TABLE told AS SELECT 'seen' AS word")
another = threading.Thread(target=look)
another.start()
another.join()
print(json.dumps([value for row in found for value in row]))
"""


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://:memory:",
        "sqlite://",
        "sqlite://:memory:?cache=shared",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:x?mode=memory&cache=shared",
    ],
)
def test_c1_however_it_is_written_it_is_one_for_all_threads(tmp_path: Path, url: str) -> None:
    server = Server(tmp_path / "served", {"CODEXPROXY_DATABASE_URL": url})
    done = server.manage("shell", "--no-imports", "--command", LOOK)
    assert done.returncode == 0, done.stderr
    # Foreign keys are enforced, synchronous is NORMAL, and a lock is waited for.
    assert json.loads(done.stdout) == ["seen", 1, 1, 5000]


# --- C2: the step that writes plans in one way needs no later column ------------------------------

BEFORE = [("accounts", "0001_initial")]
STEP = [("accounts", "0002_normalize_plan_types")]
PLANS = {"PRO": "pro", " Plus ": "plus", "": "unknown", "education": "education", "FooPlan": "FooPlan"}


@pytest.fixture
def restored() -> Iterator[None]:
    yield
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def migrated(targets: list[tuple[str, str]]) -> MigrationExecutor:
    MigrationExecutor(connection).migrate(targets)
    return MigrationExecutor(connection)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("restored")
def test_c2_plans_of_an_older_database_are_written_in_one_way() -> None:
    accounts = migrated(BEFORE).loader.project_state(BEFORE).apps.get_model("accounts", "Account")
    for number, plan in enumerate(PLANS):
        accounts.objects.create(id=f"a{number}", email="a@example.com", plan_type=plan)
    found = accounts.objects.order_by("id").values_list("plan_type", flat=True)
    for _ in range(2):
        migrated(STEP)
        assert list(found.all()) == list(PLANS.values())
        migrated(BEFORE)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("restored")
def test_c2_the_step_reads_two_columns_and_no_others() -> None:
    accounts = migrated(BEFORE).loader.project_state(BEFORE).apps.get_model("accounts", "Account")
    accounts.objects.create(id="a", email="a@example.com", plan_type="PRO")
    statements: list[str] = []

    def noted(execute: object, sql: str, *rest: object) -> object:
        statements.append(sql)
        return execute(sql, *rest)  # type: ignore[operator]

    with connection.execute_wrapper(noted):
        migrated(STEP)
    about = [
        sql for sql in statements if '"accounts_account"' in sql and sql.startswith(("SELECT", "UPDATE"))
    ]
    assert len(about) == 2
    assert all("email" not in sql and "status" not in sql for sql in about)
