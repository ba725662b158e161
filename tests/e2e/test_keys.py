"""API keys from outside: who may come in, what a key may ask, and how fast it ends."""

from __future__ import annotations

import json
from typing import Any

from proxy.simulator import Simulator
from tests.e2e.asking import Answer, send, turn
from tests.e2e.conftest import Start
from tests.e2e.server import Server, until

KEYS = "/api/api-keys/"
JSON = {"Content-Type": "application/json"}


def api(server: Server, method: str, path: str, payload: Any = None) -> Any:
    body = None if payload is None else json.dumps(payload).encode()
    answer = send(server, method, path, body, JSON)
    assert answer.status < 300, answer.body
    return answer.json() if answer.body else None


def make_key(server: Server, **fields: Any) -> tuple[int, str]:
    made = api(server, "POST", KEYS, {"name": "test", **fields})
    key = made["key"]
    # It opens what needs a key as soon as every process knows it.
    until(lambda: usage(server, key).status == 200, 10, "the key is known")
    return made["id"], key


def usage(server: Server, key: str) -> Answer:
    return send(server, "GET", "/v1/usage", headers={"x-api-key": key})


def ask_with(server: Server, key: str, path: str = "/backend-api/codex/responses", **fields: Any) -> Answer:
    headers = {**JSON, "Authorization": f"Bearer {key}"}
    return send(server, "POST", path, json.dumps(turn(**fields)).encode(), headers)


def test_it_works(sim: Simulator, serve: Start) -> None:
    sim.add_account("only")
    server = serve()
    key_id, key = make_key(server)
    assert ask_with(server, key).text == "Hello from the simulator."
    server.wait_for_records(1)
    assert server.records("status, api_key_id") == [("success", key_id)]
    used = usage(server, key).json()
    assert (used["request_count"], used["limits"]) == (1, [])
    assert used["total_tokens"] > 0
    assert used["account_pool_usage"]["primary"] is not None
    upstream = {limit["limit_window"]: limit for limit in used["upstream_limits"]}
    assert upstream["5h"]["limit_type"] == "credits" and upstream["5h"]["max_value"] > 0
    # The key stays here: upstream sees the account's own sign-in.
    assert all(key not in str(call.headers) for call in sim.journal)
    assert sim.violations == []


def test_a_key_that_is_disabled_ends_within_two_seconds(sim: Simulator, serve: Start) -> None:
    sim.add_account("only")
    server = serve()
    key_id, key = make_key(server)
    assert ask_with(server, key).status == 200
    api(server, "PATCH", f"{KEYS}{key_id}", {"isActive": False})
    until(lambda: ask_with(server, key).status == 401, 2.0, "the key opens nothing")
    refused = ask_with(server, key)
    assert (refused.error["code"], refused.error["type"]) == ("invalid_api_key", "authentication_error")
    assert "disabled" in refused.error["message"]
    api(server, "DELETE", f"{KEYS}{key_id}")
    until(lambda: "Invalid" in ask_with(server, key).error["message"], 10, "the key is unknown")


def test_what_a_key_may_ask(sim: Simulator, serve: Start) -> None:
    sim.add_account("only")
    server = serve()
    _, key = make_key(server, allowedModels=["gpt-5.5"], enforcedReasoningEffort="low")
    refused = ask_with(server, key, model="gpt-5.4")
    assert (refused.status, refused.error["code"]) == (403, "model_not_allowed")
    for path in ("/backend-api/codex/responses", "/v1/responses"):
        assert ask_with(server, key, path, reasoning={"effort": "high"}).status == 200
    bodies = [call.body for call in sim.responses()]
    assert [body["reasoning"]["effort"] for body in bodies] == ["low", "low"]
    listed = send(server, "GET", "/v1/models", headers={"x-api-key": key}).json()["data"]
    assert [model["id"] for model in listed] == ["gpt-5.5", "gpt-5.5-low"]
    path = "/backend-api/codex/models?client_version=0.169.0"
    catalogue = send(server, "GET", path, headers={"x-api-key": key})
    whole = send(server, "GET", path)
    assert [model["slug"] for model in catalogue.json()["models"]] == ["gpt-5.5"]
    assert catalogue.header("etag") != whole.header("etag")
    assert len(whole.json()["models"]) > 1


def test_what_is_no_turn_asks_no_other_model_either(sim: Simulator, serve: Start) -> None:
    sim.add_account("only")
    server = serve()
    path = "/backend-api/codex/memories/trace_summarize"

    def summarized(key: str, model: str) -> Answer:
        body = json.dumps({"model": model, "raw_memories": []}).encode()
        return send(server, "POST", path, body, {**JSON, "x-api-key": key})

    _, key = make_key(server, allowedModels=["gpt-5.5"])
    assert summarized(key, "gpt-5.4").error["code"] == "model_not_allowed"
    assert summarized(key, "gpt-5.5").status == 200
    _, key = make_key(server, enforcedModel="gpt-5.4-mini")
    assert summarized(key, "gpt-5.5").status == 200
    assert [call.body["model"] for call in sim.journal if call.path.endswith(path)] == [
        "gpt-5.5",
        "gpt-5.4-mini",
    ]


