"""One refresh at a time, nothing spent twice, nothing lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError
from django.db.models import F
from hypothesis import given
from hypothesis import strategies as st

from accounts import leases, tokens
from accounts.models import Account, Credential, Lease
from accounts.tokens import (
    EXPIRY_MARGIN,
    MAX_AGE,
    SPREAD,
    AlreadyFresh,
    FreshToken,
    RefreshFailed,
    RefreshRefused,
    TokenRefresher,
    due_for_refresh,
    next_refresh_at,
    refresh_due,
)
from accounts.unsaved import Unsaved
from codexproxy.crypto import EncryptionKeyError
from codexproxy.db import DatabaseThread
from codexproxy.http import TransportFailed
from tests.accounts.sign_in_service import EXPIRES_AT, Answer, SignInService, granted, refused
from tests.builders import NOW, make_account, make_unreadable

pytestmark = pytest.mark.django_db(transaction=True)

ACCOUNT = "acc-1_00000001"


class Clock:
    def __init__(self) -> None:
        self.moment = NOW

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def thread() -> Iterator[DatabaseThread]:
    thread = DatabaseThread("test")
    yield thread
    thread.close()


Make = Callable[[SignInService], TokenRefresher]


@pytest.fixture
def make(thread: DatabaseThread, clock: Clock) -> Iterator[Make]:
    unsaved = Unsaved(retry_s=0.01)

    def refresher(service: SignInService) -> TokenRefresher:
        given: dict[str, Any] = {"client": service, "thread": thread, "now": clock, "unsaved": unsaved}
        return TokenRefresher(auth_base_url="http://auth.test", **given)

    yield refresher
    assert unsaved.end(30)


def refresh(refresher: TokenRefresher, stale: int = 1, account_id: str = ACCOUNT) -> FreshToken:
    return asyncio.run(refresher.refresh(account_id, stale_generation=stale))


def stored(account_id: str = ACCOUNT) -> Credential:
    return Credential.objects.select_related("account").get(pk=account_id)


def test_a_refresh_brings_and_stores_new_tokens(make: Make) -> None:
    make_account(ACCOUNT, email="former@example.com")
    service = SignInService()
    fresh = refresh(make(service))
    credential = stored()
    assert fresh == FreshToken(credential.access_token, EXPIRES_AT, 2)
    assert (credential.refresh_token, credential.generation, credential.refreshed_at) == ("refresh-2", 2, NOW)
    assert credential.account.email == "ann@example.com"
    assert credential.account.status == Account.Status.ACTIVE
    assert not Lease.objects.exists()


def test_the_request_is_what_the_sign_in_service_expects(make: Make) -> None:
    make_account(ACCOUNT)
    service = SignInService()
    refresh(make(service))
    (call,) = service.calls
    assert (call["method"], call["url"]) == ("POST", "http://auth.test/oauth/token")
    assert call["headers"] == {
        b"content-type": b"application/json",
        b"accept": b"application/json",
        b"accept-encoding": b"identity",
        b"user-agent": b"codexproxy/0.1",
    }
    assert call["body"] == {
        "client_id": "app_EMoamEEZ73f0CkXaXp7hrann",
        "grant_type": "refresh_token",
        "refresh_reason": "unauthorized_recovery",
        "refresh_token": f"refresh-1-of-{ACCOUNT}",
    }
    assert call["timeouts"].read_s == 30


def test_tokens_that_the_answer_omits_stay(make: Make) -> None:
    former = make_account(ACCOUNT).credential
    answer = granted()
    del answer.content["refresh_token"], answer.content["id_token"]
    refresh(make(SignInService([answer])))
    assert (stored().refresh_token, stored().id_token) == (former.refresh_token, former.id_token)
    assert stored().generation == 2


def test_32_at_once_make_one_call_and_ask_the_database_once(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_account(ACCOUNT)
    service = SignInService(delay_s=0.05)
    refresher = make(service)
    claim, claims = tokens._claim, []

    def counted(account_id: str, *given: Any) -> Any:
        claims.append(account_id)
        return claim(account_id, *given)

    monkeypatch.setattr(tokens, "_claim", counted)

    async def scenario() -> list[FreshToken]:
        return await asyncio.gather(*(refresher.refresh(ACCOUNT, stale_generation=1) for _ in range(32)))

    found = asyncio.run(scenario())
    assert (len(service.calls), len(claims)) == (1, 1)
    assert {fresh.generation for fresh in found} == {2}
    assert len({fresh.access_token for fresh in found}) == 1


def test_two_processes_make_one_call(make: Make, clock: Clock) -> None:
    make_account(ACCOUNT)
    service = SignInService(delay_s=0.3)
    other = DatabaseThread("other")
    client: Any = service
    second = TokenRefresher(client=client, thread=other, auth_base_url="http://auth.test", now=clock)
    first = make(service)

    async def scenario() -> list[FreshToken]:
        both = (refresher.refresh(ACCOUNT, stale_generation=1) for refresher in (first, second))
        return await asyncio.gather(*both)

    try:
        found = asyncio.run(scenario())
    finally:
        other.close()
    assert len(service.calls) == 1
    assert found[0] == found[1]
    assert not Lease.objects.exists()


def test_accounts_do_not_wait_for_each_other(make: Make) -> None:
    names = (ACCOUNT, "acc-2_00000002")
    for name in names:
        make_account(name)
    service = SignInService()
    refresher = make(service)

    async def scenario() -> None:
        both_are_asked = asyncio.Barrier(2)

        async def meanwhile() -> None:
            await both_are_asked.wait()

        service.meanwhile = meanwhile
        async with asyncio.timeout(10):
            await asyncio.gather(*(refresher.refresh(name, stale_generation=1) for name in names))

    asyncio.run(scenario())
    assert len(service.calls) == 2


def test_a_waiter_that_leaves_takes_nothing_with_it(make: Make) -> None:
    make_account(ACCOUNT)
    service = SignInService(delay_s=0.1)
    refresher = make(service)

    async def scenario() -> FreshToken:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.03):
                await refresher.refresh(ACCOUNT, stale_generation=1)
        return await refresher.refresh(ACCOUNT, stale_generation=1)

    assert asyncio.run(scenario()).generation == 2
    assert len(service.calls) == 1


def test_what_another_has_refreshed_costs_no_call(make: Make) -> None:
    make_account(ACCOUNT, generation=3)
    service = SignInService()
    assert refresh(make(service), stale=2).generation == 3
    assert service.calls == []
    assert not Lease.objects.exists()


def test_a_held_lease_is_waited_for_until_it_ends(make: Make, clock: Clock) -> None:
    make_account(ACCOUNT)
    holder = uuid4()
    leases.acquire(f"refresh:{ACCOUNT}", holder=holder, ttl_s=30, now=NOW)
    service = SignInService()
    refresher = make(service)

    async def scenario() -> FreshToken:
        asyncio.get_running_loop().call_later(0.3, clock.advance, 31)
        return await refresher.refresh(ACCOUNT, stale_generation=1)

    assert asyncio.run(scenario()).generation == 2
    assert len(service.calls) == 1


def test_the_wait_for_a_lease_ends(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make_account(ACCOUNT)
    leases.acquire(f"refresh:{ACCOUNT}", holder=uuid4(), ttl_s=30, now=NOW)
    monkeypatch.setattr(tokens, "LEASE_TTL_S", 0.3)
    service = SignInService()
    with pytest.raises(RefreshFailed, match="Another process"):
        refresh(make(service))
    assert service.calls == []


def test_tokens_that_are_not_stored_are_not_handed_out(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make_account(ACCOUNT)
    monkeypatch.setattr(tokens, "STORE_PAUSE_S", 0.01)
    attempts = []

    def failing(**given: Any) -> Any:
        attempts.append(given)
        raise DatabaseError("database is locked")

    with monkeypatch.context() as broken, pytest.raises(RefreshFailed, match="database is locked"):
        broken.setattr(tokens, "credential_store", failing)
        refresh(make(SignInService()))
    assert len(attempts) >= tokens.STORE_ATTEMPTS


def test_a_token_imported_during_the_refresh_wins(make: Make, thread: DatabaseThread) -> None:
    make_account(ACCOUNT)

    async def imported() -> None:
        await thread.run(
            lambda: Credential.objects.update(access_token="imported", generation=F("generation") + 1)
        )

    fresh = refresh(make(SignInService(meanwhile=imported)))
    assert (fresh.access_token, fresh.generation) == ("imported", 2)
    assert stored().access_token == "imported"


def test_reused_but_rotated_elsewhere_is_no_refusal(make: Make, thread: DatabaseThread) -> None:
    make_account(ACCOUNT)

    async def rotated() -> None:
        await thread.run(lambda: Credential.objects.update(access_token="theirs", generation=2))

    service = SignInService([refused("refresh_token_reused")], meanwhile=rotated)
    assert refresh(make(service)).access_token == "theirs"
    assert stored().account.status == Account.Status.ACTIVE


@pytest.mark.parametrize("code", ["refresh_token_reused", "refresh_token_expired", "invalid_grant"])
def test_a_refusal_for_good_needs_a_sign_in(make: Make, code: str) -> None:
    make_account(ACCOUNT)
    with pytest.raises(RefreshRefused) as caught:
        refresh(make(SignInService([refused(code)])))
    account = stored().account
    assert caught.value.code == code
    assert account.status == Account.Status.REAUTH_REQUIRED
    assert account.status_reason == caught.value.reason != ""
    assert not Lease.objects.exists()


def test_a_closed_account_is_deactivated(make: Make) -> None:
    make_account(ACCOUNT)
    with pytest.raises(RefreshRefused, match="deactivated"):
        refresh(make(SignInService([refused("account_deactivated", 403)])))
    assert stored().account.status == Account.Status.DEACTIVATED


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, b"oops"),
        Answer(503, {"error": {"code": "invalid_grant"}}),
        Answer(429, {"error": {"code": "rate_limited"}}),
        Answer(401, b"<html>"),
        Answer(200, b"[]"),
        TransportFailed("connect", "refused"),
    ],
)
def test_a_passing_failure_changes_nothing(make: Make, answer: Answer | Exception) -> None:
    make_account(ACCOUNT)
    with pytest.raises(RefreshFailed):
        refresh(make(SignInService([answer])))
    assert (stored().account.status, stored().generation) == (Account.Status.ACTIVE, 1)
    assert not Lease.objects.exists()


def test_silence_ends(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make_account(ACCOUNT)
    monkeypatch.setattr(tokens, "CALL_TIMEOUT_S", 0.05)
    with pytest.raises(RefreshFailed, match="did not answer"):
        refresh(make(SignInService(delay_s=5)))


def test_after_a_failure_the_account_is_left_alone_for_a_moment(make: Make, clock: Clock) -> None:
    make_account(ACCOUNT)
    make_account("acc-2_00000002")
    service = SignInService([Answer(500, b""), granted()])
    refresher = make(service)
    for _ in range(3):
        with pytest.raises(RefreshFailed):
            refresh(refresher)
    assert len(service.calls) == 1
    assert refresh(refresher, account_id="acc-2_00000002").generation == 2
    clock.advance(5)
    assert refresh(refresher).generation == 2


def test_a_brand_new_token_is_not_refreshed_again(make: Make, clock: Clock) -> None:
    make_account(ACCOUNT)
    service = SignInService([granted(2), granted(3)])
    refresher = make(service)
    refresh(refresher)
    clock.advance(59)
    with pytest.raises(AlreadyFresh):
        refresh(refresher, stale=2)
    clock.advance(1)
    # Neither did that failure start a time of rest.
    assert refresh(refresher, stale=2).generation == 3
    assert len(service.calls) == 2


def test_a_token_that_was_just_imported_may_be_refreshed(make: Make) -> None:
    make_account(ACCOUNT, refreshed_at=NOW)
    assert refresh(make(SignInService())).generation == 2


def test_an_account_that_is_gone_is_a_failure(make: Make) -> None:
    with pytest.raises(RefreshFailed, match="gone"):
        refresh(make(SignInService()))
    assert not Lease.objects.exists()


def test_a_token_that_cannot_be_decrypted_is_a_failure(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make_account(ACCOUNT)

    def unreadable(account_id: str) -> None:
        raise EncryptionKeyError("wrong key")

    monkeypatch.setattr(tokens.selectors, "credential_get", unreadable)
    with pytest.raises(RefreshFailed, match="wrong key"):
        refresh(make(SignInService()))
    assert not Lease.objects.exists()


def test_no_token_is_logged_or_shown(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    make_account(ACCOUNT)
    caplog.set_level(logging.DEBUG)
    service = SignInService([Answer(500, {"refresh_token": "secret-1"}), granted(refresh_token="secret-2")])
    with pytest.raises(RefreshFailed) as caught:
        refresh(make(service))
    fresh = refresh(make(service))
    shown = caplog.text + str(caught.value) + repr(fresh)
    assert not any(token in shown for token in ("secret-", "refresh-1-of", fresh.access_token))


def credential(expires_in: timedelta | None, age: timedelta) -> Credential:
    expires_at = None if expires_in is None else NOW + expires_in
    # The empty name is the one whose turn comes latest.
    return Credential(account_id="", access_expires_at=expires_at, refreshed_at=NOW - age)


@pytest.mark.parametrize(
    ("expires_in", "age", "is_due"),
    [
        (timedelta(days=1), timedelta(days=1), False),
        (timedelta(minutes=10), timedelta(days=1), True),
        (timedelta(minutes=11), timedelta(days=1), False),
        (timedelta(days=-1), timedelta(0), True),
        (timedelta(days=1), timedelta(days=8), True),
        (None, timedelta(days=7), False),
        (None, timedelta(days=9), True),
    ],
)
def test_a_token_is_due_when_it_ends_soon_or_is_old(
    expires_in: timedelta | None, age: timedelta, is_due: bool
) -> None:
    one = credential(expires_in, age)
    assert due_for_refresh([one], NOW) == ([one] if is_due else [])


def test_accounts_that_were_added_together_are_refreshed_at_different_times() -> None:
    expires_at = NOW + timedelta(days=5)
    times = {next_refresh_at(f"account-{number}", expires_at, NOW) for number in range(20)}
    assert len(times) == 20
    assert all(timedelta() <= expires_at - EXPIRY_MARGIN - at <= SPREAD for at in times)
    assert max(times) - min(times) > SPREAD / 2


@given(
    st.text(max_size=20),
    st.none() | st.timedeltas(timedelta(minutes=11), timedelta(days=30)),
)
def test_a_token_is_refreshed_late_in_its_life_and_always_before_its_end(
    account_id: str, life: timedelta | None
) -> None:
    expires_at = None if life is None else NOW + life
    at = next_refresh_at(account_id, expires_at, NOW)
    latest = NOW + MAX_AGE if expires_at is None else min(NOW + MAX_AGE, expires_at - EXPIRY_MARGIN)
    assert NOW + 0.9 * (latest - NOW) <= at <= latest


def test_the_job_refreshes_what_is_due_and_goes_on_after_a_failure(
    make: Make, thread: DatabaseThread
) -> None:
    soon = NOW + timedelta(minutes=5)
    for name, status in (
        ("a_1", "active"),
        ("b_1", "paused"),
        ("c_1", "rate_limited"),
        ("d_1", "deactivated"),
    ):
        make_account(name, status=status, access_expires_at=soon)
    make_account("later_1")
    service = SignInService([refused("invalid_grant"), granted()])
    assert asyncio.run(refresh_due(make(service), thread, NOW)) == 2
    assert {call["body"]["refresh_reason"] for call in service.calls} == {"proactive_expiry"}
    assert stored("a_1").account.status == Account.Status.REAUTH_REQUIRED
    generations = dict(Credential.objects.values_list("pk", "generation"))
    assert generations == {"a_1": 1, "b_1": 2, "c_1": 2, "d_1": 1, "later_1": 1}


def test_a_button_refreshes_from_an_ordinary_thread() -> None:
    make_account(ACCOUNT)
    # Nothing listens at the test settings' address: the failure is the real client's.
    with pytest.raises(RefreshFailed, match="cannot be reached"):
        tokens.refresh_now(account_id=ACCOUNT)
    with pytest.raises(RefreshFailed, match="gone"):
        tokens.refresh_now(account_id="nobody")


def test_a_button_says_that_tokens_cannot_be_read() -> None:
    make_unreadable(make_account(ACCOUNT))
    with pytest.raises(RefreshFailed, match="cannot be read with the present encryption key"):
        tokens.refresh_now(account_id=ACCOUNT)
