"""Readings come in three forms, and garbage in none."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage.windows import (
    Credits,
    ModelLimit,
    Sample,
    WindowReading,
    is_for_model,
    model_limit_id,
    sample_from_event,
    sample_from_headers,
    sample_from_usage,
)

NOW = 1_700_000_000.0


def usage(primary: Any = None, secondary: Any = None, **fields: Any) -> dict[str, Any]:
    return {
        "plan_type": "plus",
        "rate_limit": {"primary_window": primary, "secondary_window": secondary},
    } | fields


def window(used: Any = 12, seconds: Any = 18_000, **fields: Any) -> dict[str, Any]:
    return {"used_percent": used, "limit_window_seconds": seconds, "reset_at": NOW + 600} | fields


def only(sample: Sample | None) -> WindowReading:
    assert sample is not None
    (reading,) = sample.windows
    return reading


def test_it_reads_the_answer_of_the_usage_endpoint() -> None:
    payload = usage(
        window(12, reset_at=NOW + 9000),
        window(34, 604_800, reset_at=NOW + 400_000),
        credits={"has_credits": True, "unlimited": False, "balance": "12.50"},
    )
    assert sample_from_usage(payload, NOW) == Sample(
        (
            WindowReading("primary", 12.0, NOW + 9000, 300),
            WindowReading("secondary", 34.0, NOW + 400_000, 10_080),
        ),
        NOW,
        "usage",
        "plus",
        Credits(True, False, 12.5),
        is_whole=True,
    )


def test_it_reads_headers() -> None:
    headers = [
        (b"content-type", b"text/event-stream"),
        (b"x-codex-primary-used-percent", b"25.5"),
        (b"x-codex-primary-window-minutes", b"300"),
        (b"x-codex-primary-reset-at", b"1700000600"),
        (b"x-codex-secondary-used-percent", b"40"),
        (b"x-codex-secondary-window-minutes", b"10080"),
        (b"x-codex-credits-has-credits", b"true"),
        (b"x-codex-credits-unlimited", b"0"),
    ]
    sample = sample_from_headers(headers, NOW)
    assert sample == Sample(
        (WindowReading("primary", 25.5, NOW + 600, 300), WindowReading("secondary", 40.0, None, 10_080)),
        NOW,
        "headers",
        None,
        Credits(True, False, None),
    )


@pytest.mark.parametrize(
    ("told", "credits"),
    [
        ({"has_credits": 1, "unlimited": 0, "balance": 12.5}, Credits(True, False, 12.5)),
        ({"has_credits": "1", "unlimited": "0", "balance": "12.5"}, Credits(True, False, 12.5)),
        ({"has_credits": False, "unlimited": True, "balance": None}, Credits(False, True, None)),
        ({"has_credits": 0, "unlimited": 1.0}, Credits(False, True, None)),
        ({"balance": "12.5"}, Credits(True, False, 12.5)),
        ({"balance": 12}, Credits(True, False, 12.0)),
        ({"balance": 0}, Credits(False, False, 0.0)),
        ({"balance": "0.0", "has_credits": True}, Credits(True, False, 0.0)),
        ({"has_credits": 2, "unlimited": "many", "balance": "nan"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_credits_may_be_told_as_numbers_and_as_text(told: Any, credits: Credits | None) -> None:
    sample = sample_from_usage(usage(window(), credits=told), NOW)
    assert sample is not None
    assert sample.credits == credits


@pytest.mark.parametrize("limits", [{"rate_limit": None}, {"rate_limit": {}}, {}])
def test_an_answer_without_windows_tells_all_the_rest(limits: dict[str, Any]) -> None:
    other = {"limit_name": "GPT-5.5-Sonic", "metered_feature": "codex_other"}
    payload = {
        "plan_type": "business",
        **limits,
        "credits": {"has_credits": True, "unlimited": False, "balance": "12.50"},
        "additional_rate_limits": [{**other, "rate_limit": {"primary_window": window(99)}}],
    }
    assert sample_from_usage(payload, NOW) == Sample(
        (), NOW, "usage", "business", Credits(True, False, 12.5), (SONIC,), is_whole=True
    )


@pytest.mark.parametrize("payload", [{}, {"detail": "not found"}, {"rate_limit": 7}, {"rate_limit": []}])
def test_what_is_no_answer_about_usage_is_no_reading(payload: dict[str, Any]) -> None:
    assert sample_from_usage(payload, NOW) is None


def test_an_answer_without_such_headers_is_no_reading() -> None:
    assert sample_from_headers([(b"content-type", b"text/html")], NOW) is None


def test_it_reads_an_event() -> None:
    event = {
        "type": "codex.rate_limits",
        "plan_type": "pro",
        "rate_limits": {"primary": {"used_percent": "7", "window_minutes": "300", "resets_at": NOW + 60}},
    }
    sample = sample_from_event(event, NOW)
    assert sample is not None
    assert (sample.windows, sample.plan_type) == ((WindowReading("primary", 7.0, NOW + 60, 300),), "pro")


@pytest.mark.parametrize("name", ["limit_id", "limit_name", "metered_limit_name"])
def test_an_event_about_another_limit_says_nothing_of_the_account_s_own(name: str) -> None:
    event = {"rate_limits": {"primary": window()}}
    sample = sample_from_event({**event, name: "gpt-5.5-sonic"}, NOW)
    assert sample is not None
    assert (sample.windows, [limit.limit_id for limit in sample.model_limits]) == ((), ["gpt_5.5_sonic"])
    assert sample_from_event({**event, name: ["codex"]}, NOW) is None
    for named in ("codex", None, ""):
        own = sample_from_event({**event, name: named}, NOW)
        assert own is not None
        assert (len(own.windows), own.model_limits) == (1, ())


SONIC = ModelLimit("codex_other", "GPT-5.5-Sonic", (WindowReading("primary", 99.0, NOW + 600, 300),))


def test_limits_for_single_models_are_told_in_three_forms() -> None:
    limit = {
        "limit_name": "GPT-5.5-Sonic",
        "metered_feature": "codex_other",
        "rate_limit": {"primary_window": window(99), "secondary_window": None},
    }
    told = sample_from_usage(usage(window(), additional_rate_limits=[limit, "odd", {}]), NOW)
    headers = [
        (b"x-codex-other-primary-used-percent", b"99"),
        (b"x-codex-other-primary-window-minutes", b"300"),
        (b"x-codex-other-primary-reset-at", b"1700000600"),
        (b"x-codex-other-limit-name", b"GPT-5.5-Sonic"),
    ]
    event = {
        "metered_limit_name": "codex_other",
        "limit_name": "GPT-5.5-Sonic",
        "rate_limits": {"primary": window(99)},
    }
    for sample in (told, sample_from_headers(headers, NOW), sample_from_event(event, NOW)):
        assert sample is not None
        assert sample.model_limits == (SONIC,)


def test_a_payload_tells_whether_the_account_may_be_used() -> None:
    for allowed in (True, False):
        payload = usage(window(100))
        payload["rate_limit"]["allowed"] = allowed
        sample = sample_from_usage(payload, NOW)
        assert sample is not None
        assert sample.is_allowed is allowed


@pytest.mark.parametrize(
    ("limit_name", "model", "holds"),
    [
        ("GPT-5.5-Sonic", "gpt-5.5-sonic", True),
        ("GPT 5.5 Sonic", "gpt-5.5-sonic-2026-10-01", True),
        ("gpt-5.5-sonic", "gpt-5.5", False),
        ("gpt-5.5", "gpt-5.55", False),
        ("code_review", "gpt-5.5", False),
        ("", "gpt-5.5", False),
    ],
)
def test_a_limit_holds_for_the_models_that_its_name_begins(limit_name: str, model: str, holds: bool) -> None:
    assert is_for_model(limit_name, model) is holds


@pytest.mark.parametrize(
    ("named", "limit_id"),
    [("codex_other", "codex_other"), ("codex", ""), ("Codex-Other", "codex_other"), (None, ""), (7, "")],
)
def test_a_refusal_names_its_limit(named: object, limit_id: str) -> None:
    assert model_limit_id(named) == limit_id


@pytest.mark.parametrize(
    ("seconds", "name"),
    [(18_000, "primary"), (604_800, "secondary"), (2_592_000, "monthly"), (None, "primary")],
)
def test_a_lone_window_is_what_its_length_says(seconds: int | None, name: str) -> None:
    assert only(sample_from_usage(usage(window(5, seconds)), NOW)).window == name


def test_a_week_beside_another_window_keeps_its_name() -> None:
    sample = sample_from_usage(usage(window(5, 604_800), window(6, 604_800)), NOW)
    assert sample is not None
    assert [reading.window for reading in sample.windows] == ["primary", "secondary"]


def test_a_reset_lies_at_most_one_window_ahead() -> None:
    far = usage(window(reset_at=NOW + 10**9))
    assert only(sample_from_usage(far, NOW)).reset_at == NOW + 18_000
    untold = usage(window(seconds=None, reset_at=NOW * 1000))
    assert only(sample_from_usage(untold, NOW)).reset_at == NOW + 31 * 86_400


def test_a_reset_may_be_told_as_a_distance() -> None:
    payload = usage(window(reset_at=None, reset_after_seconds=90))
    assert only(sample_from_usage(payload, NOW)).reset_at == NOW + 90
    elapsed = usage(window(reset_at=None, reset_after_seconds=-90))
    assert only(sample_from_usage(elapsed, NOW)).reset_at == NOW


@pytest.mark.parametrize("used", [True, None, "many", "nan", math.nan, math.inf, "-inf", [], {}, 10**400])
def test_a_percent_that_is_no_number_is_no_reading(used: Any) -> None:
    assert sample_from_usage(usage(window(used)), NOW) is None


@pytest.mark.parametrize("value", [True, "soon", math.nan, math.inf, -1, 0, [], 10**400])
def test_odd_lengths_and_resets_are_unknown(value: Any) -> None:
    reading = only(sample_from_usage(usage(window(5, value, reset_at=value)), NOW))
    assert (reading.reset_at, reading.window_minutes) == (None, None)


def test_a_length_that_no_window_has_is_unknown() -> None:
    assert only(sample_from_usage(usage(window(5, 1e300)), NOW)).window_minutes is None


def test_a_percent_is_never_negative() -> None:
    assert only(sample_from_usage(usage(window(-3)), NOW)).used_percent == 0.0


def test_a_plan_that_cannot_be_stored_is_not_told() -> None:
    for plan in ("pl\x00us", "\ud800", 7, ""):
        sample = sample_from_usage(usage(window(), plan_type=plan), NOW)
        assert sample is not None
        assert sample.plan_type is None


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
names = ("used_percent", "limit_window_seconds", "window_minutes", "reset_at", "reset_after_seconds")
windows = st.one_of(anything, st.fixed_dictionaries({}, optional=dict.fromkeys(names, anything)))


def is_sane(sample: Sample | None) -> bool:
    return sample is None or all(
        0 <= reading.used_percent <= 10_000
        and (reading.reset_at is None or 0 < reading.reset_at <= NOW + 400 * 86_400)
        and (reading.window_minutes is None or 1 <= reading.window_minutes <= 2**31)
        for reading in sample.windows
    )


@given(windows, windows, anything, anything)
def test_garbage_never_raises(primary: Any, secondary: Any, credits: Any, plan: Any) -> None:
    payload = usage(primary, secondary, credits=credits, plan_type=plan)
    assert is_sane(sample_from_usage(payload, NOW))
    assert is_sane(sample_from_usage({"rate_limit": primary}, NOW))
    assert is_sane(
        sample_from_usage({**payload, "additional_rate_limits": [plan, {"limit_name": plan}]}, NOW)
    )
    event = {"rate_limits": {"primary": primary, "secondary": secondary}, "credits": credits}
    assert is_sane(sample_from_event(event, NOW))
    assert is_sane(sample_from_event({**event, "limit_id": plan}, NOW))


@given(st.binary(max_size=10), st.binary(max_size=10), st.binary(max_size=10))
def test_garbage_in_headers_never_raises(name: bytes, used: bytes, reset_at: bytes) -> None:
    headers = [
        (b"x-codex-" + name, used),
        (b"x-codex-primary-used-percent", used),
        (b"x-codex-primary-reset-at", reset_at),
    ]
    assert is_sane(sample_from_headers(headers, NOW))


def test_a_reading_is_told_as_evidence() -> None:
    windows = (
        WindowReading("primary", 3.5, 1_700_000_000, 300),
        WindowReading("secondary", 40, None, 10_080),
    )
    assert Sample(windows, NOW, "usage").words == (
        "primary 3.5 % used until 2023-11-14 22:13 UTC, secondary 40 % used"
    )
