"""One account, asked whatever its state; each step is told."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from accounts.tokens import RefreshRefused
from codexproxy.http import TransportFailed
from proxy.probe import Step, probe
from requestlogs.records import Record
from tests.proxy.fakes import CREATED, NOW, DataPlane, event, limit, ok, refusal, unreachable, view

pytestmark = pytest.mark.asyncio

ITEM = {"type": "message", "content": [{"type": "output_text", "text": "ok"}]}
DONE = event("response.completed", response={"id": "r", "model": "gpt-5.5", "output": [ITEM]})


class Usage:
    """The usage endpoint. Answers with a status and what is used of the 5-hour window, or not at all."""

    def __init__(self, status: int = 200, used_percent: float = 42) -> None:
        self.status, self.used_percent = status, used_percent
        self.tokens: list[bytes] = []

    async def send(self, method: str, url: str, headers: Any, content: bytes, timeouts: Any) -> Usage:
        assert (method, url.endswith("/wham/usage")) == ("GET", True)
        self.tokens.append(dict(headers)[b"authorization"])
        if not self.status:
            raise TransportFailed("connect", "connection refused")
        return self

    async def read(self, limit: int) -> bytes:
        window = {"used_percent": self.used_percent, "reset_at": NOW + 3600, "limit_window_seconds": 18000}
        return json.dumps({"rate_limit": {"allowed": True, "primary_window": window}}).encode()

    async def close(self) -> None:
        return None


async def probed(
    plane: DataPlane, account: str = "a", usage: Usage | None = None
) -> tuple[list[Step], Record]:
    records: list[Record] = []

    async def refresh_snapshot() -> None:
        return

    running: Any = SimpleNamespace(
        refresh_snapshot=refresh_snapshot,
        pool=plane.pool,
        services=plane.services,
        client=usage or Usage(),
        writer=SimpleNamespace(put=records.append),
    )
    steps = await probe(running, account, "gpt-5.5")
    return steps, records[0] if records else Record("none", None)  # type: ignore[arg-type]


def told(steps: list[Step]) -> dict[str, tuple[bool, str]]:
    return {step.about: (step.is_ok, step.words) for step in steps}


async def test_an_account_that_serves_is_told_step_by_step() -> None:
    plane = DataPlane(view("a", access_expires_at=NOW + 3600), script={"a": [ok(CREATED, DONE)]})
    steps, record = await probed(plane)
    found = told(steps)
    assert found["Access token"] == (True, "It is good for another 60 minutes.")
    assert found["Upstream"][0] and "HTTP 200" in found["Upstream"][1]
    assert found["Answer"] == (True, "gpt-5.5 answered: ok")
    assert (record.status, record.account_id, record.client) == ("success", "a", "codexproxy probe")
    assert [step.about for step in steps[:4]] == ["Access token", "Usage", "Upstream", "Answer"]


async def test_the_usage_endpoint_is_asked_and_what_it_says_is_learned() -> None:
    plane, usage = DataPlane(view("a"), script={"a": [ok(CREATED, DONE)]}), Usage(used_percent=42)
    steps, _ = await probed(plane, usage=usage)
    is_ok, words = told(steps)["Usage"]
    assert is_ok and words.startswith("HTTP 200, primary 42 % used")
    assert usage.tokens == [b"Bearer token-a-1"]
    assert plane.candidate("a").primary.used_percent == 42


@pytest.mark.parametrize(
    ("status", "words"), [(0, "connection refused"), (401, "HTTP 401, no figures"), (503, "HTTP 503")]
)
async def test_an_account_without_figures_is_asked_all_the_same(status: int, words: str) -> None:
    plane = DataPlane(view("a"), script={"a": [ok(CREATED, DONE)]})
    steps, _ = await probed(plane, usage=Usage(status))
    assert told(steps)["Usage"][0] is False and words in told(steps)["Usage"][1]
    assert told(steps)["Answer"][0]


async def test_a_renewal_is_told_after_the_refusal_that_it_answers() -> None:
    plane = DataPlane(view("a", access_expires_at=NOW + 600), script={"a": [refusal(401), ok(CREATED, DONE)]})
    steps, _ = await probed(plane)
    assert [(step.about, step.is_ok) for step in steps[:6]] == [
        ("Access token", True),
        ("Usage", True),
        ("Upstream", False),
        ("Refresh", True),
        ("Upstream", True),
        ("Answer", True),
    ]
    assert steps[0].words == "It is good for another 10 minutes.", "the one that was refused"
    assert "another 60 minutes" in told(steps)["Refresh"][1]


async def test_a_token_that_has_ended_is_renewed_before_anything_is_sent() -> None:
    plane, usage = DataPlane(view("a", access_expires_at=NOW - 1), script={"a": [ok(CREATED, DONE)]}), Usage()
    steps, _ = await probed(plane, usage=usage)
    assert [step.about for step in steps[:4]] == ["Access token", "Refresh", "Upstream", "Answer"]
    assert told(steps)["Access token"] == (False, "It has ended.")
    assert usage.tokens == []


@pytest.mark.parametrize("status", ["paused", "rate_limited", "reauth_required"])
async def test_no_state_keeps_an_account_from_being_asked(status: str) -> None:
    blocked = view("a", status=status, blocked_at=NOW - 60, reset_at=NOW + 600)
    plane = DataPlane(blocked, view("b"), script={"a": [ok(CREATED, DONE)]})
    steps, record = await probed(plane)
    assert told(steps)["Answer"][0]
    assert [attempt.account_id for attempt in record.attempts] == ["a"]


async def test_a_success_lifts_a_limit_and_no_pause() -> None:
    for status, after in (("rate_limited", "active"), ("paused", "paused")):
        blocked = view("a", status=status, blocked_at=NOW - 60, reset_at=NOW + 600)
        plane = DataPlane(blocked, script={"a": [ok(CREATED, DONE)]})
        await probed(plane)
        assert plane.candidate("a").status == after


async def test_a_limit_is_told_and_no_other_account_is_asked() -> None:
    plane = DataPlane(view("a"), view("b"), script={"a": [limit(600)]})
    steps, record = await probed(plane)
    assert told(steps)["Upstream"][0] is False
    assert "usage_limit_reached" in told(steps)["Upstream"][1]
    assert told(steps)["Answer"][0] is False
    assert plane.candidate("a").status == "rate_limited"
    assert (record.status, len(record.attempts)) == ("error", 1)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([refusal(400, {"code": "model_not_found", "message": "no such model"})], "no such model"),
        ([unreachable()], "connection refused"),
        ([ok(CREATED)], "ended the stream"),
    ],
)
async def test_what_went_wrong_is_told_in_upstream_s_words(answers: list[Any], words: str) -> None:
    steps, _ = await probed(DataPlane(view("a"), script={"a": answers}))
    assert any(not step.is_ok and words in step.words for step in steps), steps


async def test_a_refused_token_is_refreshed_once_and_then_told() -> None:
    plane = DataPlane(view("a"), script={"a": [refusal(401)]})
    plane.refresher.answer = RefreshRefused("refresh_token_invalidated", "The sign-in was ended.")
    steps, _ = await probed(plane)
    assert told(steps)["Answer"] == (False, "The sign-in was ended.")


async def test_an_account_without_a_sign_in_is_not_in_the_pool() -> None:
    steps, _ = await probed(DataPlane(view("a")), "gone")
    assert told(steps)["Account"][0] is False
