"""An install goes into a file, and serves from it somewhere else."""

from __future__ import annotations

import re
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

import msgspec
import pytest
import zstandard

from codexproxy.sealed import SealedWriter
from proxy.simulator import Served, Simulator
from tests.e2e.asking import ask, send
from tests.e2e.conftest import Start
from tests.e2e.database import IS_POSTGRES
from tests.e2e.postgres import postgres
from tests.e2e.server import Server
from tests.e2e.test_keys import make_key

PASSPHRASE = "correct horse battery"


@pytest.fixture
def word(tmp_path: Path) -> str:
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    return str(file)


def elsewhere(tmp_path: Path, upstream: Served, **environment: str) -> Server:
    """A machine where nothing was ever started."""
    base = {
        "CODEXPROXY_UPSTREAM_BASE_URL": f"{upstream.base_url}/backend-api",
        "CODEXPROXY_AUTH_BASE_URL": upstream.base_url,
    }
    return Server(tmp_path / f"elsewhere{len(environment)}", {**base, **environment})


def run(server: Server, *arguments: str) -> str:
    done = server.manage(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def serves(server: Server, key: str) -> None:
    """As the first one did: with its accounts and its client's key."""
    server.start()
    assert ask(server, Authorization=f"Bearer {key}").status == 200
    assert server.stop() == 0, server.log


def test_an_install_that_runs_is_backed_up_and_serves_from_another_database(
    sim: Simulator, serve: Start, upstream: Served, tmp_path: Path, word: str
) -> None:
    sim.add_account("first")
    server = serve()
    _, key = make_key(server)
    assert ask(server, Authorization=f"Bearer {key}").status == 200
    server.wait_for_records(1)
    file = str(tmp_path / "whole.backup")
    run(server, "backup", file, "--passphrase-file", word)

    here = elsewhere(tmp_path, upstream)
    run(here, "restore", file, "--passphrase-file", word)
    assert (here.data_dir / "encryption.key").read_text() != (server.data_dir / "encryption.key").read_text()
    assert here.records() == server.records()
    serves(here, key)

    # And on PostgreSQL; from there back to where it came from.
    with postgres() as url:
        there = elsewhere(tmp_path, upstream, CODEXPROXY_DATABASE_URL=url)
        run(there, "restore", file, "--passphrase-file", word)
        serves(there, key)
        back = str(tmp_path / "back.backup")
        run(there, "backup", back, "--passphrase-file", word)
    run(here, "restore", back, "--replace", "--passphrase-file", word)
    assert len(here.records()) == 2
    serves(here, key)


def test_a_database_in_use_and_a_wrong_passphrase_change_nothing(
    sim: Simulator, serve: Start, tmp_path: Path, word: str
) -> None:
    sim.add_account("first")
    server = serve()
    file = str(tmp_path / "whole.backup")
    run(server, "backup", file, "--passphrase-file", word)
    refused = server.manage("restore", file, "--replace", "--passphrase-file", word)
    assert refused.returncode != 0
    assert "stop every server first" in refused.stderr
    assert server.stop() == 0
    other = tmp_path / "other"
    other.write_text("not that passphrase\n")
    refused = server.manage("restore", file, "--replace", "--passphrase-file", str(other))
    assert "The passphrase is not the one" in refused.stderr
    server.start()
    assert ask(server).status == 200


def test_the_dashboard_hands_the_same_file_out(
    sim: Simulator, serve: Start, upstream: Served, tmp_path: Path, word: str
) -> None:
    sim.add_account("first")
    server = serve()
    browser = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))
    url = f"{server.base_url}/admin/backup/"
    page = browser.open(url, timeout=20).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert token is not None
    fields = {"csrfmiddlewaretoken": token[1], "new": PASSPHRASE, "again": PASSPHRASE}
    with browser.open(url, urlencode(fields).encode(), timeout=20) as answer:
        assert answer.status == 200
        assert "no-store" in answer.headers["Cache-Control"]
        file = tmp_path / "downloaded.backup"
        file.write_bytes(answer.read())
    here = elsewhere(tmp_path, upstream)
    run(here, "restore", str(file), "--passphrase-file", word)
    here.start()
    assert ask(here).status == 200
    assert here.stop() == 0
    assert send(server, "GET", "/health/live").status == 200


@pytest.mark.full
@pytest.mark.skipif(IS_POSTGRES, reason="one of the two is enough")
def test_a_backup_of_an_older_version_is_brought_up_to_date(
    upstream: Served, tmp_path: Path, word: str
) -> None:
    here = elsewhere(tmp_path, upstream)
    run(here, "migrate", "--verbosity", "0")
    had = here.query("SELECT app, name FROM django_migrations")
    old = [node for node in had if node[0] != "usage" or node[1].startswith("0001")]
    at = "2026-11-20T12:00:00Z"
    account = ["id", "email", "status", "created_at", "updated_at"]
    sample = ["id", "account_id", "window", "used_percent", "recorded_at"]
    lines = [
        {"backup": 1, "version": "0.0.1", "made_at": at, "database": "sqlite", "requests": True}
        | {"migrations": old},
        {"table": "accounts.account", "columns": account},
        ["a", "a@example.com", "active", at, at],
        {"rows": 1},
        {"table": "usage.windowsample", "columns": sample},
        [1, "a", "primary", 12.5, at],
        {"rows": 1},
        {"end": 2},
    ]
    with (tmp_path / "old.backup").open("wb") as file:
        writer = SealedWriter(file, PASSPHRASE)
        writer.write(zstandard.compress(b"".join(msgspec.json.encode(line) + b"\n" for line in lines)))
        writer.finish()
    run(here, "restore", str(tmp_path / "old.backup"), "--passphrase-file", word)
    assert here.query("SELECT account_id, used_percent FROM usage_windowsample") == [("a", 12.5)]
    assert sorted(here.query("SELECT app, name FROM django_migrations")) == sorted(had)
