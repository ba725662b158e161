"""New tokens that the database does not take: kept, and stored when it does; the old one is spent once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, OperationalError

from accounts import leases, tokens
from accounts.models import Account, Credential, Lease
from accounts.tokens import FreshToken, RefreshFailed, TokenRefresher, lease_name, refresh_due
from accounts.unsaved import Unsaved
from codexproxy.db import DatabaseThread
from tests.accounts.sign_in_service import SignInService, granted, refused
from tests.builders import NOW, make_account

pytestmark = pytest.mark.django_db(transaction=True)

ACCOUNT = "acc-1_00000001"


class Database:
    """Takes no tokens while it is locked."""

    def __init__(self) -> None:
        self.is_locked = True
        self._store = tokens.credential_store

    def store(self, **given: Any) -> Any:
        if self.is_locked:
            raise OperationalError("database is locked")
        return self._store(**given)

    def store_nothing(self) -> None:
        if self.is_locked:
            raise OperationalError("database is locked")


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    locked = Database()
    monkeypatch.setattr(tokens, "credential_store", locked.store)
    monkeypatch.setattr(tokens, "STORE_PAUSE_S", 0.01)
    return locked


class Process:
    """A refresher with a thread and unsaved tokens of its own."""

    def __init__(self, service: SignInService) -> None:
        self.thread, self.unsaved = DatabaseThread("test"), Unsaved(retry_s=0.01)
        given: dict[str, Any] = {"client": service, "thread": self.thread, "unsaved": self.unsaved}
        self.refresher = TokenRefresher(auth_base_url="http://auth.test", **given)

    async def refresh(self) -> FreshToken:
        return await self.refresher.refresh(ACCOUNT, stale_generation=1)

    def close(self) -> None:
        assert self.unsaved.end(30)
        self.thread.close()


@pytest.fixture
def process(database: Database) -> Iterator[Callable[[SignInService], Process]]:
    begun: list[Process] = []

    def begin(service: SignInService) -> Process:
        begun.append(Process(service))
        return begun[-1]

    yield begin
    database.is_locked = False
    for one in begun:
        one.close()


Begin = Callable[[SignInService], Process]


def test_tokens_that_could_not_be_stored_are_stored_when_the_database_takes_them(
    process: Begin, database: Database
) -> None:
    make_account(ACCOUNT)
    service = SignInService()
    one = process(service)
    with pytest.raises(RefreshFailed, match="database is locked"):
        asyncio.run(one.refresh())
    assert Lease.objects.exists(), "the lease is kept with the tokens"
    database.is_locked = False
    assert one.unsaved.end(30)
    credential = Credential.objects.get()
    assert (credential.refresh_token, credential.generation, len(service.calls)) == ("refresh-2", 2, 1)
    assert not Lease.objects.exists()


def test_a_second_process_does_not_spend_the_token_of_one_that_could_not_store(
    process: Begin, database: Database
) -> None:
    make_account(ACCOUNT)
    service = SignInService([granted(2), refused("refresh_token_reused")])
    first, second = process(service), process(service)

    async def scenario() -> FreshToken:
        with pytest.raises(RefreshFailed):
            await first.refresh()
        waiting = asyncio.ensure_future(second.refresh())
        # It has looked at the lease, and more than once, before the database takes the tokens.
        for _ in range(2):
            await second.thread.run(lambda: None)
            await asyncio.sleep(tokens.LEASE_POLL_S)
        database.is_locked = False
        return await waiting

    assert asyncio.run(scenario()).generation == 2
    assert len(service.calls) == 1
    assert Account.objects.get().status == Account.Status.ACTIVE


def test_a_token_is_not_spent_again_when_the_lease_was_lost_with_the_database(
    process: Begin, database: Database
) -> None:
    make_account(ACCOUNT)
    service = SignInService([refused("refresh_token_reused")])
    one = process(service)
    one.unsaved.keep(ACCOUNT, database.store_nothing)
    with pytest.raises(RefreshFailed, match="not stored yet"):
        asyncio.run(one.refresh())
    assert service.calls == []


def test_what_waits_is_tried_until_it_is_written() -> None:
    unsaved, tries = Unsaved(retry_s=0.01), []

    def write() -> None:
        tries.append("tried")
        if len(tries) < 4:
            raise DatabaseError("locked")

    unsaved.keep("ann", write)
    assert unsaved.end(30)
    assert (len(tries), "ann" in unsaved) == (4, False)


def test_an_end_does_not_wait_for_ever() -> None:
    unsaved, is_locked = Unsaved(retry_s=0.01), True

    def write() -> None:
        if is_locked:
            raise DatabaseError("locked")

    unsaved.keep("ann", write)
    assert not unsaved.end(0.05)
    is_locked = False
    assert unsaved.end(30)


def test_with_nothing_to_write_there_is_nothing_to_wait_for() -> None:
    assert Unsaved().end(0)


def test_the_lease_outlives_all_that_is_done_under_it() -> None:
    storing_s = tokens.STORE_ATTEMPTS * (tokens.DATABASE_WAIT_S + tokens.STORE_PAUSE_S)
    assert tokens.CALL_TIMEOUT_S + storing_s <= tokens.LEASE_TTL_S


# --- at a stop ----------------------------------------------------------------------------------


@pytest.fixture
def thread() -> Iterator[DatabaseThread]:
    thread = DatabaseThread("test")
    yield thread
    thread.close()


def refresher(service: SignInService, thread: DatabaseThread) -> TokenRefresher:
    given: dict[str, Any] = {"client": service, "thread": thread, "now": lambda: NOW, "unsaved": Unsaved()}
    return TokenRefresher(auth_base_url="http://auth.test", **given)


def test_an_end_waits_for_the_refresh_that_runs_and_stores_what_it_brings(thread: DatabaseThread) -> None:
    make_account(ACCOUNT)
    service = SignInService()
    one = refresher(service, thread)

    async def scenario() -> None:
        is_asked, may_answer = asyncio.Event(), asyncio.Event()

        async def meanwhile() -> None:
            is_asked.set()
            await may_answer.wait()

        service.meanwhile = meanwhile
        client = asyncio.ensure_future(one.refresh(ACCOUNT, stale_generation=1))
        await is_asked.wait()
        client.cancel()
        ending = asyncio.ensure_future(one.end(timeout_s=60))
        await asyncio.wait({ending}, timeout=0.05)
        assert not ending.done()
        may_answer.set()
        await ending

    asyncio.run(scenario())
    assert (Credential.objects.get().refresh_token, one.is_ended_well) == ("refresh-2", True)


def test_after_the_end_no_token_is_spent(thread: DatabaseThread) -> None:
    make_account(ACCOUNT)
    service = SignInService()
    one = refresher(service, thread)

    async def scenario() -> None:
        await one.end()
        with pytest.raises(RefreshFailed, match="ending"):
            await one.refresh(ACCOUNT, stale_generation=1)

    asyncio.run(scenario())
    assert service.calls == []


def test_a_refresh_that_waits_for_another_process_is_not_waited_for(thread: DatabaseThread) -> None:
    make_account(ACCOUNT)
    leases.acquire(lease_name(ACCOUNT), holder=uuid4(), ttl_s=tokens.LEASE_TTL_S, now=NOW)
    service = SignInService()
    one = refresher(service, thread)

    async def scenario() -> None:
        waiting = asyncio.ensure_future(one.refresh(ACCOUNT, stale_generation=1))
        # It has begun, and found the lease taken.
        await asyncio.sleep(0)
        await thread.run(lambda: None)
        await one.end(timeout_s=60)
        with pytest.raises(RefreshFailed, match="ending"):
            await waiting

    asyncio.run(scenario())
    assert (service.calls, one.is_ended_well, Lease.objects.count()) == ([], True, 1)


def test_silence_of_the_sign_in_service_does_not_keep_a_process_from_ending(thread: DatabaseThread) -> None:
    make_account(ACCOUNT)
    service = SignInService()
    one = refresher(service, thread)

    async def scenario() -> None:
        is_asked = asyncio.Event()

        async def meanwhile() -> None:
            is_asked.set()
            await asyncio.Event().wait()

        service.meanwhile = meanwhile
        client = asyncio.ensure_future(one.refresh(ACCOUNT, stale_generation=1))
        await is_asked.wait()
        await one.end(timeout_s=0.05)
        client.cancel()

    asyncio.run(scenario())
    assert not one.is_ended_well


def test_the_job_stops_between_two_accounts(thread: DatabaseThread) -> None:
    for name in ("a_1", "b_1"):
        make_account(name, access_expires_at=NOW + timedelta(minutes=5))
    service = SignInService()
    one = refresher(service, thread)
    done = asyncio.run(refresh_due(one, thread, NOW, lambda: len(service.calls) == 1))
    assert (done, len(service.calls)) == (1, 1)
