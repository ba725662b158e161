"""Which events there are between two looks, as a table; nothing here reads a clock."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from accounts.notices.events import AccountState, Event, Kind, PoolState, SignIn, Situation, detect
from tests.builders import NOW

HOUR = timedelta(hours=1)
ACTIVE = AccountState("a", "ann", "active", week_used_percent=40.0)
LOST = replace(ACTIVE, status="reauth_required", reason="invalid_grant")
CLOSED = replace(ACTIVE, status="deactivated")
PAUSED = replace(ACTIVE, status="paused")
LIMITED = replace(ACTIVE, status="rate_limited", blocked_at=NOW - HOUR, free_at=NOW + HOUR)
BRIEFLY = replace(LIMITED, blocked_at=NOW, free_at=NOW + timedelta(seconds=60))
DUE = replace(LIMITED, free_at=NOW)
ENDLESS = replace(LIMITED, blocked_at=None, free_at=None)
BOB = AccountState("b", "bob", "active")


def at(*accounts: AccountState, pools: Any = (), sign_ins: Any = (), **fields: Any) -> Situation:
    return Situation(NOW, accounts, tuple(pools), tuple(sign_ins), **fields)


def between(before: Situation, after: Situation) -> list[Event]:
    """What is told at the second look; the memory goes through JSON, as it does in the database."""
    memory, _ = detect({}, before)
    again, events = detect(json.loads(json.dumps(memory)), after)
    assert detect(json.loads(json.dumps(again)), after) == (again, []), "it would be told again"
    return events


def kinds(before: Situation, after: Situation) -> list[str]:
    return [event.kind for event in between(before, after)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # Nothing has changed, or nothing that is worth telling.
        (at(), at(), []),
        (at(), at(ACTIVE), []),
        (at(ACTIVE), at(), []),
        (at(ACTIVE, BOB), at(PAUSED, BOB), []),
        # An account needs a sign-in.
        (at(ACTIVE, BOB), at(LOST, BOB), [Kind.SIGN_IN_NEEDED]),
        (at(ACTIVE, BOB), at(CLOSED, BOB), [Kind.SIGN_IN_NEEDED]),
        (at(LOST, BOB), at(CLOSED, BOB), []),
        (at(LOST, BOB), at(ACTIVE, BOB), []),
        (at(BOB), at(LOST, BOB), [Kind.SIGN_IN_NEEDED]),
        # Nobody can serve.
        (at(ACTIVE), at(LIMITED), [Kind.POOL_EXHAUSTED]),
        (at(ACTIVE), at(ENDLESS), [Kind.POOL_EXHAUSTED]),
        (at(ACTIVE), at(BRIEFLY), []),
        (at(ACTIVE), at(DUE), []),
        (at(ACTIVE, BOB), at(LIMITED, BOB), []),
        (at(ACTIVE), at(LOST), [Kind.SIGN_IN_NEEDED, Kind.POOL_EXHAUSTED]),
        (at(ACTIVE), at(PAUSED), []),
        (at(ACTIVE, BOB), at(LIMITED, replace(BOB, status="paused")), [Kind.POOL_EXHAUSTED]),
        # A reset.
        (at(LIMITED, BOB), at(ACTIVE, BOB), [Kind.RESET]),
        (at(LIMITED), at(ACTIVE), [Kind.RESET]),
        (at(BRIEFLY, BOB), at(ACTIVE, BOB), []),
        (at(LIMITED, BOB), at(PAUSED, BOB), []),
        (at(ACTIVE), at(replace(ACTIVE, week_used_percent=0.0)), [Kind.RESET]),
        (at(ACTIVE), at(replace(ACTIVE, week_used_percent=36.0)), []),
        (at(ACTIVE), at(replace(ACTIVE, week_used_percent=60.0)), []),
        (at(ACTIVE), at(replace(ACTIVE, week_used_percent=None)), []),
        (at(PAUSED, BOB), at(replace(PAUSED, week_used_percent=0.0), BOB), []),
        (at(replace(LIMITED, week_used_percent=100.0)), at(ACTIVE), [Kind.RESET]),
    ],
)  # fmt: skip
def test_what_is_told_between_two_looks(before: Situation, after: Situation, expected: list[str]) -> None:
    assert kinds(before, after) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (50.0, 20.0, False),
        (50.0, 19.9, True),
        (None, 5.0, True),
        (19.0, 10.0, False),
        (19.0, None, False),
    ],
)
def test_a_pool_is_low_once(before: float | None, after: float | None, expected: bool) -> None:
    def look(left: float | None) -> Situation:
        return at(ACTIVE, pools=[PoolState("primary", left)])

    assert (kinds(look(before), look(after)) == [Kind.POOL_LOW]) is expected


@pytest.mark.parametrize(
    ("course", "times"),
    [
        ([50, 19, 20, 19, 24, 19], 1),
        ([50, 19, 25, 19], 2),
        ([50, 19, None, 19], 1),
        ([50, 19, None, 100, 19], 2),
    ],
)
def test_a_pool_that_wavers_is_told_of_once(course: list[float | None], times: int) -> None:
    memory: dict[str, Any] = {}
    told = 0
    for left in course:
        memory, events = detect(memory, at(ACTIVE, pools=[PoolState("secondary", left)]))
        told += len(events)
    assert told == times


def test_each_window_is_low_by_itself() -> None:
    low = [PoolState("primary", 3.0), PoolState("secondary", 4.0, NOW + HOUR)]
    events = between(at(ACTIVE), at(ACTIVE, pools=low))
    assert [event.data["window"] for event in events] == ["primary", "secondary"]
    assert events[1].title == "The pool is low: 4 % of the weekly window left"
    assert events[1].text == (
        "4 % of the pool's weekly window is left. At the present rate it is used up at 2026-11-20 13:00 UTC."
    )


def test_the_operator_says_what_is_low() -> None:
    pools = [PoolState("primary", 45.0)]
    assert kinds(at(ACTIVE, low_percent=50), at(ACTIVE, pools=pools, low_percent=50)) == [Kind.POOL_LOW]
    assert kinds(at(ACTIVE, low_percent=40), at(ACTIVE, pools=pools, low_percent=40)) == []


def test_a_lost_sign_in_names_the_account_and_the_reason() -> None:
    (event,) = between(at(ACTIVE, BOB), at(LOST, BOB))
    assert event.title == "ann needs a new sign-in"
    assert event.text == "ann needs a new sign-in. The reason: invalid_grant"
    assert (event.account_id, event.account_name, event.data) == ("a", "ann", {"status": "reauth_required"})


def test_a_lost_sign_in_that_was_renewed_may_be_lost_again() -> None:
    memory, _ = detect({}, at(LOST, BOB))
    memory, _ = detect(memory, at(ACTIVE, BOB))
    assert [event.kind for event in detect(memory, at(LOST, BOB))[1]] == [Kind.SIGN_IN_NEEDED]


def test_a_first_look_tells_what_is_wrong_now() -> None:
    told = detect({}, at(LOST, LIMITED))[1]
    assert [event.kind for event in told] == [Kind.SIGN_IN_NEEDED, Kind.POOL_EXHAUSTED]


@pytest.mark.parametrize(
    ("accounts", "words"),
    [
        ([LIMITED, replace(BOB, status="quota_exceeded", free_at=NOW + 3 * HOUR)],
         "No account can serve before 2026-11-20 13:00 UTC: limits."),
        ([ENDLESS], "No account can serve: all are at a limit, and upstream did not say until when."),
        ([LOST], "No account can serve: each needs a new sign-in, is closed or is paused."),
    ],
)  # fmt: skip
def test_an_exhausted_pool_says_until_when(accounts: list[AccountState], words: str) -> None:
    (event,) = (each for each in detect({}, at(*accounts))[1] if each.kind == Kind.POOL_EXHAUSTED)
    assert event.text == words


def test_a_pool_that_serves_for_a_while_and_is_exhausted_again_is_told_of_again() -> None:
    memory, _ = detect({}, at(LIMITED))
    memory, _ = detect(memory, at(DUE))
    assert [event.kind for event in detect(memory, at(LIMITED))[1]] == [Kind.POOL_EXHAUSTED]


def test_a_reset_says_what_it_gave_back() -> None:
    full = replace(LIMITED, week_used_percent=100.0)
    (event,) = between(at(full), at(replace(ACTIVE, week_used_percent=0.0)))
    assert event.title == "ann serves again"
    assert event.text == (
        "ann serves again: its limit is over. The weekly window of ann has begun anew: 100 % was used, "
        "0 % is now."
    )
    assert event.data == {"servesAgain": True, "weekBeganAnew": True}


def test_a_week_that_ends_before_its_next_reading_is_told_with_that_reading() -> None:
    memory, _ = detect({}, at(replace(ACTIVE, week_used_percent=97.0)))
    memory, events = detect(memory, at(replace(ACTIVE, week_used_percent=None)))
    assert events == []
    (event,) = detect(memory, at(replace(ACTIVE, week_used_percent=1.0)))[1]
    assert event.title == "The week of ann was reset"


# --- sign-ins -----------------------------------------------------------------------------------


def sign_in(address: str = "192.0.2.1", ago: timedelta = timedelta(), **fields: Any) -> SignIn:
    return SignIn(fields.get("network", address), address, "operator", "password", NOW - ago)


def test_the_first_look_learns_the_addresses_that_are_on_record() -> None:
    assert detect({}, at(sign_ins=[sign_in(), sign_in("192.0.2.2")]))[1] == []


def test_a_new_address_is_told_once_however_often_it_is_seen() -> None:
    known = at(sign_ins=[sign_in("192.0.2.2", HOUR)])
    seen = at(sign_ins=[sign_in(ago=HOUR), sign_in(), sign_in("192.0.2.2")])
    (event,) = between(known, seen)
    assert event.title == "A sign-in to the dashboard from 192.0.2.1"
    assert event.data == {"address": "192.0.2.1", "user": "operator", "proof": "password"}
    assert "at 2026-11-20 11:00 UTC from 192.0.2.1 (password)" in event.text


def test_addresses_of_one_network_count_as_one() -> None:
    known = at(sign_ins=[sign_in("2001:db8::1", network="2001:db8::/64")])
    assert between(known, at(sign_ins=[sign_in("2001:db8::2", network="2001:db8::/64")])) == []


def test_an_address_that_is_not_known_is_one_too() -> None:
    (event,) = between(at(), at(sign_ins=[sign_in("")]))
    assert event.title == "A sign-in to the dashboard from an unknown address"


def test_an_address_is_new_again_after_a_year() -> None:
    memory, _ = detect({}, at(sign_ins=[sign_in()]))
    later = replace(at(), now=NOW + timedelta(days=366))
    memory, _ = detect(memory, later)
    assert memory["addresses"] == {}
    again = replace(later, sign_ins=(replace(sign_in(), at=later.now),))
    assert [event.kind for event in detect(memory, again)[1]] == [Kind.NEW_ADDRESS]


def test_the_memory_of_addresses_is_bounded() -> None:
    many = [
        sign_in(f"10.0.{number // 250}.{number % 250}", timedelta(minutes=number)) for number in range(1200)
    ]
    memory, _ = detect({}, at(sign_ins=many))
    assert len(memory["addresses"]) == 1000
    assert "10.0.0.0" in memory["addresses"]


def test_a_look_that_finds_the_same_changes_nothing_in_the_memory() -> None:
    seen = at(LIMITED, BOB, LOST, pools=[PoolState("primary", 3.0)], sign_ins=[sign_in()])
    memory, _ = detect({}, seen)
    assert detect(memory, seen)[0] == memory
