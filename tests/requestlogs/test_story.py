"""What happened to one request."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from requestlogs.models import RequestRecord
from requestlogs.story import cost_words, moments, story, stretches
from tests.builders import NOW
from usage.pricing import PUBLISHED, OwnPrice, PriceBook

NAMES = {"a": "Ann", "b": "Bob"}
ATTEMPTS = [
    {"account_id": "a", "outcome": "usage limit", "status": 429, "started_ms": 10, "ended_ms": 100},
    {"account_id": "b", "outcome": "served", "started_ms": 100, "first_event_ms": 400, "ended_ms": 1000},
]


def record(**fields: Any) -> RequestRecord:
    base = {"status": "success", "attempts": ATTEMPTS, "latency_ms": 1000, "first_token_ms": 500}
    return RequestRecord(**{**base, **fields})


def told(row: RequestRecord) -> list[tuple[int, str]]:
    return [(moment.at_ms, moment.words) for moment in story(row, NAMES, PUBLISHED)["moments"]]


def test_it_goes_from_the_request_over_every_account_to_the_end() -> None:
    assert told(record()) == [
        (0, "The request came in"),
        (10, "Asked Ann"),
        (100, "Ann: usage limit"),
        (100, "Asked Bob"),
        (400, "First event from Bob"),
        (500, "First token"),
        (1000, "The answer was complete"),
    ]


def test_the_bar_has_the_wait_here_what_was_in_vain_the_first_token_and_the_answer() -> None:
    found = story(record(), NAMES, PUBLISHED)["stretches"]
    assert [(part.x, part.width, part.mark) for part in found] == [
        (0, 1, "wait"), (1, 9, "bad"), (10, 40, "quiet"), (50, 50, "first"),
    ]  # fmt: skip
    assert found[1].words == "Ann, in vain: 0.09 s"


def test_an_account_that_is_gone_is_called_by_its_id() -> None:
    attempts = [{"account_id": "gone", "outcome": "served", "started_ms": 0, "ended_ms": 1000}]
    assert (0, "Asked gone") in told(record(attempts=attempts))


def test_the_end_says_how_it_ended() -> None:
    assert told(record(status="cancelled"))[-1][1] == "The client left"
    assert told(record(status="error"))[-1][1] == "The client was told that it failed"


def test_what_was_written_in_another_shape_is_left_out() -> None:
    odd = record(attempts=[{"account_id": "c", "started_ms": "nonsense", "ended_ms": True}, "x"], routing=[1])
    assert story(odd, {}, PUBLISHED)["stretches"] == []
    assert moments(record(attempts={"odd": 1}, latency_ms=None, first_token_ms=None), [])[0].at_ms == 0
    assert stretches([], None, None) == []


def test_only_a_failure_has_a_hint() -> None:
    assert story(record(), NAMES, PUBLISHED)["hint"] is None
    assert story(record(status="error", error_code="no_accounts"), NAMES, PUBLISHED)["hint"] is not None


def priced(cost: str, **fields: Any) -> RequestRecord:
    return record(
        model="gpt-5.1", input_tokens=100_000, cached_input_tokens=60_000, output_tokens=1000,
        cost_usd=Decimal(cost), **fields,
    )  # fmt: skip


def test_the_cost_shows_how_it_comes_about() -> None:
    assert cost_words(priced("0.067500"), PUBLISHED) == (
        "40,000 input × $1.25 + 60,000 cached × $0.125 + 1,000 output × $10, each for a million tokens"
    )


def test_a_cost_of_other_prices_is_not_explained_by_those_of_now() -> None:
    own = OwnPrice("gpt-5.1", "standard", Decimal(2), None, Decimal(20))
    assert cost_words(priced("0.067500"), PriceBook([own])) == ""
    assert cost_words(record(model="unheard-of"), PUBLISHED) == ""


def test_the_choice_is_told_in_words_and_until_when_as_a_moment() -> None:
    passed = [
        {"account_id": "a", "reason": "usage limit reached", "until": NOW.timestamp()},
        {"account_id": "b", "reason": "paused", "until": None},
        {"account_id": "c", "reason": "odd", "until": 1e400},
    ]
    routing = {"why": "chosen by capacity_weighted", "passed_over": passed}
    found = story(record(routing=routing), NAMES, PUBLISHED)
    assert found["why"] == "chosen by capacity weighted"
    assert [entry["until"] for entry in found["passed_over"]] == [NOW, None, None]
