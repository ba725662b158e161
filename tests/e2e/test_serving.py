"""The other ways to serve, importing while it runs, and the catalogue."""

from __future__ import annotations

import json
import time

from proxy.simulator import RefreshRefused, Simulator
from tests.e2e.asking import Answer, ask, at_once, send, upload
from tests.e2e.conftest import Start
from tests.e2e.server import Server, until

MODELS = "/backend-api/codex/models?client_version=0.169.0"


def test_it_works(sim: Simulator, serve: Start) -> None:
    sim.add_account("only")
    server = serve()
    answer = ask(server)
    assert (answer.status, answer.text) == (200, "Hello from the simulator.")
    assert answer.header("x-request-id")
    assert server.wait_for_records(1) == [("success", 200, None, _account_id(server))]


def _account_id(server: Server) -> str:
    return str(server.query("SELECT id FROM accounts_account")[0][0])


def test_the_alias_with_v1_serves_too(sim: Simulator, serve: Start) -> None:
    sim.add_account("only")
    server = serve()
    body = json.dumps({"model": "gpt-5.5", "input": []}).encode()
    answer = send(server, path="/backend-api/codex/v1/responses", body=body)
    assert (answer.status, answer.text) == (200, "Hello from the simulator.")
    assert sim.violations == []


def test_an_account_imported_over_http_serves_at_once(sim: Simulator, serve: Start) -> None:
    server = serve()
    account = sim.add_account("late")
    assert ask(server).status == 503
    imported = upload(server, json.dumps(account.auth_json()).encode())
    assert (imported.status, imported.json()["email"]) == (200, account.email)
    until(lambda: ask(server).status == 200, 10, "the account serves")


def test_an_import_by_command_reaches_the_running_server(sim: Simulator, serve: Start) -> None:
    server = serve()
    server.import_accounts([sim.add_account("late")])
    until(lambda: ask(server).status == 200, 10, "the account serves")


def test_the_catalogue_passes_whole_with_its_etag(sim: Simulator, serve: Start) -> None:
    sim.models[0]["something_new"] = {"nested": [1, 2]}
    sim.add_account("only")
    server = serve()
    answer = send(server, "GET", MODELS)
    assert answer.status == 200
    assert answer.json() == {"models": sim.models}
    etag = answer.header("etag")
    assert etag
    assert send(server, "GET", MODELS, headers={"If-None-Match": etag}).status == 304
    again = send(server, "GET", MODELS.replace("/models", "/v1/models"))
    assert (again.status, again.body) == (200, answer.body)
    asked = [call.query for call in sim.journal if call.path.endswith("/models")]
    assert asked == [{"client_version": "0.169.0"}]


def test_plain_daphne_serves_the_same_application(sim: Simulator, prepared: Start) -> None:
    sim.add_account("only")
    server = prepared()
    server.start(("-m", "daphne", "-b", "127.0.0.1", "-p", str(server.port), "codexproxy.asgi:application"))
    answer = ask(server)
    assert (answer.status, answer.text) == (200, "Hello from the simulator.")
    assert len(server.wait_for_records(1)) == 1


def test_a_database_in_memory_is_one_for_all(sim: Simulator, serve: Start) -> None:
    account = sim.add_account("only")
    auth = json.dumps(account.auth_json()).encode()
    sim.accounts.clear()  # nothing is imported beforehand: the file database is not the one in use
    server = serve(CODEXPROXY_DATABASE_URL="sqlite://:memory:")
    sim.accounts["only"] = account
    assert upload(server, auth).status == 200

    def page(number: int) -> Answer:
        return send(server, "GET", "/admin/accounts/account/")

    assert ["only@example.com" in answer.body.decode() for answer in at_once(10, page)] == [True] * 10
    until(lambda: ask(server).status == 200, 10, "the account serves")
    assert [answer.status for answer in at_once(10, lambda number: ask(server))] == [200] * 10
    assert server.query("SELECT count(*) FROM accounts_account") == [(0,)]
    # Only a clean end takes the file away.
    assert server.stop() == 0


def test_a_second_start_is_quick(sim: Simulator, serve: Start) -> None:
    first = serve()
    assert first.stop() == 0
    began = time.monotonic()
    first.start()
    assert time.monotonic() - began < 5.0


def test_a_log_of_json_is_an_object_in_each_line_and_names_the_request(sim: Simulator, serve: Start) -> None:
    account = sim.add_account("only")
    server = serve(CODEXPROXY_LOG_FORMAT="json")
    account.end_access()
    account.script_refresh(RefreshRefused.server_error())
    assert ask(server, **{"x-request-id": "rid-1"}).status == 503
    assert server.stop() == 0
    lines = [
        json.loads(line) for line in server.log.splitlines() if not line.startswith("codexproxy is ready")
    ]
    (told,) = (line for line in lines if line["logger"] == "accounts.tokens")
    assert (told["level"], told["request_id"]) == ("WARNING", "rid-1")
    assert "the token was not refreshed" in told["message"] and told["time"].endswith("+00:00")


def test_the_dashboard_is_open_and_shows_the_request(sim: Simulator, serve: Start) -> None:
    sim.add_account("only")
    server = serve()
    assert ask(server).status == 200
    server.wait_for_records(1)
    for path, shown in (
        ("/admin/", "only@example.com"),
        ("/admin/accounts/account/", "only@example.com"),
        ("/admin/requestlogs/requestrecord/", "gpt-5.5"),
    ):
        page = send(server, "GET", path)
        assert page.status == 200 and shown in page.body.decode(), path
