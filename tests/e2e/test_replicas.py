"""Two replicas with a data folder each, one PostgreSQL and one nginx in front: what they must agree on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

import psycopg
import pytest
from cryptography.fernet import Fernet

from proxy.simulator import Ok, Refreshed, Simulator
from tests.e2e.asking import ask, at_once, message, send, turn
from tests.e2e.conftest import Start
from tests.e2e.nginx import balanced
from tests.e2e.postgres import postgres
from tests.e2e.server import Server, until
from tests.e2e.test_keys import ask_with, make_key, usage
from tests.e2e.test_limits import limit
from tests.e2e.test_metrics import figure

USAGE_EVERY_S = 2
PASSPHRASE = "a passphrase for this test"


@dataclass
class Replicas:
    """`front` is asked as a server is: its port is nginx's."""

    first: Server
    second: Server
    front: Server

    @property
    def served(self) -> tuple[float, float]:
        return (
            figure(self.first, "codexproxy_requests_total"),
            figure(self.second, "codexproxy_requests_total"),
        )


def shared(url: str) -> dict[str, str]:
    return {"CODEXPROXY_DATABASE_URL": url, "CODEXPROXY_ENCRYPTION_KEY": Fernet.generate_key().decode()}


@pytest.fixture
def replicas(sim: Simulator, prepared: Start, tmp_path: Path) -> Iterator[Replicas]:
    with postgres() as url:
        settings = {
            **shared(url),
            "CODEXPROXY_TRUSTED_PROXIES": "127.0.0.1/32",
            "CODEXPROXY_USAGE_REFRESH_INTERVAL_S": str(USAGE_EVERY_S),
        }
        first, second = prepared(**settings).start(), prepared(**settings).start()
        with balanced([first.port, second.port], tmp_path / "nginx") as port:
            front = first.sibling()
            front.port = port
            yield Replicas(first, second, front)
            for server in (first, second):
                server.kill()


def add(sim: Simulator, replicas: Replicas, *names: str) -> None:
    # Not tried at its import: a token that was renewed a moment ago is not renewed again.
    replicas.first.import_accounts([sim.add_account(name) for name in names])
    for server in (replicas.first, replicas.second):
        until(lambda server=server: ask(server).status == 200, 10, "the accounts are known")
    sim.journal.clear()


def test_a_conversation_stays_on_its_account_whichever_replica_it_reaches(
    sim: Simulator, replicas: Replicas
) -> None:
    add(sim, replicas, "ann", "bob", "cat")
    before = replicas.served
    for number in range(3):
        assert ask(replicas.front, session=f"conversation-{number}").status == 200
    rows = "SELECT count(*) FROM proxy_stickysession WHERE key LIKE '%conversation-%'"
    until(lambda: query(replicas, rows) == 3, 10, "the other replica can look it up")
    for _ in range(5):
        for number in range(3):
            assert ask(replicas.front, session=f"conversation-{number}").status == 200
    accounts: dict[str, set[str | None]] = {}
    for call in sim.responses():
        accounts.setdefault(call.headers["session-id"], set()).add(call.account_id)
    assert {name: len(found) for name, found in accounts.items()} == {
        f"conversation-{number}": 1 for number in range(3)
    }
    assert all(now - then >= 5 for now, then in zip(replicas.served, before, strict=True))


def query(replicas: Replicas, sql: str) -> int:
    with psycopg.connect(replicas.first.environment["CODEXPROXY_DATABASE_URL"]) as connection:
        found = connection.execute(sql.encode()).fetchone()
        return int(found[0]) if found else 0


def test_sixty_at_once_share_one_refresh_and_a_limit_holds_over_both(
    sim: Simulator, replicas: Replicas
) -> None:
    add(sim, replicas, "only")
    sim.refreshes.clear()
    account = sim.accounts["only"]
    account.script_refresh(Refreshed(delay_s=0.5))
    account.end_access()
    answers = at_once(60, lambda number: ask(replicas.front, turn(message(str(number)))))
    assert [answer.status for answer in answers] == [200] * 60, answers[0].body
    assert [(call.account_id, call.status) for call in sim.refreshes] == [("only", 200)]

    account.default = Ok(first_event_s=0.3)
    _, key = make_key(replicas.first, limits=[limit(10)])
    until(lambda: usage(replicas.second, key).status == 200, 10, "the other replica knows the key")
    statuses = [answer.status for answer in at_once(60, lambda number: ask_with(replicas.front, key))]
    assert (statuses.count(200), statuses.count(429)) == (10, 50)
    assert sim.violations == []


def test_one_of_them_does_the_background_jobs(sim: Simulator, replicas: Replicas) -> None:
    add(sim, replicas, "ann")
    polls = until(lambda: seen if len(seen := polled(sim)) >= 4 else None, 30.0, "usage is asked for")
    pauses = [later - earlier for earlier, later in zip(polls, polls[1:], strict=False)]
    # Two that did not know of each other would be half as long apart at times.
    assert min(pauses) > USAGE_EVERY_S / 2
    holders = "SELECT count(DISTINCT holder) FROM accounts_lease WHERE name LIKE '%usage%'"
    assert query(replicas, holders) == 1


def polled(sim: Simulator) -> list[float]:
    return [call.at for call in sim.journal if call.path.endswith("/wham/usage")]


def test_two_that_start_at_the_same_moment_on_an_empty_database_both_become_ready(prepared: Start) -> None:
    with postgres() as url:
        settings = shared(url)
        both = [prepared(**settings), prepared(**settings)]
        for server in both:
            server.launch()
        for server in both:
            server.started()
        for server in both:
            assert server.stop() == 0, server.log


def test_a_form_and_a_program_may_write_through_the_nginx_that_is_shipped(replicas: Replicas) -> None:
    """A browser names the port that it came by, and both are refused when nginx hides it."""
    url = f"{replicas.front.base_url}/admin/backup/"
    origin = {"Origin": replicas.front.base_url}
    cookies = CookieJar()
    browser = build_opener(ProxyHandler({}), HTTPCookieProcessor(cookies))
    browser.open(url, timeout=30).close()
    token = next(cookie.value for cookie in cookies if cookie.name == "codexproxy_csrf")
    fields = urlencode({"csrfmiddlewaretoken": token, "new": PASSPHRASE, "again": PASSPHRASE}).encode()
    with browser.open(Request(url, fields, origin), timeout=30) as answer:
        assert answer.headers["Content-Type"] == "application/octet-stream"
    setting = send(
        replicas.front, "PUT", "/api/settings", b"{}", {"Content-Type": "application/json", **origin}
    )
    assert setting.status == 200, setting.body


def test_a_replica_that_is_killed_takes_nothing_with_it(sim: Simulator, replicas: Replicas) -> None:
    add(sim, replicas, "ann", "bob")
    assert ask(replicas.front, session="kept").status == 200
    rows = "SELECT count(*) FROM proxy_stickysession WHERE key LIKE '%kept%'"
    until(lambda: query(replicas, rows) == 1, 10, "the conversation is written")
    os.kill(replicas.first.pid, signal.SIGKILL)
    until(lambda: replicas.first.readiness() is None, 10, "it is gone")
    answers = at_once(20, lambda number: ask(replicas.front))
    assert [answer.status for answer in answers] == [200] * 20
    assert ask(replicas.front, session="kept").status == 200
    kept = [call.account_id for call in sim.responses() if call.headers.get("session-id") == "kept"]
    assert len(kept) == 2 and len(set(kept)) == 1
    assert replicas.second.stop() == 0