def test_a_key_ends_in_the_other_process_too(sim: Simulator, serve: Start) -> None:
    sim.add_account("only")
    server = serve()
    other = server.sibling().start()
    # Shown too early and too often, a key counts as a wrong one and is answered 429.
    ended = (401, 429)
    key_id, key = make_key(server)
    until(lambda: ask_with(other, key).status == 200, 10, "the other process knows the key")
    renewed = api(server, "POST", f"{KEYS}{key_id}/regenerate")["key"]
    until(lambda: ask_with(other, key).status in ended, 2.0, "the former key opens nothing")
    assert ask_with(other, renewed).status == 200
    api(server, "DELETE", f"{KEYS}{key_id}")
    until(lambda: ask_with(other, renewed).status in ended, 2.0, "the key is gone")


def test_a_bound_key_uses_its_accounts_only_and_hears_of_no_others(sim: Simulator, serve: Start) -> None:
    own, other = sim.add_account("own"), sim.add_account("other")
    server = serve()
    ids = dict(server.query("SELECT email, id FROM accounts_account"))
    _, key = make_key(server, assignedAccountIds=[ids[own.email]])
    for session in range(4):
        assert ask_with(server, key, prompt_cache_key=f"c{session}").status == 200
    assert {call.account_id for call in sim.responses()} == {own.id}
    api(server, "POST", f"/api/accounts/{ids[own.email]}/pause")
    until(lambda: ask_with(server, key).status == 503, 10, "the account is paused")
    told = ask_with(server, key).error
    assert (told["code"], own.email in told["message"], other.email in told["message"]) == (
        "no_accounts", True, False,
    )  # fmt: skip
    api(server, "DELETE", f"/api/accounts/{ids[own.email]}")
    until(lambda: "None of the accounts" in ask_with(server, key).error["message"], 10, "none is left")
    assert send(server, body=json.dumps(turn()).encode(), headers=JSON).status == 200


def test_two_keys_never_share_a_derived_cache_key(sim: Simulator, serve: Start) -> None:
    sim.add_account("only")
    server = serve()
    keys = [make_key(server)[1] for _ in range(2)]
    for key in (*keys, *keys):
        assert ask_with(server, key, "/v1/responses").status == 200
    derived = [call.body["prompt_cache_key"] for call in sim.responses()]
    assert derived[:2] == derived[2:]
    assert len(set(derived)) == 2


def test_the_firewall_lets_in_its_addresses_only(sim: Simulator, serve: Start) -> None:
    sim.add_account("only")
    server = serve()
    assert send(server, "GET", "/v1/models").status == 200
    api(server, "POST", "/api/firewall/ips", {"ipAddress": "203.0.113.7"})
    until(lambda: send(server, "GET", "/v1/models").status == 403, 10, "the list holds")
    refused = send(server, "GET", "/backend-api/codex/models")
    assert refused.json() == {
        "error": {"message": "Access denied for client IP", "type": "access_error", "code": "ip_forbidden"}
    }
    shown = "SELECT address, count > 1 FROM proxy_firewallrefusal"
    until(lambda: server.query(shown) == [("127.0.0.1", 1)], 10, "the refusals are written")
    api(server, "POST", "/api/firewall/ips", {"ipAddress": "127.0.0.0/8"})
    until(lambda: send(server, "GET", "/v1/models").status == 200, 10, "the network is let in")


def test_too_many_wrong_keys_have_to_wait(sim: Simulator, serve: Start) -> None:
    server = serve()
    wrong = {"Authorization": "Bearer sk-cp-wrong"}
    answers = [send(server, "GET", "/v1/models", headers=wrong) for _ in range(10)]
    assert [answer.status for answer in answers] == [401] * 8 + [429] * 2
    assert 0 < int(answers[-1].header("retry-after") or 0) <= 60


def test_the_page_of_a_key_is_shown_to_its_holder(sim: Simulator, serve: Start) -> None:
    sim.add_account("only")
    server = serve()
    _, key = make_key(server, limits=[{"limitType": "requests", "limitWindow": "daily", "maxValue": 40}])
    assert ask_with(server, key).status == 200
    server.wait_for_records(1)
    until(lambda: usage(server, key).json()["limits"][0]["current_value"] == 1, 10, "the request is settled")
    form = send(server, "GET", "/v1/usage", headers={"Accept": "text/html,*/*"})
    assert form.status == 200 and b'action="/v1/usage"' in form.body
    posted = {"Content-Type": "application/x-www-form-urlencoded"}
    page = send(server, "POST", "/v1/usage", f"key={key}".encode(), posted)
    text = page.body.decode()
    assert page.status == 200 and page.header("cache-control") == "no-store"
    assert "default-src 'none'" in (page.header("content-security-policy") or "")
    for shown in ("gpt-5.5", "requests daily", "1 of 40", "success"):
        assert shown in text
    assert key not in text and "only@example.com" not in text
    wrong = send(server, "POST", "/v1/usage", b"key=sk-cp-<b>", posted)
    assert wrong.status == 401 and b"Invalid API key" in wrong.body and b"<b>" not in wrong.body
    assert send(server, "GET", "/v1/usage").status == 401
