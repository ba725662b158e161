"""What upstream says of limits, and what becomes of it: early resets, full windows, limits for one model."""

from __future__ import annotations

import time

from proxy.simulator import Fail, Ok, Simulator
from proxy.simulator.windows import Window
from tests.e2e.asking import ask, send, turn
from tests.e2e.conftest import Start
from tests.e2e.server import Server, until

EVERY_S = "0.5"


def status(server: Server) -> str:
    return str(server.query("SELECT status FROM accounts_account")[0][0])


def test_an_early_reset_is_noticed_at_the_next_reading_and_the_account_serves_at_once(
    sim: Simulator, serve: Start
) -> None:
    account = sim.add_account("only")
    now = int(time.time())
    account.windows.primary = Window(97, 300, now + 7200)
    account.default = Fail.usage_limit(resets_at=now + 7200)
    server = serve(CODEXPROXY_USAGE_REFRESH_INTERVAL_S=EVERY_S)
    assert ask(server).status == 429
    until(lambda: status(server) == "rate_limited", 10, "the limit is written")
    account.default = Ok()
    seen = len(sim.journal)
    until(lambda: len(sim.journal) >= seen + 2, 10, "the usage is read again, twice")
    # Less than 100 % proves nothing: upstream has refused all the same.
    assert ask(server).status == 429
    assert len(sim.responses()) == 1
    account.windows.primary = Window(0, 300, now + 5 * 3600)
    until(lambda: status(server) == "active", 10, "the next reading is the proof")
    until(lambda: ask(server).status == 200, 10, "the account serves again")
    events = [kind for (kind,) in server.query("SELECT kind FROM accounts_accountevent ORDER BY id")]
    assert events[-2:] == ["rate_limited", "unblocked"]


def test_a_window_that_is_full_is_noticed_before_a_request_fails(sim: Simulator, serve: Start) -> None:
    full, free = sim.add_account("full"), sim.add_account("free")
    full.windows.primary = Window(100, 300, int(time.time()) + 7200)
    server = serve(CODEXPROXY_USAGE_REFRESH_INTERVAL_S=EVERY_S)
    # As the process itself knows it, which is a moment after it is written.
    known = b'codexproxy_accounts{status="rate_limited"} 1.0'
    until(lambda: known in send(server, "GET", "/metrics").body, 15, "the full window is noticed")
    assert {ask(server).status for _ in range(3)} == {200}
    assert {call.account_id for call in sim.responses()} == {free.id}


def test_a_limit_for_one_model_leaves_the_account_to_the_other_models(sim: Simulator, serve: Start) -> None:
    account = sim.add_account("only")
    resets_at = int(time.time()) + 7200
    full = {"used_percent": 100, "limit_window_seconds": 18_000, "reset_at": resets_at}
    account.windows.additional = [
        {
            "limit_name": "GPT-5.5-Sonic",
            "metered_feature": "codex_other",
            "rate_limit": {"primary_window": full, "secondary_window": None},
        }
    ]
    server = serve(CODEXPROXY_USAGE_REFRESH_INTERVAL_S=EVERY_S)
    known = "SELECT COUNT(*) FROM usage_modellimitwindow"
    until(lambda: server.query(known) == [(1,)], 10, "the limit is noticed")
    sonic = turn(model="gpt-5.5-sonic")
    until(lambda: ask(server, sonic).status == 429, 10, "the choice knows of it")
    refused = ask(server, sonic)
    assert refused.error["type"] == "usage_limit_reached"
    assert refused.error["resets_at"] == resets_at
    assert "its limit for GPT-5.5-Sonic is used up" in refused.error["message"]
    assert ask(server).status == 200
    account.windows.additional = None
    until(lambda: server.query(known) == [(0,)], 10, "the limit is gone")
    until(lambda: ask(server, sonic).status == 200, 10, "the choice knows of that")
