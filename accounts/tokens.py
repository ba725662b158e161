"""Token refresh: one at a time for each account, across tasks and processes.

A refresh token works once. Spending it twice, or losing what it brought, signs the account out: therefore
one task asks for all that wait, a lease keeps other processes away, and new tokens are stored before
anybody uses them. While the database does not take them, the lease is kept with them.

RefreshRefused     for good; the account now needs a sign-in, or is closed
RefreshFailed      for now
└── AlreadyFresh   upstream refuses a token that is brand new: another would fare no better
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID, uuid4
from zlib import crc32

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from accounts import leases, selectors
from accounts.models import Credential
from accounts.services import NewTokens, account_deactivate, account_require_sign_in, credential_store
from accounts.token_answer import Failed, Granted, Refusal, Refused, read_answer
from accounts.unsaved import Unsaved, of_process
from codexproxy.crypto import EncryptionKeyError
from codexproxy.db import DatabaseThread
from codexproxy.http import HttpClient, ResponseTooLarge, Timeouts, TransportFailed
from codexproxy.tasks import spawn

CLIENT_ID = "app_EMoamEEZ73f0CkXaXp7hrann"
HEADERS = (
    (b"content-type", b"application/json"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"identity"),
    (b"user-agent", b"codexproxy/0.1"),
)
CALL_TIMEOUT_S = 30.0
LEASE_POLL_S = 0.2
COOLDOWN = timedelta(seconds=5)
BRAND_NEW_S = 60.0
EXPIRY_MARGIN = timedelta(minutes=10)
MAX_AGE = timedelta(days=8)
# Accounts that were added together are refreshed at different times, each up to so much earlier.
SPREAD = timedelta(minutes=30)
_SPREAD_OF_LIFE = 0.1
ANSWER_LIMIT = 256 * 1024
STORE_ATTEMPTS = 3
STORE_PAUSE_S = 0.5
# How long the database may keep a call waiting: for a connection, then for a lock (see codexproxy/env.py).
DATABASE_WAIT_S = 10.0
# Longer than everything that is done under it, or a second process would spend the same token: the lease is
# taken, the sign-in service is asked, and its answer is stored.
LEASE_TTL_S = DATABASE_WAIT_S + CALL_TIMEOUT_S + STORE_ATTEMPTS * (DATABASE_WAIT_S + STORE_PAUSE_S)
# A stop waits for a call that is on its way: what it brings is lost otherwise.
END_S = CALL_TIMEOUT_S
ENDING = "This process is ending."

logger = logging.getLogger(__name__)


class RefreshRefused(Exception):
    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class RefreshFailed(Exception):
    pass


class AlreadyFresh(RefreshFailed):
    pass


@dataclass(frozen=True, slots=True)
class FreshToken:
    access_token: str = field(repr=False)
    expires_at: datetime | None
    generation: int


class TokenRefresher:
    """Belongs to one event loop."""

    def __init__(
        self,
        *,
        client: HttpClient,
        thread: DatabaseThread,
        auth_base_url: str,
        now: Callable[[], datetime] = timezone.now,
        unsaved: Unsaved = of_process,
    ) -> None:
        self._client = client
        self._thread = thread
        self._url = f"{auth_base_url}/oauth/token"
        self._now = now
        self._running: dict[tuple[str, int], asyncio.Task[FreshToken | RefreshRefused | RefreshFailed]] = {}
        self._failed_at: dict[str, datetime] = {}
        self._unsaved = unsaved
        self._is_ending = False
        # False once `end` has given up on what runs, or on the database.
        self.is_ended_well = True

    async def refresh(
        self, account_id: str, *, stale_generation: int, reason: str = "unauthorized_recovery"
    ) -> FreshToken:
        """A token newer than `stale_generation`. Raises RefreshRefused and RefreshFailed."""
        if self._is_ending:
            raise RefreshFailed(ENDING)
        key = (account_id, stale_generation)
        task = self._running.get(key)
        if task is None:
            task = spawn(self._outcome(account_id, stale_generation, reason), name=f"refresh {account_id}")
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        # Shielded: a client that leaves must not lose a token that is already spent for all.
        outcome = await asyncio.shield(task)
        if isinstance(outcome, FreshToken):
            return outcome
        raise outcome

    async def end(self, timeout_s: float = END_S) -> None:
        """Begin no refresh any more, and wait for those that run: a token that is spent must not be lost."""
        self._is_ending = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        running = set(self._running.values())
        if running:
            _, running = await asyncio.wait(running, timeout=timeout_s)
        left_s = max(0.0, deadline - loop.time())
        self.is_ended_well = await asyncio.to_thread(self._unsaved.end, left_s) and not running
        if not self.is_ended_well:
            logger.error(
                "new tokens may be lost: they did not come, or were not stored, in %.0f s", timeout_s
            )

    async def _outcome(
        self, account_id: str, stale: int, reason: str
    ) -> FreshToken | RefreshRefused | RefreshFailed:
        """Failures are returned, as they are expected: a task that fails is logged with a traceback."""
        failed_at = self._failed_at.get(account_id)
        # One that is still to come was before the clock was set back.
        if failed_at is not None and failed_at <= self._now() < failed_at + COOLDOWN:
            return RefreshFailed("The last refresh of this account failed a moment ago.")
        try:
            fresh = await self._refresh(account_id, stale, reason)
        except (AlreadyFresh, RefreshRefused) as known:
            return known
        except RefreshFailed as failure:
            logger.warning("account %s: the token was not refreshed: %s", account_id, failure)
            error = failure
        except (DatabaseError, EncryptionKeyError) as failure:
            logger.exception("account %s: the token was not refreshed", account_id)
            error = RefreshFailed(f"The stored tokens cannot be used: {failure}")
        else:
            self._failed_at.pop(account_id, None)
            return fresh
        self._failed_at[account_id] = self._now()
        return error

    async def _refresh(self, account_id: str, stale: int, reason: str) -> FreshToken:
        holder = uuid4()
        credential = await self._claim(account_id, holder, stale)
        if credential.generation > stale:
            return _as_fresh(credential)
        try:
            return await self._renew(credential, holder, reason)
        finally:
            if account_id not in self._unsaved:
                await self._release(account_id, holder)

    async def _release(self, account_id: str, holder: UUID) -> None:
        try:
            await self._thread.run(leases.release, lease_name(account_id), holder)
        except DatabaseError:
            # It ends by itself; what the refresh has brought is worth more.
            logger.warning("the lease of account %s was not given back", account_id, exc_info=True)

    async def _claim(self, account_id: str, holder: UUID, stale: int) -> Credential:
        """The credential: ours to refresh, or already refreshed by another process."""
        deadline = asyncio.get_running_loop().time() + LEASE_TTL_S
        while not self._is_ending:
            credential, is_ours = await self._thread.run(_claim, account_id, holder, stale, self._now())
            if credential is None:
                raise RefreshFailed("The account is gone.")
            if is_ours or credential.generation > stale:
                return credential
            if asyncio.get_running_loop().time() >= deadline:
                raise RefreshFailed("Another process refreshes this account and does not come to an end.")
            await asyncio.sleep(LEASE_POLL_S)
        raise RefreshFailed(ENDING)

    async def _renew(self, credential: Credential, holder: UUID, reason: str) -> FreshToken:
        if credential.account_id in self._unsaved:
            # The lease was lost with the database: the stored token is spent all the same.
            raise RefreshFailed("Its new tokens are not stored yet.")
        if _is_brand_new(credential, self._now()):
            raise AlreadyFresh("The token was refreshed less than a minute ago.")
        answer = await self._ask(credential.refresh_token, reason)
        if isinstance(answer, Failed):
            raise RefreshFailed(answer.message)
        if isinstance(answer, Refused):
            return await self._refused(credential, answer)
        tokens = NewTokens(
            access_token=answer.access_token,
            refresh_token=answer.refresh_token or credential.refresh_token,
            id_token=answer.id_token,
            access_expires_at=answer.expires_at,
            refreshed_at=self._now(),
        )
        return await self._store(credential, holder, tokens)

    async def _ask(self, refresh_token: str, reason: str) -> Granted | Refused | Failed:
        content = json.dumps(
            {
                "client_id": CLIENT_ID,
                "grant_type": "refresh_token",
                "refresh_reason": reason,
                "refresh_token": refresh_token,
            }
        ).encode()
        timeouts = Timeouts(read_s=CALL_TIMEOUT_S)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                response = await self._client.send("POST", self._url, HEADERS, content, timeouts)
                try:
                    return read_answer(response.status, await response.read(ANSWER_LIMIT), self._now())
                finally:
                    await response.close()
        except TransportFailed as failure:
            return Failed(f"The sign-in service cannot be reached: {failure}")
        except TimeoutError:
            return Failed(f"The sign-in service did not answer within {CALL_TIMEOUT_S:.0f} seconds.")
        except ResponseTooLarge as failure:
            return Failed(str(failure))

    async def _store(self, credential: Credential, holder: UUID, tokens: NewTokens) -> FreshToken:
        """Stored first, used then. A database that is busy is asked again: these tokens exist only here."""
        account_id = credential.account_id
        write = partial(_store, account_id, credential.generation, tokens)
        for attempt in range(1, STORE_ATTEMPTS + 1):
            try:
                stored = await self._thread.run(write)
                break
            except DatabaseError:
                if attempt == STORE_ATTEMPTS:
                    keep = partial(_store_under_lease, lease_name(account_id), holder, self._now, write)
                    self._unsaved.keep(account_id, keep)
                    raise
                await asyncio.sleep(STORE_PAUSE_S)
        if stored is None:
            raise RefreshFailed("The account is gone.")
        return _as_fresh(stored)

    async def _refused(self, credential: Credential, refused: Refused) -> FreshToken:
        account_id = credential.account_id
        # "Used before" may mean that another process was quicker; then its token is the answer.
        stored = await self._thread.run(selectors.credential_get, account_id)
        if stored is not None and stored.generation > credential.generation:
            return _as_fresh(stored)
        logger.warning("account %s: the refresh was refused: %s", account_id, refused.code)
        if refused.refusal is Refusal.CLOSED:
            await self._thread.run(
                account_deactivate, account_id=account_id, reason=refused.reason, code=refused.code
            )
        else:
            await self._thread.run(
                account_require_sign_in,
                account_id=account_id,
                reason=refused.reason,
                generation=credential.generation,
                code=refused.code,
            )
        raise RefreshRefused(refused.code, refused.reason)


def due_for_refresh(credentials: Iterable[Credential], now: datetime) -> list[Credential]:
    """Those whose access token ends soon, or whose refresh token was not used for long."""
    return [
        credential
        for credential in credentials
        if next_refresh_at(credential.account_id, credential.access_expires_at, credential.refreshed_at)
        <= now
    ]


def next_refresh_at(account_id: str, access_expires_at: datetime | None, refreshed_at: datetime) -> datetime:
    """Always the same for the same tokens, so that it can be shown."""
    by_age = refreshed_at + MAX_AGE
    latest = by_age if access_expires_at is None else min(by_age, access_expires_at - EXPIRY_MARGIN)
    # A short-lived token is not spread over most of its life.
    spread = min(SPREAD, max(timedelta(), latest - refreshed_at) * _SPREAD_OF_LIFE)
    return latest - spread * (crc32(account_id.encode()) / 2**32)


async def refresh_due(
    refresher: TokenRefresher,
    thread: DatabaseThread,
    now: datetime,
    is_stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Refresh what is due, one after the other; returns how many have a new token."""
    refreshed = 0
    for credential in due_for_refresh(await thread.run(selectors.credentials_in_use), now):
        if is_stopped():
            break
        try:
            await refresher.refresh(
                credential.account_id, stale_generation=credential.generation, reason="proactive_expiry"
            )
        except (RefreshRefused, RefreshFailed):
            # The refresher has said so; the others are still due.
            continue
        refreshed += 1
    return refreshed


