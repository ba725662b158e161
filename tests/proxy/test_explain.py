from __future__ import annotations

import pytest

from proxy.explain import explained
from proxy.routing import Ask, Candidate
from tests.proxy.test_routing import NOW, account


def test_an_account_that_cannot_serve_says_why_and_until_when() -> None:
    pool = [account("a", status="rate_limited", reset_at=NOW + 60), account("b")]
    found = explained(pool, Ask(strategy="usage_weighted"), NOW)
    assert [verdict.candidate.account_id for verdict in found.verdicts] == ["b", "a"]
    assert [verdict.share_percent for verdict in found.verdicts] == [100.0, 0.0]
    assert (found.verdicts[1].reason, found.verdicts[1].until) == ("usage limit reached", NOW + 60)
    assert found.why == "chosen by usage_weighted"


def test_a_strategy_that_draws_lots_shows_its_odds() -> None:
    found = explained([account("a", used=50.0), account("b", used=75.0)], Ask(), NOW)
    assert found.likeliest is not None
    assert found.likeliest.candidate.account_id == "a"
    assert found.likeliest.share_percent == pytest.approx(200 / 3, abs=3)


def test_a_conversation_s_account_has_it_all() -> None:
    found = explained([account("a"), account("b")], Ask(affinity="b"), NOW)
    assert [verdict.share_percent for verdict in found.verdicts] == [100.0, 0.0]
    assert found.verdicts[0].candidate.account_id == "b"
    assert found.why == "the conversation's account"


def test_nobody_serves_and_everybody_says_why() -> None:
    found = explained([account("a", status="paused")], Ask(), NOW)
    assert found.likeliest is None
    assert found.why == ""
    assert not found.verdicts[0].is_able


def test_an_empty_pool_has_nothing_to_explain() -> None:
    assert explained([], Ask(), NOW).verdicts == ()


def test_few_draws_say_what_many_do() -> None:
    pool = [
        Candidate("a", "a", weekly_credits=7560.0),
        Candidate("b", "b", weekly_credits=50_400.0),
    ]
    for draws in (100, 2000):
        found = explained(pool, Ask(strategy="capacity_weighted"), 0.0, draws=draws)
        shares = {verdict.candidate.account_id: verdict.share_percent for verdict in found.verdicts}
        assert shares["a"] == pytest.approx(13.0, abs=1.5)
