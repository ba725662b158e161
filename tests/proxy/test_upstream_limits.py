"""Upstream's own limits in a key's usage, in credits over its accounts."""

from __future__ import annotations

from proxy.figures import upstream_limits
from proxy.routing import Candidate, Window

NOW = 1_700_000_000.0
WEEK, MONTH = 7 * 24 * 60, 30 * 24 * 60


def account(name: str, five_hours: float | None, week: float | None, **fields: object) -> Candidate:
    minutes = fields.pop("minutes", WEEK)
    return Candidate(
        **{
            "account_id": name, "label": name, "plan_type": "plus",
            "primary": None if five_hours is None else Window(five_hours, NOW + 60, 300, NOW),
            "secondary": None if week is None else Window(week, NOW + 7200, minutes, NOW),
        }
        | fields
    )  # type: ignore[arg-type]  # fmt: skip


def test_credits_are_summed_over_the_accounts_that_are_known() -> None:
    found = upstream_limits(
        [
            account("a", 20, 50),
            account("b", 40, None, plan_type="pro"),
            account("unknown plan", 90, 90, plan_type="mystery"),
            account("paused", 90, 90, status="paused"),
        ],
        NOW,
    )
    assert found[0] == {
        "limit_type": "credits", "limit_window": "5h", "max_value": 1725, "current_value": 645,
        "remaining_value": 1080, "model_filter": None, "reset_at": "2023-11-14T22:14:20Z",
        "source": "aggregate",
    }  # fmt: skip
    assert [(each["limit_window"], each["max_value"], each["current_value"]) for each in found] == [
        ("5h", 1725, 645),
        ("7d", 7560, 3780),
    ]


def test_a_plan_of_months_has_a_limit_of_its_own() -> None:
    found = upstream_limits(
        [account("a", None, 10), account("b", None, 50, plan_type="free", minutes=MONTH)], NOW
    )
    assert [(each["limit_window"], each["max_value"], each["current_value"]) for each in found] == [
        ("7d", 7560, 756),
        ("monthly", 1134, 567),
    ]


def test_a_window_whose_reset_has_passed_is_left_out() -> None:
    assert upstream_limits([account("a", 20, None, primary=Window(20, NOW - 1, 300, NOW - 90))], NOW) == []
    assert upstream_limits([], NOW) == []
