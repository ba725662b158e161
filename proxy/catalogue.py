"""Upstream's model catalogue: fetched with any account that can, passed through whole, kept for a while."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from accounts.tokens import RefreshFailed, RefreshRefused
from codexproxy.http import Response, ResponseTooLarge, TransportFailed
from proxy import headers, limits
from proxy.attempts import Services
from proxy.errors import Surfaced
from proxy.outcomes import UpstreamError
from proxy.pool import Member, Token
from proxy.routing import Ask, PassedOver, Refusal, obstacle
from proxy.surface import nobody, surfaced
from proxy.upstream import broken, refusal_of


@dataclass(frozen=True, slots=True)
class Catalogue:
    body: bytes
    etag: str | None
    fetched_at: float


class CatalogueCache:
    """One fetch at a time for each query; a stale catalogue is better than none."""

    def __init__(self, services: Services, store: Callable[[str, Catalogue], None]) -> None:
        self._services = services
        self._store = store
        self._known: OrderedDict[str, Catalogue] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}

    def load(self, query: str, catalogue: Catalogue) -> None:
        """What an earlier run fetched; it is asked for anew when it is old."""
        self._known[query] = catalogue

    async def get(self, query: str) -> Catalogue:
        """Raises Surfaced when there is none and none can be fetched."""
        if (fresh := self._fresh(query)) is not None:
            return fresh
        lock = self._locks.setdefault(query, asyncio.Lock())
        try:
            async with lock:
                if (fresh := self._fresh(query)) is not None:
                    return fresh
                return await self._fetched(query)
        finally:
            if not lock.locked():
                self._locks.pop(query, None)

    def _fresh(self, query: str) -> Catalogue | None:
        known = self._known.get(query)
        if known is None or self._services.clock() - known.fetched_at > limits.CATALOGUE_MAX_AGE_S:
            return None
        return known

    async def _fetched(self, query: str) -> Catalogue:
        try:
            found = await self._ask_pool(query)
        except Surfaced:
            if (stale := self._known.get(query)) is not None:
                return stale
            raise
        self._known[query] = found
        self._known.move_to_end(query)
        self._store(query, found)
        if len(self._known) > limits.CATALOGUES:
            self._known.popitem(last=False)
        return found

    async def _ask_pool(self, query: str) -> Catalogue:
        """Asks one account after the other. A helper endpoint says nothing about an account's health."""
        last: UpstreamError | None = None
        for member in self._readers():
            result = await self._ask_member(member, query)
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
