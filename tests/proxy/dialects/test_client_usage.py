from __future__ import annotations

from accounts.claims import Claims
from proxy.dialects.client_usage import accounts_answer, pool_plan, usage_answer
from proxy.routing import Candidate, Window

NOW = 1_700_000_000.0


def test_the_figures_have_upstream_s_form() -> None:
    primary, secondary = Window(12.9, NOW + 9000, 300, NOW), Window(34.0, NOW + 400_000, 10_080, NOW)
    answer = usage_answer("plus", primary, secondary, NOW)
    assert answer["plan_type"] == "plus"
    assert answer["rate_limit"] == {
        "allowed": True,
        "limit_reached": False,
        "primary_window": {
            "used_percent": 12,
            "limit_window_seconds": 18_000,
            "reset_after_seconds": 9000,
            "reset_at": int(NOW) + 9000,
        },
        "secondary_window": {
            "used_percent": 34,
            "limit_window_seconds": 604_800,
            "reset_after_seconds": 400_000,
            "reset_at": int(NOW) + 400_000,
        },
    }


def test_a_pool_whose_windows_are_known_has_no_credits_to_spend() -> None:
    answer = usage_answer("plus", Window(12.9, NOW + 9000, 300, NOW), None, NOW)
    assert set(answer) == {"plan_type", "rate_limit", "credits", "additional_rate_limits"}
    assert answer["credits"] == {
        "has_credits": False,
        "unlimited": False,
        "balance": None,
        "approx_local_messages": None,
        "approx_cloud_messages": None,
    }


def test_a_window_that_is_used_up_is_a_limit_that_is_reached() -> None:
    answer = usage_answer("plus", Window(104.0, None, None, NOW), None, NOW)
    assert (answer["rate_limit"]["allowed"], answer["rate_limit"]["limit_reached"]) == (False, True)
    assert answer["rate_limit"]["primary_window"] == {
        "used_percent": 100,
        "limit_window_seconds": 18_000,
        "reset_after_seconds": None,
        "reset_at": None,
    }
    assert answer["rate_limit"]["secondary_window"] is None


def test_without_figures_nothing_is_claimed() -> None:
    answer = usage_answer("guest", None, None, NOW)
    assert (answer["plan_type"], answer["rate_limit"], answer["credits"]) == ("guest", None, None)


def test_of_several_plans_the_one_that_gives_most_is_told() -> None:
    pool = [Candidate("a", "a", "plus"), Candidate("b", "b", "pro"), Candidate("c", "c", "brand-new")]
    assert pool_plan(pool) == "pro"
    assert pool_plan([Candidate("a", "a", "team", status="paused")]) == "guest"


def test_the_client_s_own_workspace_is_listed() -> None:
    answer = accounts_answer("acct-1", Claims(user_id="user-1", plan_type="plus"))
    (entry,) = answer["accounts"]
    assert (entry["id"], entry["account_user_id"], entry["plan_type"]) == ("acct-1", "user-1__acct-1", "plus")
    assert entry["account_routing_override"] == "NO_CONSTRAINT"
    assert (answer["default_account_id"], answer["account_ordering"]) == ("acct-1", ["acct-1"])
