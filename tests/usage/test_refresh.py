"""Each account is asked for its usage with its own token, at its time, and no more often than needed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Account
from accounts.tokens import FreshToken, RefreshFailed, RefreshRefused
from codexproxy.db import DatabaseThread
from codexproxy.http import ResponseTooLarge, TransportFailed
from tests.builders import make_account
from usage import refresh
from usage.models import CurrentWindow
from usage.refresh import UsageRefresher, usage_url

pytestmark = pytest.mark.django_db(transaction=True)

USAGE: dict[str, Any] = {
    "plan_type": "plus",
    "rate_limit": {
        "primary_window": {"used_percent": 12, "limit_window_seconds": 18_000, "reset_after_seconds": 9000},
        "secondary_window": {
            "used_percent": 34,
            "limit_window_seconds": 604_800,
            "reset_after_seconds": 90_000,
        },
    },
}


@dataclass
class Answer:
    status: int = 200
    content: Any = field(default_factory=lambda: USAGE)
    closed: bool = False

    async def read(self, limit: int) -> bytes:
        if isinstance(self.content, Exception):
            raise self.content
        return self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()

    async def close(self) -> None:
        self.closed = True


class Silent(Answer):
    async def read(self, limit: int) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError


@dataclass
class Backend:
    """Stands in for the HTTP client. Answers in order, the last one again and again."""

    answers: list[Answer | Exception] = field(default_factory=lambda: [Answer()])
    calls: list[tuple[str, str, dict[bytes, bytes]]] = field(default_factory=list)

    async def send(
        self, method: str, url: str, headers: Any, content: bytes = b"", timeouts: Any = None
    ) -> Answer:
        self.calls.append((method, url, dict(headers)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def tokens(self) -> list[str]:
        return [headers[b"authorization"].decode() for _, _, headers in self.calls]


@dataclass
class Refresher:
    outcome: FreshToken | Exception = field(default_factory=lambda: FreshToken("renewed", None, 2))
    calls: list[tuple[str, int]] = field(default_factory=list)

    async def refresh(self, account_id: str, *, stale_generation: int, reason: str = "") -> FreshToken:
        self.calls.append((account_id, stale_generation))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class World:
    def __init__(
        self, thread: DatabaseThread, backend: Backend, refresher: Refresher, interval_s: float = 60
    ) -> None:
        self.pauses: list[float] = []
        self.ends_at_pause = 99
        self.backend, self.tokens = backend, refresher
        client: Any = backend
        tokens: Any = refresher
        self._usage = UsageRefresher(
            client=client,
            thread=thread,
            refresher=tokens,
            upstream_base_url="http://up.test/backend-api",
            interval_s=interval_s,
            pause=self.pause,
        )

    async def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return len(self.pauses) < self.ends_at_pause

    def run(self) -> None:
        asyncio.run(self._usage.run())


@pytest.fixture
def thread() -> Iterator[DatabaseThread]:
    thread = DatabaseThread("test")
    yield thread
    thread.close()


@pytest.fixture
def world(thread: DatabaseThread) -> World:
    return World(thread, Backend(), Refresher())


def percents() -> dict[str, float]:
    return {row.window: row.used_percent for row in CurrentWindow.objects.all()}


def test_an_account_is_asked_with_its_own_token(world: World) -> None:
    make_account("acc-1_a", access_token="token-1", chatgpt_account_id="acc-1")
    world.run()
    ((method, url, headers),) = world.backend.calls
    assert (method, url) == ("GET", "http://up.test/backend-api/wham/usage")
    assert headers == {
        b"authorization": b"Bearer token-1",
        b"chatgpt-account-id": b"acc-1",
        b"accept": b"application/json",
        b"accept-encoding": b"identity",
        b"user-agent": b"codexproxy/0.1",
    }
    assert percents() == {"primary": 12.0, "secondary": 34.0}


@pytest.mark.parametrize("account_id", ["email_0123456789ab", "local_0123456789ab"])
def test_an_account_that_upstream_does_not_know_by_id_is_asked_without(world: World, account_id: str) -> None:
    make_account(account_id)
    world.run()
    assert b"chatgpt-account-id" not in world.backend.calls[0][2]


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://chatgpt.com/backend-api", "https://chatgpt.com/backend-api/wham/usage"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9/backend-api/wham/usage"),
    ],
)
def test_the_address_is_below_the_backend_api(base: str, url: str) -> None:
    assert usage_url(base) == url


def test_accounts_are_asked_one_after_the_other_spread_over_the_interval(world: World) -> None:
    for number in range(4):
        make_account(f"acc-{number}_a", access_token=f"token-{number}")
    world.run()
    assert world.backend.tokens == [f"Bearer token-{number}" for number in range(4)]
    assert len(world.pauses) == 3
    assert all(0 < pause <= 60 / 4 for pause in world.pauses)
    assert len(set(world.pauses)) == 3


def test_a_stop_ends_the_round(world: World) -> None:
    for number in range(4):
        make_account(f"acc-{number}_a")
    world.ends_at_pause = 2
    world.run()
    assert len(world.backend.calls) == 2


def test_accounts_that_are_not_in_use_are_left_out(world: World) -> None:
    for status in Account.Status.values:
        make_account(f"acc-{status}_a", status=status, access_token=status)
    world.run()
    assert set(world.backend.tokens) == {"Bearer active", "Bearer rate_limited", "Bearer quota_exceeded"}


@pytest.mark.parametrize(("age_s", "calls"), [(30, 0), (90, 1)])
def test_an_account_with_a_fresh_reading_is_left_out(world: World, age_s: float, calls: int) -> None:
    account = make_account("acc-1_a")
    recorded_at = timezone.now() - timedelta(seconds=age_s)
    CurrentWindow.objects.create(account=account, window="primary", used_percent=1, recorded_at=recorded_at)
    world.run()
    assert len(world.backend.calls) == calls


@pytest.mark.parametrize(("whole_every_s", "calls"), [(300.0, 0), (0.0, 1)])
def test_an_account_that_answers_keep_fresh_is_asked_now_and_then_for_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch, whole_every_s: float, calls: int
) -> None:
    monkeypatch.setattr(refresh, "WHOLE_EVERY_S", whole_every_s)
    account = make_account("acc-1_a")
    CurrentWindow.objects.create(
        account=account, window="primary", used_percent=1, recorded_at=timezone.now(), source="headers"
    )
    world.run()
    assert len(world.backend.calls) == calls


def test_an_early_reset_lifts_a_limit(world: World) -> None:
    account = make_account("acc-1_a")
    resets_at = timezone.now() + timedelta(hours=3)
    full = USAGE["rate_limit"]["primary_window"] | {"used_percent": 100, "reset_after_seconds": 10_800}
    world.backend.answers = [Answer(content=USAGE | {"rate_limit": {"primary_window": full}})]
    world.run()
    account.refresh_from_db()
    assert account.status == Account.Status.RATE_LIMITED
    assert account.reset_at is not None
    assert abs(account.reset_at - resets_at) < timedelta(minutes=1)
    CurrentWindow.objects.update(recorded_at=timezone.now() - timedelta(seconds=90))
    world.backend.answers = [Answer()]
    world.run()
    account.refresh_from_db()
    assert (account.status, account.reset_at) == (Account.Status.ACTIVE, None)


def test_a_refused_token_is_renewed_once(world: World) -> None:
    make_account("acc-1_a", access_token="stale", generation=7)
    world.backend.answers = [Answer(401, {}), Answer()]
    world.run()
    assert world.tokens.calls == [("acc-1_a", 7)]
    assert world.backend.tokens == ["Bearer stale", "Bearer renewed"]
    assert percents()["primary"] == 12.0


def test_a_renewed_token_that_is_refused_too_is_not_renewed_again(world: World) -> None:
    make_account("acc-1_a")
    world.backend.answers = [Answer(401, {})]
    world.run()
    assert (len(world.tokens.calls), len(world.backend.calls)) == (1, 2)
    assert Account.objects.get().status == Account.Status.ACTIVE


@pytest.mark.parametrize("failure", [RefreshRefused("reused", "no"), RefreshFailed("not now")])
def test_a_token_that_cannot_be_renewed_ends_it(world: World, failure: Exception) -> None:
    make_account("acc-1_a")
    world.backend.answers = [Answer(401, {})]
    world.tokens.outcome = failure
    world.run()
    assert len(world.backend.calls) == 1


@pytest.mark.parametrize(
    "failure", [Answer(408), Answer(429), Answer(500), Answer(503), TransportFailed("connect", "no")]
)
def test_what_may_pass_is_tried_three_times(world: World, failure: Answer | Exception) -> None:
    make_account("acc-1_a")
    world.backend.answers = [failure, failure, Answer()]
    world.run()
    assert len(world.backend.calls) == 3
    assert world.pauses == [0.5, 2.0]
    assert percents()["primary"] == 12.0


def test_after_three_tries_it_is_enough(world: World) -> None:
    make_account("acc-1_a")
    world.backend.answers = [Answer(503)]
    world.run()
    assert len(world.backend.calls) == 3
    assert percents() == {}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(402),
        Answer(403),
        Answer(404),
        Answer(200, b"<html>"),
        Answer(200, []),
        Answer(200, {"rate_limit": 7}),
    ],
)
def test_what_will_not_pass_is_tried_once_and_changes_no_state(world: World, answer: Answer) -> None:
    make_account("acc-1_a")
    world.backend.answers = [answer]
    world.run()
    assert len(world.backend.calls) == 1
    assert Account.objects.get().status == Account.Status.ACTIVE


@pytest.mark.parametrize(("left_alone_s", "calls"), [(300.0, 1), (0.0, 2)])
def test_an_account_that_failed_is_left_alone_for_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch, left_alone_s: float, calls: int
) -> None:
    monkeypatch.setattr(refresh, "LEFT_ALONE_S", left_alone_s)
    make_account("acc-1_a")
    world.backend.answers = [Answer(403)]
    world.run()
    world.run()
    assert len(world.backend.calls) == calls


def test_an_account_without_windows_is_asked_again_at_its_time(world: World) -> None:
    make_account("acc-1_a")
    world.backend.answers = [Answer(content={"plan_type": "business", "rate_limit": None})]
    world.run()
    world.run()
    assert len(world.backend.calls) == 2
    assert Account.objects.get().plan_type == "business"


def test_one_that_failed_does_not_hold_up_the_next(world: World) -> None:
    make_account("acc-1_a")
    make_account("acc-2_b")
    world.backend.answers = [Answer(403), Answer()]
    world.run()
    assert {row.account_id for row in CurrentWindow.objects.all()} == {"acc-2_b"}


def test_an_answer_is_closed_even_when_it_is_too_large(world: World) -> None:
    make_account("acc-1_a")
    answer = Answer(200, ResponseTooLarge("too large"))
    world.backend.answers = [answer]
    world.run()
    assert answer.closed


def test_an_answer_that_trickles_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "TIMEOUT_S", 0.01)
    make_account("acc-1_a")
    silent = Silent()
    world.backend.answers = [silent, Answer()]
    world.run()
    assert silent.closed
    assert percents()["primary"] == 12.0
