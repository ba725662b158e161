"""Tokens: refreshed once for many, never shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from proxy.simulator import Fail, Refreshed, SimAccount, Simulator
from tests.conftest import ROOT
from tests.e2e.asking import Answer, ask, at_once, message, send, turn, upload
from tests.e2e.conftest import Start
from tests.e2e.server import Server, until

PAGES = (
    "/admin/",
    "/admin/accounts/account/",
    "/admin/accounts/account/{account}/change/",
    "/admin/requestlogs/requestrecord/",
    "/api/accounts",
    "/backend-api/codex/models",
    "/health/ready",
)


def test_thirty_two_at_once_share_one_refresh_of_an_account_that_refuses_all(
    sim: Simulator, serve: Start
) -> None:
    sim.add_account("broken").default = Fail.unauthorized()
    sim.add_account("good")
    server = serve()
    answers = at_once(32, lambda number: ask(server, turn(message(str(number)))))
    assert [answer.status for answer in answers] == [200] * 32
    assert {call.account_id for call in sim.responses()} == {"broken", "good"}
    assert [call.account_id for call in sim.refreshes] == ["broken"]
    assert sim.violations == []


def test_thirty_two_at_once_share_one_refresh_of_an_ended_token(sim: Simulator, serve: Start) -> None:
    account = sim.add_account("only")
    server = serve()
    account.end_access()
    answers = at_once(32, lambda number: ask(server, turn(message(str(number)))))
    assert [answer.status for answer in answers] == [200] * 32
    assert [(call.account_id, call.status) for call in sim.refreshes] == [("only", 200)]
    assert sim.violations == []


def test_an_expired_token_is_refreshed_before_it_is_sent(sim: Simulator, prepared: Start) -> None:
    account = sim.add_account("only")
    account.issue_access_token(time.time() - 60)
    server = prepared().start()
    assert ask(server).status == 200
    assert [call.status for call in sim.responses()] == [200]
    assert len(sim.refreshes) == 1
    assert server.stop() == 0


@pytest.mark.parametrize("is_past_its_end", [True, False])
def test_two_processes_with_fifty_requests_each_share_one_refresh(
    sim: Simulator, serve: Start, is_past_its_end: bool
) -> None:
    account = sim.add_account("only")
    if is_past_its_end:
        account.issue_access_token(time.time() - 60)
    account.script_refresh(Refreshed(delay_s=1.0))
    first = serve()
    second = first.sibling().start()
    if not is_past_its_end:
        account.end_access()
    answers = at_once(100, lambda number: ask((first, second)[number % 2], turn(message(str(number)))))
    assert [answer.status for answer in answers] == [200] * 100
    assert [(call.account_id, call.status) for call in sim.refreshes] == [("only", 200)]
    assert sim.violations == []
    assert second.stop() == 0


def test_a_refresher_killed_before_it_stored_the_token_ends_in_a_sign_in(
    sim: Simulator, prepared: Start
) -> None:
    account = sim.add_account("only")
    first = prepared().start()
    second = first.sibling().start()
    account.end_access()
    _kill_between_answer_and_storing(first, account)
    # Nobody prolongs the lease of the dead: we do not wait for its end but put it into the past.
    second.query("UPDATE accounts_lease SET expires_at = '2020-01-01 00:00:00+00:00'")

    account.end_access()
    refused = [ask(second) for _ in range(5)]

    assert [answer.status for answer in refused] == [503] * 5
    assert "sign-in needed" in refused[-1].error["message"]
    assert [call.status for call in sim.refreshes] == [200, 401], "it is asked once more, and never again"
    assert _status(second) == "reauth_required"
    assert upload(second, json.dumps(account.auth_json()).encode()).status == 200
    assert _status(second) == "active"
    until(lambda: ask(second).status == 200, 10, "the account serves again")
    assert second.stop() == 0


@pytest.mark.parametrize("command", ["serve", "background"])
def test_a_refresh_that_is_on_its_way_at_a_stop_is_stored(
    sim: Simulator, prepared: Start, command: str
) -> None:
    """The background job's, which no client waits for."""
    account = sim.add_account("only")
    account.issue_access_token(time.time() - 60)
    # Longer than a stop waits for a job.
    account.script_refresh(Refreshed(delay_s=6.0))
    server = prepared()
    server.process = subprocess.Popen(
        [sys.executable, "manage.py", command, *(("--port", str(server.port)) if command == "serve" else ())],
        cwd=ROOT,
        env=server.environment,
    )
    until(lambda: sim.refreshes, 60, "upstream is asked for new tokens")
    assert server.stop() == 0
    assert server.query("SELECT generation FROM accounts_credential") == [(2,)]
    assert sim.violations == []


def _kill_between_answer_and_storing(server: Server, account: SimAccount) -> None:
    """The refresh token is spent, and the answer with the next one is lost with the process."""
    sim, spent = account.simulator, account.refresh_token
    account.script_refresh(Refreshed(delay_s=1.0))
    with ThreadPoolExecutor(1) as client:
        lost = client.submit(ask, server)
        until(lambda: sim.refreshes, 10.0, "the lease is taken and upstream is asked")
        with server.database.locked():
            until(lambda: account.refresh_token != spent, 10.0, "upstream has answered")
            os.kill(server.pid, signal.SIGKILL)
            server.wait()
        assert isinstance(lost.exception(), ConnectionError)


def _status(server: Server) -> str:
    return str(server.query("SELECT status FROM accounts_account")[0][0])


def test_no_token_is_in_the_database_the_log_or_any_answer(sim: Simulator, serve: Start) -> None:
    first, second = sim.add_account("first"), sim.add_account("second")
    server = serve()
    auth_files = list((server.folder / "auth").iterdir())
    secrets = {sim.accounts[file.stem].refresh_token for file in auth_files}
    first.end_access()
    second.script(Fail.server_error(), Fail.unauthorized("token_invalidated"))
    answers = [ask(server, turn(message(str(number)))) for number in range(8)]
    answers += [upload(server, file.read_bytes()) for file in auth_files]
    answers += [upload(server, b'{"tokens": {"id_token": "' + first.id_token().encode() + b'"}}')]
    answers += _pages(server)
    assert {200} <= {answer.status for answer in answers}
    assert sim.refreshes

    secrets |= {*sim.access_tokens, *sim.refresh_tokens, *sim.spent_refresh_tokens}
    secrets |= {part for file in auth_files for part in _secrets_of(file.read_text())}
    # A JWT's middle part holds the claims, which are told apart by a number of their own.
    parts = {secret.split(".")[1] if secret.count(".") == 2 else secret for secret in secrets}
    assert len(parts) >= 6
    for when in ("running", "stopped"):
        if when == "stopped":
            assert server.stop() == 0
        for file in sorted(server.data_dir.rglob("*")):
            if file.is_file():
                _assert_free(file.read_bytes(), parts, f"{file.name}, {when}")
    _assert_free(server.log.encode(), parts, "the log")
    for answer in answers:
        _assert_free(answer.body + repr(answer.headers).encode(), parts, f"an answer: {answer.body[:80]!r}")


def _pages(server: Server) -> list[Answer]:
    (account,) = server.query("SELECT id FROM accounts_account LIMIT 1")[0]
    return [send(server, "GET", page.format(account=account)) for page in PAGES]


def _secrets_of(auth_json: str) -> list[str]:
    return [part for part in auth_json.split('"') if len(part) > 100 or part.startswith("rt_")]


def _assert_free(content: bytes, secrets: set[str], where: str) -> None:
    found = [secret[:20] for secret in secrets if secret.encode() in content]
    assert found == [], f"in {where}"
