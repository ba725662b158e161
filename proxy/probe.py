"""One small request on one account, whatever its state: does it work, and if not, at which step?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
from django.conf import settings

from proxy.assembly import ResponseAssembly
from proxy.attempts import Attempts, Turn
from proxy.delivery import deliver
from proxy.dialects.codex import read_request
from proxy.errors import ProxyError, Surfaced
from proxy.headers import HeaderList, forwarded
from proxy.metrics import metrics
from proxy.pool import Member
from proxy.runtime import Runtime
from proxy.sinks import Ending
from requestlogs.records import AttemptRecord, Record
from usage.refresh import NoUsage, usage_asked, usage_in, usage_url

CLIENT = "codexproxy probe"
# What a probe may take in all, in seconds.
TIMEOUT_S = 60.0
_WINDOWS = (("primary", "5-hour window"), ("secondary", "week"))


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried, and how it went."""

    is_ok: bool
    about: str
    words: str


async def probe(running: Runtime, account_id: str, model: str) -> list[Step]:
    """What was tried, in order; the last step says whether the account serves. It spends a little quota."""
    await running.refresh_snapshot()
    member = running.pool.member(account_id)
    if member is None:
        return [Step(False, "Account", "It is not in the pool: it has no sign-in.")]
    record = Record(f"probe-{uuid4()}", datetime.now(UTC), path="/backend-api/codex/responses", client=CLIENT)
    record.model = model
    steps: list[Step] = []
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await _try(running, member, record, steps)
    except TimeoutError:
        record.error_code = "timeout"
        steps.append(Step(False, "Answer", f"There was none within {TIMEOUT_S:.0f} s."))
    finally:
        record.status_code = 200 if record.status == "success" else 502
        record.latency_ms = int(1000 * (asyncio.get_running_loop().time() - began))
        metrics().observe(record)
        running.writer.put(record)
    return [*steps, *_window_steps(member, running.services.clock())]


async def _try(running: Runtime, member: Member, record: Record, steps: list[Step]) -> None:
    """The token, the usage endpoint, then one tiny request: each step is told before the next is tried."""
    expires_at = member.token.expires_at
    steps.append(_token_step(expires_at, running.services.clock()))
    if expires_at is None or expires_at > running.services.clock():
        # One that has ended is renewed by the request, and the endpoint would only refuse it.
        steps.append(await _usage_step(running, member))
    generation, heard = member.token.generation, _Heard()
    try:
        await _ask(running, member, record, heard)
        ending = heard.step()
    except Surfaced as refused:
        record.error_code, record.error_message = refused.code, refused.message[:500]
        ending = Step(False, "Answer", refused.message)
    finally:
        is_renewed = member.token.generation > generation
        renewal = _renewal_step(member, running.services.clock()) if is_renewed else None
        steps.extend(_asked_steps(record.attempts, renewal))
    steps.append(ending)


async def _usage_step(running: Runtime, member: Member) -> Step:
    """What it tells is learned: an early reset lifts a limit."""
    url = usage_url(settings.UPSTREAM_BASE_URL)
    try:
        status, body = await usage_asked(running.client, url, member.token.access, member.chatgpt_account_id)
    except NoUsage as failure:
        return Step(False, "Usage", str(failure))
    sample = usage_in(body, running.services.clock()) if status == 200 else None
    if sample is None:
        return Step(False, "Usage", f"HTTP {status}, no figures")
    running.pool.sampled(member, sample)
    return Step(True, "Usage", f"HTTP {status}, {sample.words}")


def _asked_steps(attempts: Sequence[AttemptRecord], renewal: Step | None) -> list[Step]:
    """A renewal comes after the refusal that it answers; without one, the token had ended before."""
    steps = [_attempt_step(attempt) for attempt in attempts]
    if renewal is not None:
        refused = [place for place, attempt in enumerate(attempts, 1) if attempt.status == 401]
        steps.insert(refused[0] if refused else 0, renewal)
    return steps


def _renewal_step(member: Member, now: float) -> Step:
    return Step(True, "Refresh", f"The token was renewed. {_token_step(member.token.expires_at, now).words}")


async def _ask(running: Runtime, member: Member, record: Record, heard: _Heard) -> None:
    request = read_request(_body(record.model))
    turn = Turn(request, forwarded([(b"user-agent", CLIENT.encode())]), "", "", record)
    served = await Attempts(turn, running.services).run_on(member)
    await deliver(served, heard, turn, running.services)


def _body(model: str) -> bytes:
    text = {"type": "input_text", "text": "Answer with the word: ok"}
    return msgspec.json.encode(
        {
            "model": model,
            "instructions": "Answer in one word.",
            "input": [{"type": "message", "role": "user", "content": [text]}],
            "store": False,
            "stream": True,
        }
    )


class _Heard:
    """A sink that keeps the answer."""

    is_stream = False

    def __init__(self) -> None:
        self._assembly = ResponseAssembly()
        self._failure = ""

    async def begin(self, headers: HeaderList, first: bytes) -> None:
        self._assembly.feed(first)

    async def write(self, events: bytes) -> None:
        self._assembly.feed(events)

    async def end(self, ending: Ending) -> None:
        self._failure = ending.error.message if ending.error is not None else ""

    async def refuse(self, error: ProxyError, headers: HeaderList) -> None:
        self._failure = error.message

    def step(self) -> Step:
        response = self._assembly.response()
        if self._failure or response is None:
            return Step(False, "Answer", self._failure or "The answer ended before it was complete.")
        words = _text_of(response)[:200]
        return Step(True, "Answer", f"{response.get('model') or 'The model'} answered: {words or 'nothing'}")


def _text_of(response: dict[str, Any]) -> str:
    parts = (
        part
        for item in response["output"]
        if isinstance(item, dict)
        for part in item.get("content") or ()
        if isinstance(part, dict)
    )
    return " ".join(str(part.get("text", "")) for part in parts).strip()


def _token_step(expires_at: float | None, now: float) -> Step:
    if expires_at is None:
        return Step(True, "Access token", "It does not say when it ends.")
    if expires_at <= now:
        return Step(False, "Access token", "It has ended.")
    return Step(True, "Access token", f"It is good for another {int(expires_at - now) // 60} minutes.")


def _attempt_step(attempt: AttemptRecord) -> Step:
    is_ok = attempt.outcome == "served"
    status = f"HTTP {attempt.status}" if attempt.status else "no answer"
    if is_ok:
        return Step(True, "Upstream", f"{status}, first event after {attempt.first_event_ms} ms")
    named = ": ".join(filter(None, (attempt.code, attempt.message)))
    return Step(False, "Upstream", ", ".join(filter(None, (status, attempt.outcome, named))))


def _window_steps(member: Member, now: float) -> list[Step]:
    found = []
    for name, words in _WINDOWS:
        window = getattr(member.candidate, name)
        percent = window.known_percent(now) if window is not None else None
        if percent is not None:
            found.append(Step(percent < 100, words.capitalize(), f"{percent:.0f} % used"))
    return found
