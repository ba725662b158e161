from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from codexproxy.http import TransportFailed
from proxy.catalogue import Catalogue, CatalogueCache, Key
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
        self.stored: list[Key] = []
        upstream: Any = self.upstream
        upstream.models = self._models
        self.cache = CatalogueCache(self.services, lambda key, catalogue: self.stored.append(key))

    async def _models(self, headers: list[tuple[bytes, bytes]], query: str) -> Any:
        account = dict(headers)[b"chatgpt-account-id"].decode()
        self.asked.append(account)
        waiting = self.script.get(account, [])
        answer = waiting.pop(0) if waiting else ok()
        if isinstance(answer, TransportFailed):
            raise answer
        return answer


def ok(*models: str) -> FakeResponse:
    body = json.dumps({"models": [{"slug": slug} for slug in models]}, separators=(",", ":")).encode()
    return FakeResponse(200, (body,), [(b"etag", b'W/"1"')])


def two_plans(plus: Any = None, pro: Any = None) -> Plane:
    views = (view("a", plan_type="plus"), view("b", plan_type="pro"))
    return Plane(*views, a=[plus or ok("small")], b=[pro or ok("small", "large")])


async def test_it_is_fetched_once_and_kept_for_a_while() -> None:
    plane = Plane(view("a"))
    for _ in range(3):
        found = await plane.cache.get(QUERY)
    assert (found.body, found.etag) == (b'{"models":[]}', 'W/"1"')
    assert plane.asked == ["a"]
    assert plane.stored == [Key(QUERY, "plus")]
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
    plane.cache.load(Key(QUERY, "plus"), Catalogue(b"old", None, NOW - 86_400))
    assert (await plane.cache.get(QUERY)).body == b"old"


async def test_without_any_the_last_refusal_is_told() -> None:
    plane = Plane(view("a"), a=[refusal(500)])
    with pytest.raises(Surfaced) as caught:
        await plane.cache.get(QUERY)
    assert caught.value.status == 500


async def test_an_empty_pool_is_told() -> None:
    with pytest.raises(Surfaced, match="no account"):
        await Plane().cache.get(QUERY)


async def test_plans_with_different_models_make_one_list() -> None:
    plane = two_plans()
    found = await plane.cache.get(QUERY)
    assert sorted(plane.asked) == ["a", "b"]
    assert [model["slug"] for model in json.loads(found.body)["models"]] == ["small", "large"]
    assert found.etag != 'W/"1"'


async def test_a_plan_that_cannot_be_asked_leaves_the_others_list() -> None:
    found = await two_plans(plus=refusal(500)).cache.get(QUERY)
    assert [model["slug"] for model in json.loads(found.body)["models"]] == ["small", "large"]


async def test_it_is_known_which_plan_lacks_a_model() -> None:
    plane = two_plans()
    assert plane.cache.plans_without("large") == frozenset()
    await plane.cache.get(QUERY)
    assert plane.cache.plans_without("large") == {"plus"}
    assert plane.cache.plans_without("small") == frozenset()


async def test_a_model_that_no_list_has_is_upstream_s_business() -> None:
    plane = two_plans()
    await plane.cache.get(QUERY)
    assert plane.cache.plans_without("brand-new") == frozenset()


async def test_the_models_are_the_bundled_ones_until_a_list_is_known() -> None:
    plane = two_plans()
    assert "gpt-5.5" in plane.cache.models
    await plane.cache.get(QUERY)
    assert plane.cache.models == {"small", "large"}


async def test_plans_are_looked_at_by_themselves_now_and_then() -> None:
    plane = two_plans()
    for _ in range(2):
        plane.cache.sync_now_and_then()
        await settled()
    assert sorted(plane.asked) == ["a", "b"]
    plane.clock.now += 3600
    plane.cache.sync_now_and_then()
    await settled()
    assert len(plane.asked) == 4


async def test_one_plan_alone_is_looked_at_too() -> None:
    """Its models decide what a name such as gpt-9-high means."""
    plane = Plane(view("a"), view("b"), a=[ok("gpt-9")])
    plane.cache.sync_now_and_then()
    await settled()
    assert plane.asked == ["a"]
    assert "gpt-9" in plane.cache.models


async def test_an_empty_pool_asks_nobody_and_its_first_account_is_asked_at_once() -> None:
    plane = Plane()
    plane.cache.sync_now_and_then()
    await settled()
    assert plane.asked == []
    plane.swap(view("a"))
    plane.cache.sync_now_and_then()
    await settled()
    assert plane.asked == ["a"]


async def asked_in(plane: Plane, minutes: int) -> int:
    """How often the accounts are asked while a request comes every ten seconds."""
    before = len(plane.asked)
    for _ in range(minutes * 6):
        plane.cache.sync_now_and_then()
        await settled()
        plane.clock.now += 10
    return len(plane.asked) - before


async def test_a_sync_that_failed_is_tried_again_soon_and_then_ever_later() -> None:
    plane = Plane(view("a"), a=[refusal(500) for _ in range(100)])
    # At once, and after 1, 3, 7, 15 and 31 minutes.
    assert [await asked_in(plane, minutes) for minutes in (1, 1, 2, 4, 8, 16)] == [1, 1, 1, 1, 1, 1]
    assert await asked_in(plane, 10 * 60) <= 11


async def test_after_a_success_the_next_sync_is_in_an_hour_and_fails_as_if_it_was_the_first() -> None:
    failed = [refusal(500), refusal(500), ok("small"), refusal(500), refusal(500)]
    plane = Plane(view("a"), a=failed)
    assert await asked_in(plane, 4) == 3
    assert await asked_in(plane, 58) == 0
    assert await asked_in(plane, 4) == 2


async def test_an_old_catalogue_that_serves_meanwhile_is_no_success() -> None:
    plane = Plane(view("a"), a=[unreachable(), ok("small")])
    plane.cache.load(Key(QUERY, "plus"), Catalogue(b'{"models":[]}', None, NOW - 86_400))
    assert await asked_in(plane, 2) == 2
    assert plane.cache.models == {"small"}


async def test_a_plan_that_could_not_be_asked_is_asked_again_alone() -> None:
    plane = two_plans(plus=refusal(500))
    assert await asked_in(plane, 2) == 3
    assert sorted(plane.asked) == ["a", "a", "b"]


async def settled() -> None:
    """Until the tasks that were started have run: nothing here waits for the outside."""
    for _ in range(20):
        await asyncio.sleep(0)
