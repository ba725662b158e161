"""Upstream's model catalogue: fetched with an account of each plan, passed through whole, and kept."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from accounts.tokens import RefreshFailed, RefreshRefused
from codexproxy.http import Response, ResponseTooLarge, TransportFailed
from codexproxy.tasks import spawn
from proxy import headers, limits
from proxy.attempts import Services
from proxy.dialects.models import CATALOGUE_QUERY, bundled_models, joined, slugs
from proxy.errors import Surfaced
from proxy.outcomes import UpstreamError
from proxy.pool import Member, Token
from proxy.routing import Ask, PassedOver, Refusal, obstacle
from proxy.surface import nobody, surfaced
from proxy.upstream import broken, refusal_of

logger = logging.getLogger(__name__)

# Of the pause between failed syncs; it has long reached its limit by then.
_MOST_DOUBLINGS = 16


@dataclass(frozen=True, slots=True)
class Catalogue:
    body: bytes
    etag: str | None
    fetched_at: float


@dataclass(frozen=True, slots=True)
class Key:
    """What a catalogue depends on: the client's version, and the plan of the account that asks."""

    query: str
    plan_type: str


class CatalogueCache:
    """One fetch at a time for each key; a stale catalogue is better than none."""

    def __init__(self, services: Services, store: Callable[[Key, Catalogue], None]) -> None:
        self._services = services
        self._store = store
        self._known: OrderedDict[Key, Catalogue] = OrderedDict()
        self._locks: dict[Key, asyncio.Lock] = {}
        self._models: dict[str, frozenset[str]] = {}
        self._syncs_from = 0.0
        self._failed_syncs = 0

    def load(self, key: Key, catalogue: Catalogue) -> None:
        """What an earlier run fetched; it is asked for anew when it is old."""
        self._keep(key, catalogue)

    @property
    def models(self) -> frozenset[str]:
        """Every model that a known catalogue lists; the bundled ones while none is known."""
        return frozenset().union(*self._models.values()) or frozenset(bundled_models())

    def plans_without(self, model: str) -> frozenset[str]:
        """The plans that are known to lack a model which another plan has."""
        lacking = frozenset(plan for plan, models in self._models.items() if model not in models)
        return lacking if len(lacking) < len(self._models) else frozenset()

    async def get(self, query: str) -> Catalogue:
        """The catalogues of all plans in the pool in one. Raises Surfaced when there is none."""
        plans = self._plans()
        if not plans:
            known = [catalogue for key, catalogue in self._known.items() if key.query == query]
            if not known:
                raise nobody(Refusal(tuple(self._obstacles())))
            return merged(known)
        asked = (self._of_plan(Key(query, plan)) for plan in plans)
        results = await asyncio.gather(*asked, return_exceptions=True)
        found = [result for result in results if isinstance(result, Catalogue)]
        for result in results:
            if isinstance(result, BaseException) and not (found and isinstance(result, Surfaced)):
                raise result
        return merged(found)

    def sync_now_and_then(self) -> None:
        """Know which models each plan has: choosing an account and reading a model's name depend on it.

        Where there is nobody to ask, nothing is asked. After a failure the next request tries again, but
        later after each one.
        """
        now = self._services.clock()
        if now < self._syncs_from or not self._plans():
            return
        self._syncs_from = now + min(
            limits.CATALOGUE_RETRY_S * 2.0**self._failed_syncs, limits.CATALOGUE_SYNC_S
        )
        spawn(self._sync(), name="catalogues of all plans")

    async def _sync(self) -> None:
        try:
            await self.get(CATALOGUE_QUERY)
        except Surfaced as error:
            logger.info("the catalogues of models could not be fetched: %s", error)
        # An old catalogue, or one plan less, is an answer for a client, and yet no success.
        if all(self._fresh(Key(CATALOGUE_QUERY, plan)) for plan in self._plans()):
            self._syncs_from, self._failed_syncs = self._services.clock() + limits.CATALOGUE_SYNC_S, 0
        else:
            self._failed_syncs = min(self._failed_syncs + 1, _MOST_DOUBLINGS)

    def _plans(self) -> list[str]:
        return sorted({member.candidate.plan_type for member in self._readers()})

    async def _of_plan(self, key: Key) -> Catalogue:
        if (fresh := self._fresh(key)) is not None:
            return fresh
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                if (fresh := self._fresh(key)) is not None:
                    return fresh
                return await self._fetched(key)
        finally:
            if not lock.locked():
                self._locks.pop(key, None)

    def _fresh(self, key: Key) -> Catalogue | None:
        known = self._known.get(key)
        # Fetched in the future: the clock was set back.
        if known is None or not 0 <= self._services.clock() - known.fetched_at <= limits.CATALOGUE_MAX_AGE_S:
            return None
        return known

    async def _fetched(self, key: Key) -> Catalogue:
        try:
            found = await self._ask_pool(key)
        except Surfaced:
            if (stale := self._known.get(key)) is not None:
                return stale
            raise
        self._keep(key, found)
        self._store(key, found)
        return found

    def _keep(self, key: Key, catalogue: Catalogue) -> None:
        self._known[key] = catalogue
        self._known.move_to_end(key)
        if len(self._known) > limits.CATALOGUES:
            self._known.popitem(last=False)
        if models := slugs(catalogue.body):
            self._models[key.plan_type] = models

    async def _ask_pool(self, key: Key) -> Catalogue:
        """Asks one account after the other. A helper endpoint says nothing about an account's health."""
        last: UpstreamError | None = None
        for member in self._readers():
            if member.candidate.plan_type != key.plan_type:
                continue
            result = await self._ask_member(member, key.query)
            if isinstance(result, Catalogue):
                return result
            last = result
        if last is not None:
            raise surfaced(last, (), native=True)
        raise nobody(Refusal(tuple(self._obstacles())))

    def _readers(self) -> list[Member]:
        """Accounts that can read: a used-up limit is no obstacle, it only makes them second choice."""
        pool = self._services.pool
        able = [
            candidate
            for candidate in pool.candidates()
            if candidate.status == "active" or candidate.is_limited
        ]
        able.sort(key=lambda candidate: (candidate.is_limited, candidate.error_count, candidate.account_id))
        return [member for candidate in able if (member := pool.member(candidate.account_id)) is not None]

    def _obstacles(self) -> list[PassedOver]:
        now = self._services.clock()
        found = (obstacle(candidate, Ask(), now) for candidate in self._services.pool.candidates())
        return [passed_over for passed_over in found if passed_over is not None]

    async def _ask_member(self, member: Member, query: str) -> Catalogue | UpstreamError:
        for is_retry in (False, True):
            sent = member.token.generation
            try:
                response = await self._services.upstream.models(_request_headers(member), query)
            except TransportFailed as failure:
                return broken(failure)
            try:
                if response.status == 401 and not is_retry and await self._renewed(member, sent):
                    continue
                return await self._read(response)
            finally:
                await response.close()
        raise AssertionError("the second try always returns")

    async def _read(self, response: Response) -> Catalogue | UpstreamError:
        if response.status != 200:
            return await refusal_of(response)
        try:
            body = await response.read(limits.CATALOGUE_BODY_LIMIT)
        except TransportFailed as failure:
            return broken(failure)
        except ResponseTooLarge as error:
            return UpstreamError(502, {"code": "upstream_error", "message": str(error)})
        return Catalogue(body, response.header(b"etag"), self._services.clock())

    async def _renewed(self, member: Member, stale: int) -> bool:
        if member.token.generation > stale:
            return True
        account_id = member.candidate.account_id
        try:
            fresh = await self._services.refresher.refresh(account_id, stale_generation=stale)
        except (RefreshRefused, RefreshFailed):
            return False
        expires_at = fresh.expires_at.timestamp() if fresh.expires_at else None
        self._services.pool.token_refreshed(
            account_id, Token(fresh.access_token, fresh.generation, expires_at)
        )
        return True


def _request_headers(member: Member) -> headers.HeaderList:
    plain = [
        (b"accept", b"application/json"),
        (b"accept-encoding", b"identity"),
        (b"user-agent", headers.OUR_USER_AGENT),
    ]
    return headers.signed(plain, member.token.access, member.chatgpt_account_id)


def merged(catalogues: list[Catalogue]) -> Catalogue:
    """One catalogue with the models of all; a single one stays as it came."""
    if len(catalogues) == 1:
        return catalogues[0]
    body = joined([catalogue.body for catalogue in catalogues])
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Catalogue(body, etag, min(catalogue.fetched_at for catalogue in catalogues))
