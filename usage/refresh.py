"""Asks upstream for each account's usage, one account at a time, spread over the interval."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from accounts.identity import upstream_account_id
from accounts.models import Account
from accounts.selectors import accounts_for_pool
from accounts.tokens import RefreshFailed, RefreshRefused, TokenRefresher
from codexproxy.db import DatabaseThread
from codexproxy.http import HttpClient, ResponseTooLarge, Timeouts, TransportFailed
from usage.selectors import current_windows
from usage.services import sample_store
from usage.windows import Sample, sample_from_usage

logger = logging.getLogger(__name__)

TIMEOUT_S = 10.0
BODY_LIMIT = 256 * 1024
RETRIES_S = (0.5, 2.0)
LEFT_ALONE_S = 300.0
# Answers keep an account's own windows fresh; the rest of the figures comes only from here.
WHOLE_EVERY_S = 300.0
_ASKED = (Account.Status.ACTIVE, Account.Status.RATE_LIMITED, Account.Status.QUOTA_EXCEEDED)
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})


class NoUsage(Exception):
    """The usage endpoint did not answer; the message says why."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is needed to ask for one account."""

    account_id: str
    chatgpt_account_id: str | None
    access_token: str
    generation: int
    is_fresh: bool = False


class UsageRefresher:
    """Belongs to one event loop. `pause` waits so many seconds; it returns False when it is time to end."""

    def __init__(
        self,
        *,
        client: HttpClient,
        thread: DatabaseThread,
        refresher: TokenRefresher,
        upstream_base_url: str,
        interval_s: float,
        pause: Callable[[float], Awaitable[bool]],
    ) -> None:
        self._client = client
        self._thread = thread
        self._refresher = refresher
        self._url = usage_url(upstream_base_url)
        self._interval_s = interval_s
        self._pause = pause
        self._left_alone: dict[str, float] = {}
        self._read_at: dict[str, float] = {}

    async def run(self) -> None:
        """Ask for every account that is due. A request that fails changes no account's state."""
        now = time.monotonic()
        due = [
            asked
            for asked in await self._thread.run(_asked, self._interval_s)
            if self._left_alone.get(asked.account_id, now) <= now
            and (not asked.is_fresh or now - self._read_at.setdefault(asked.account_id, now) >= WHOLE_EVERY_S)
        ]
        for position, asked in enumerate(due):
            # Spread out, never in step: a whole pool must not ask at the same moment.
            gap_s = self._interval_s / len(due) * random.uniform(0.3, 0.7)
            if position and not await self._pause(gap_s):
                return
            self._read_at[asked.account_id] = time.monotonic()
            if not await self._refresh(asked):
                self._left_alone[asked.account_id] = time.monotonic() + LEFT_ALONE_S

    async def _refresh(self, asked: _Asked) -> bool:
        """Whether a reading was stored."""
        status, body = await self._ask(asked)
        if status == 401:
            renewed = await self._renewed(asked)
            if renewed is None:
                return False
            status, body = await self._ask(renewed)
        sample = usage_in(body, time.time()) if status == 200 else None
        if sample is None:
            logger.info("account %s: no usage figures (HTTP %s)", asked.account_id, status)
            return False
        await self._thread.run(sample_store, account_id=asked.account_id, sample=sample)
        return True

    async def _ask(self, asked: _Asked) -> tuple[int, bytes]:
        for pause_s in (*RETRIES_S, None):
            status, body = await self._ask_once(asked)
            if status not in _WORTH_ANOTHER_TRY and status != 0:
                break
            if pause_s is not None and not await self._pause(pause_s):
                break
        return status, body

    async def _ask_once(self, asked: _Asked) -> tuple[int, bytes]:
        """Status 0 when there was no answer."""
        try:
            return await usage_asked(self._client, self._url, asked.access_token, asked.chatgpt_account_id)
        except NoUsage as failure:
            logger.info("account %s: usage cannot be read: %s", asked.account_id, failure)
            return 0, b""

    async def _renewed(self, asked: _Asked) -> _Asked | None:
        try:
            fresh = await self._refresher.refresh(asked.account_id, stale_generation=asked.generation)
        except (RefreshRefused, RefreshFailed):
            return None
        return _Asked(asked.account_id, asked.chatgpt_account_id, fresh.access_token, fresh.generation)


async def usage_asked(
    client: HttpClient, url: str, access_token: str, chatgpt_account_id: str | None
) -> tuple[int, bytes]:
    """What the usage endpoint answers, once. Raises NoUsage when it does not answer."""
    headers = [
        (b"authorization", b"Bearer " + access_token.encode()),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"identity"),
        (b"user-agent", b"codexproxy/0.1"),
    ]
    if chatgpt_account_id:
        headers.append((b"chatgpt-account-id", chatgpt_account_id.encode()))
    try:
        # The client's own time-outs count silence; this one ends an answer that trickles.
        async with asyncio.timeout(TIMEOUT_S):
            response = await client.send("GET", url, headers, b"", Timeouts(TIMEOUT_S, TIMEOUT_S))
            try:
                return response.status, await response.read(BODY_LIMIT)
            finally:
                await response.close()
    except (TransportFailed, ResponseTooLarge, TimeoutError) as failure:
        raise NoUsage(str(failure) or f"There was no answer within {TIMEOUT_S:.0f} s.") from failure


def usage_in(body: bytes, now: float) -> Sample | None:
    """The reading that the endpoint's answer holds, if any."""
    return sample_from_usage(_object(body), now)


def usage_url(base_url: str) -> str:
    base = base_url if "/backend-api" in base_url else base_url + "/backend-api"
    return base + "/wham/usage"


def _asked(interval_s: float) -> list[_Asked]:
    """Accounts in use; fresh are those whose newest reading is not older than the interval."""
    fresh_since = timezone.now() - timedelta(seconds=interval_s)
    windows = current_windows()
    return [
        _Asked(
            account.pk,
            upstream_account_id(account),
            account.credential.access_token,
            account.credential.generation,
            any(row.recorded_at > fresh_since for row in windows.get(account.pk, {}).values()),
        )
        for account in accounts_for_pool()
        if account.status in _ASKED
    ]


def _object(body: bytes) -> dict[str, object]:
    try:
        payload = json.loads(body)
    except ValueError:
        return {}
    return payload if isinstance(payload, dict) else {}
