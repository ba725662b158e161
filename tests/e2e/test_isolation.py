"""Nothing of one account reaches another, and none of it the client."""

from __future__ import annotations

from collections import deque

from proxy.simulator import Fail, Ok, Reply, Simulator
from tests.e2e.asking import ask, message, send, turn
from tests.e2e.conftest import Start


def test_cookies_of_an_account_go_nowhere(sim: Simulator, serve: Start) -> None:
    # One refusal for both to share, so that a refusal's cookies are seen too.
    refusals: deque[Reply] = deque()
    for account in (sim.add_account("first"), sim.add_account("second")):
        cookies = (("set-cookie", f"who={account.id}; Path=/"), ("set-cookie", "__cf_bm=1; Path=/; HttpOnly"))
        account.default = Ok(headers=cookies)
        account.replies = refusals
    refusals.append(Fail(500, {"error": {"message": "x", "code": "server_error"}}, cookies))
    server = serve()
    answers = [ask(server, turn(message(str(number))), Cookie="mine=1") for number in range(24)]
    answers.append(send(server, "GET", "/backend-api/codex/models?client_version=0.169.0"))
    assert [answer.status for answer in answers] == [200] * 25
    assert {call.account_id for call in sim.responses() if call.status == 200} == {"first", "second"}
    assert [answer.header("set-cookie") for answer in answers] == [None] * 25
    assert all("cookie" not in call.headers for call in sim.journal)
    assert sim.violations == []


def test_the_clients_own_sign_in_and_address_stay_here(sim: Simulator, serve: Start) -> None:
    sim.add_account("only")
    server = serve()
    mine = {"x-api-key": "sk-mine", "Authorization": "Bearer sk-mine", "chatgpt-account-id": "mine"}
    assert ask(server, turn(vendor={"unknown": [1]}), originator="codex_exec", **mine).status == 200
    (call,) = sim.responses()
    assert call.headers["originator"] == "codex_exec" and call.body["vendor"] == {"unknown": [1]}
    assert "sk-mine" not in repr(call.headers) and call.headers["chatgpt-account-id"] == "only"
    assert sim.violations == []


def test_underscore_headers_reach_the_proxy(sim: Simulator, serve: Start) -> None:
    """Older Codex versions name their conversation in session_id."""
    sim.add_account("only")
    server = serve()
    assert ask(server, session_id="a-conversation").status == 200
    server.wait_for_records(1)
    assert server.records("conversation") == [("a-conversation",)]
    assert sim.responses()[0].headers.get("session_id") == "a-conversation"
