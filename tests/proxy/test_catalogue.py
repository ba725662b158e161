from __future__ import annotations

from typing import Any

import pytest

from codexproxy.http import TransportFailed
from proxy.catalogue import Catalogue, CatalogueCache
from proxy.errors import Surfaced
from tests.proxy.fakes import NOW, DataPlane, FakeResponse, refusal, unreachable, view

pytestmark = pytest.mark.asyncio

QUERY = "client_version=0.169.0"


class Plane(DataPlane):
    """Answers the catalogue's request by account."""

    def __init__(self, *views: Any, **script: list[Any]) -> None:
        super().__init__(*views)
        self.asked: list[str] = []
        self.script = script
        self.stored: list[str] = []
        upstream: Any = self.upstream
        upstream.models = self._models
        self.cache = CatalogueCache(self.services, lambda query, catalogue: self.stored.append(query))

    async def _models(self, headers: list[tuple[bytes, bytes]], query: str) -> Any:
        account = dict(headers)[b"chatgpt-account-id"].decode()
        self.asked.append(account)
        waiting = self.script.get(account, [])
        answer = waiting.pop(0) if waiting else ok()
        if isinstance(answer, TransportFailed):
            raise answer
        return answer


def ok() -> FakeResponse:
    return FakeResponse(200, (b'{"models":[]}',), [(b"etag", b'W/"1"')])


async def test_it_is_fetched_once_and_kept_for_a_while() -> None:
    plane = Plane(view("a"))
    for _ in range(3):
        found = await plane.cache.get(QUERY)
    assert (found.body, found.etag) == (b'{"models":[]}', 'W/"1"')
    assert plane.asked == ["a"]
    assert plane.stored == [QUERY]
    plane.clock.now += 301
    await plane.cache.get(QUERY)
    assert plane.asked == ["a", "a"]


async def test_each_client_version_has_its_own() -> None:
    plane = Plane(view("a"))
    await plane.cache.get(QUERY)
    await plane.cache.get("client_version=0.118.0")
    assert len(plane.asked) == 2


async def test_an_account_that_cannot_read_says_nothing_about_its_health() -> None:
    plane = Plane(view("a"), view("b"), a=[refusal(500)])
    await plane.cache.get(QUERY)
    assert plane.asked == ["a", "b"]
    assert plane.candidate("a").error_count == 0


async def test_a_used_up_limit_is_no_obstacle() -> None:
    plane = Plane(view("a", status="rate_limited", reset_at=NOW + 60))
    await plane.cache.get(QUERY)
    assert plane.asked == ["a"]


async def test_a_401_is_answered_by_one_refresh() -> None:
    plane = Plane(view("a"), a=[refusal(401)])
    await plane.cache.get(QUERY)
    assert plane.refresher.calls == [("a", 1)]


async def test_an_old_catalogue_is_better_than_none() -> None:
    plane = Plane(view("a"), a=[unreachable()])
    plane.cache.load(QUERY, Catalogue(b"old", None, NOW - 86_400))
    assert (await plane.cache.get(QUERY)).body == b"old"


async def test_without_any_the_last_refusal_is_told() -> None:
    plane = Plane(view("a"), a=[refusal(500)])
    with pytest.raises(Surfaced) as caught:
        await plane.cache.get(QUERY)
    assert caught.value.status == 500


async def test_an_empty_pool_is_told() -> None:
    with pytest.raises(Surfaced, match="no account"):
        await Plane().cache.get(QUERY)