def refresh_now(*, account_id: str) -> FreshToken:
    """For a button: refresh from a thread that has no event loop. Raises RefreshRefused and RefreshFailed."""
    try:
        credential = selectors.credential_get(account_id)
    except EncryptionKeyError:
        raise RefreshFailed(selectors.UNREADABLE) from None
    if credential is None:
        raise RefreshFailed("The account is gone.")
    return async_to_sync(_refresh_once)(account_id, credential.generation)


async def _refresh_once(account_id: str, generation: int) -> FreshToken:
    client, thread = HttpClient(), DatabaseThread("refresh")
    try:
        refresher = TokenRefresher(client=client, thread=thread, auth_base_url=settings.AUTH_BASE_URL)
        return await refresher.refresh(account_id, stale_generation=generation, reason="proactive_expiry")
    finally:
        await client.close()
        await asyncio.to_thread(thread.close)


def lease_name(account_id: str) -> str:
    return f"refresh:{account_id}"


def _claim(account_id: str, holder: UUID, stale: int, now: datetime) -> tuple[Credential | None, bool]:
    """Lease first, then read: whoever had the lease before may have stored a newer generation."""
    name = lease_name(account_id)
    is_ours = leases.acquire(name, holder=holder, ttl_s=LEASE_TTL_S, now=now)
    try:
        credential = selectors.credential_get(account_id)
    except EncryptionKeyError:
        leases.release(name, holder)
        raise
    if is_ours and (credential is None or credential.generation > stale):
        leases.release(name, holder)
        is_ours = False
    return credential, is_ours


def _store(account_id: str, generation: int, tokens: NewTokens) -> Credential | None:
    """What is stored afterwards: these tokens, or those of an import that came meanwhile."""
    stored = credential_store(account_id=account_id, expected_generation=generation, tokens=tokens)
    return stored or selectors.credential_get(account_id)


def _store_under_lease(
    name: str, holder: UUID, now: Callable[[], datetime], write: Callable[[], object]
) -> None:
    """Nobody else may spend the former token until this has been written."""
    leases.acquire(name, holder=holder, ttl_s=LEASE_TTL_S, now=now())
    write()
    leases.release(name, holder)


def _is_brand_new(credential: Credential, now: datetime) -> bool:
    rotated_at, expires_at = credential.rotated_at, credential.access_expires_at
    if rotated_at is None or not timedelta() <= now - rotated_at < timedelta(seconds=BRAND_NEW_S):
        return False
    return expires_at is None or expires_at > now


def _as_fresh(credential: Credential) -> FreshToken:
    return FreshToken(credential.access_token, credential.access_expires_at, credential.generation)
