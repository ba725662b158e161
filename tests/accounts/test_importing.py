"""Files: what they would do, and that no refresh token is spent in vain."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from accounts import audit, auth_file, importing, leases, selectors, services
from accounts.importing import Brought, Outcome, Step, bring, newest_first, plan
from accounts.models import Account, AccountEvent, AuditEvent, Lease
from accounts.tokens import STORE_ATTEMPTS, lease_name
from accounts.unsaved import Unsaved
from proxy.simulator import Refreshed, RefreshRefused, SimAccount, Simulator
from tests.builders import make_unreadable

pytestmark = pytest.mark.django_db


def parsed(account: SimAccount, **fields: Any) -> auth_file.ParsedAuth:
    return auth_file.parse(json.dumps(account.auth_json() | fields))


def brought(account: SimAccount, **fields: Any) -> Brought:
    return bring(auth=parsed(account, **fields), source="test")


def opencode(account: SimAccount) -> str:
    tokens = account.auth_json()["tokens"]
    return json.dumps(
        {
            "openai": {
                "type": "oauth",
                "access": tokens["access_token"],
                "refresh": tokens["refresh_token"],
                "accountId": tokens["account_id"],
                "expires": 1900000000000,
            }
        }
    )


def test_a_refresh_token_is_tried_and_what_it_brings_is_stored(sim: Simulator) -> None:
    former = sim.accounts["ann"].refresh_token
    result = brought(sim.accounts["ann"])
    assert (result.outcome, result.created) == (Outcome.VERIFIED, True)
    credential = selectors.credential_get(Account.objects.get().pk)
    assert credential is not None
    assert former != credential.refresh_token == sim.accounts["ann"].refresh_token
    assert credential.access_token == sim.accounts["ann"].access_token
    assert credential.rotated_at is not None
    assert sim.violations == []


def test_opencodes_file_is_tried_too(sim: Simulator) -> None:
    result = bring(auth=auth_file.parse(opencode(sim.accounts["ann"])), source="test")
    assert result.outcome is Outcome.VERIFIED
    assert Account.objects.get().email == "ann@example.com"


@pytest.mark.parametrize("reply", [RefreshRefused.expired(), RefreshRefused.reused()])
def test_a_refused_file_stores_nothing(sim: Simulator, reply: RefreshRefused) -> None:
    sim.accounts["ann"].script_refresh(reply)
    result = brought(sim.accounts["ann"])
    assert (result.outcome, result.account) == (Outcome.REFUSED, None)
    assert result.message.endswith("Sign in again.")
    assert not Account.objects.exists()


def test_a_refused_file_leaves_a_known_account_as_it_was(sim: Simulator) -> None:
    account = brought(sim.accounts["ann"]).account
    assert account is not None
    before = selectors.credential_get(account.pk)
    sim.accounts["ann"].script_refresh(RefreshRefused.expired())
    later = (timezone.now() + timedelta(hours=1)).isoformat()
    assert brought(sim.accounts["ann"], last_refresh=later).outcome is Outcome.REFUSED
    after = selectors.credential_get(account.pk)
    assert before is not None and after is not None
    assert (after.refresh_token, after.generation) == (before.refresh_token, before.generation)
    assert Account.objects.get().status == Account.Status.ACTIVE


def test_when_nobody_answers_the_account_is_marked_as_not_verified(sim: Simulator, settings: Any) -> None:
    auth = parsed(sim.accounts["ann"])
    settings.AUTH_BASE_URL = "http://127.0.0.1:9"
    result = bring(auth=auth, source="test")
    assert result.outcome is Outcome.UNVERIFIED
    assert "cannot be reached" in result.message
    credential = selectors.credential_get(Account.objects.get().pk)
    assert credential is not None
    assert (credential.refresh_token, credential.rotated_at) == (auth.refresh_token, None)
    assert "not verified yet" in AccountEvent.objects.get().detail


def test_a_file_that_is_older_than_a_sign_in_that_works_is_not_even_tried(sim: Simulator) -> None:
    old = parsed(sim.accounts["ann"])
    bring(auth=old, source="test")
    assert plan(old).step is Step.KEEP
    assert bring(auth=old, source="test").outcome is Outcome.KEPT
    assert len(sim.refreshes) == 1
    assert sim.violations == []


def test_an_old_file_is_tried_when_the_account_is_signed_out(sim: Simulator) -> None:
    old = parsed(sim.accounts["ann"])
    bring(auth=old, source="test")
    services.account_require_sign_in(account_id=Account.objects.get().pk, reason="revoked")
    assert plan(old).step is Step.UPDATE
    assert bring(auth=old, source="test").outcome is Outcome.REFUSED


def test_the_plan_says_what_is_new_and_what_is_known(sim: Simulator) -> None:
    assert plan(parsed(sim.accounts["ann"])).step is Step.ADD
    account = brought(sim.accounts["ann"]).account
    later = (timezone.now() + timedelta(hours=1)).isoformat()
    planned = plan(parsed(sim.accounts["ann"], last_refresh=later))
    assert (planned.step, planned.account) == (Step.UPDATE, account)
    assert plan(parsed(sim.accounts["bob"])).step is Step.ADD


def test_a_token_that_is_being_refreshed_is_left_alone(sim: Simulator) -> None:
    account = brought(sim.accounts["ann"]).account
    assert account is not None
    leases.acquire(lease_name(account.pk), holder=uuid4(), ttl_s=60, now=timezone.now())
    later = (timezone.now() + timedelta(hours=1)).isoformat()
    waits: list[float] = []
    file = parsed(sim.accounts["ann"], last_refresh=later)
    result = bring(auth=file, source="test", pause=waits.append)
    assert sum(waits) == pytest.approx(5)
    assert (result.outcome, "at this moment" in result.message) == (Outcome.REFUSED, True)
    assert len(sim.refreshes) == 1


def test_a_paused_account_stays_paused(sim: Simulator) -> None:
    account = brought(sim.accounts["ann"]).account
    assert account is not None
    services.account_pause(account_id=account.pk)
    later = (timezone.now() + timedelta(hours=1)).isoformat()
    assert brought(sim.accounts["ann"], last_refresh=later).outcome is Outcome.VERIFIED
    assert Account.objects.get().status == Account.Status.PAUSED


def two_of(account: SimAccount, other: str | None = "2026-01-01T00:00:00Z") -> list[auth_file.ParsedAuth]:
    """The account's file of now, and one of another time with another token."""
    tokens = account.auth_json()["tokens"] | {"refresh_token": "rt-of-another-time"}
    return [parsed(account, tokens=tokens, last_refresh=other), parsed(account)]


def test_of_several_files_the_newest_comes_first_and_one_without_a_time_last(sim: Simulator) -> None:
    old, new = two_of(sim.accounts["ann"])
    untold = parsed(sim.accounts["bob"], last_refresh=None)
    assert newest_first([untold, old, new])[0] is new


@pytest.mark.parametrize("verify", [True, False])
def test_an_older_file_of_the_same_account_is_not_tried(sim: Simulator, verify: bool) -> None:
    old, new = two_of(sim.accounts["ann"])
    assert plan(old, [new]).step is Step.OLDER
    bring(auth=new, source="test", verify=verify)
    result = bring(auth=old, source="test", verify=verify, before=[new])
    assert result.outcome is Outcome.KEPT
    assert "of the same account, and newer" in result.message
    assert len(sim.refreshes) == verify
    assert sim.violations == []


def test_a_file_that_does_not_say_its_age_is_not_tried_beside_one_that_does(sim: Simulator) -> None:
    old, new = two_of(sim.accounts["ann"], other=None)
    assert plan(old, [new]).step is Step.OLDER


def test_files_of_two_people_and_of_two_workspaces_are_all_of_use(sim: Simulator) -> None:
    ann = parsed(sim.accounts["ann"])
    tokens = sim.accounts["ann"].auth_json()["tokens"] | {"account_id": "another-workspace"}
    assert plan(parsed(sim.accounts["bob"]), [ann]).step is Step.ADD
    assert plan(parsed(sim.accounts["ann"], tokens=tokens), [ann]).step is Step.ADD


def test_a_file_waits_for_the_refresh_that_runs_and_is_not_tried_when_that_was_its_own(
    sim: Simulator,
) -> None:
    ann = sim.accounts["ann"]
    account = brought(ann).account
    assert account is not None
    asked, holder = len(sim.refreshes), uuid4()
    newer = account.credential.refreshed_at + timedelta(microseconds=1)
    file = parsed(ann, last_refresh=newer.isoformat())
    assert leases.acquire(lease_name(account.pk), holder=holder, ttl_s=60, now=timezone.now())

    def meanwhile(seconds: float) -> None:
        # Whoever has the lease brings the same file, and is done.
        spent = replace(file, refresh_token="its successor", refreshed_at=timezone.now())
        services.account_import(auth=spent, source="test")
        leases.release(lease_name(account.pk), holder)

    result = bring(auth=file, source="test", pause=meanwhile)
    assert (result.outcome, len(sim.refreshes)) == (Outcome.KEPT, asked)


def test_a_sign_in_that_nobody_can_read_gives_way_to_any_file(sim: Simulator) -> None:
    account = brought(sim.accounts["ann"]).account
    assert account is not None
    make_unreadable(account)
    old = brought(sim.accounts["ann"], last_refresh="2020-01-01T00:00:00Z")
    assert old.outcome is Outcome.VERIFIED
    credential = selectors.credential_get(account.pk)
    assert credential is not None and credential.refresh_token == sim.accounts["ann"].refresh_token


@pytest.mark.django_db(transaction=True)
def test_the_same_file_many_times_at_once_is_tried_once(sim: Simulator) -> None:
    ann = sim.accounts["ann"]
    # All of them have looked, and found no account, before the first has an answer.
    ann.script_refresh(Refreshed(delay_s=1.0))
    file = parsed(ann)
    begin = threading.Barrier(8)

    def bring_it(_: int) -> Outcome:
        begin.wait(60)
        try:
            return bring(auth=file, source="test").outcome
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as importers:
        found = list(importers.map(bring_it, range(8)))
    assert sorted(outcome.value for outcome in found) == ["kept"] * 7 + ["verified"]
    assert (len(sim.refreshes), Account.objects.count()) == (1, 1)
    assert not Lease.objects.exists()
    assert sim.violations == []


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Each try to store takes one; with none left the database is free again."""
    store, left = services.account_import, [True] * 100

    def busy(**given: Any) -> services.ImportResult:
        if left:
            left.pop()
            raise OperationalError("database is locked")
        return store(**given)

    monkeypatch.setattr(services, "account_import", busy)
    return left


def test_a_database_that_is_busy_for_a_moment_costs_no_token(sim: Simulator, locked: list[bool]) -> None:
    locked[:] = [True] * (STORE_ATTEMPTS - 1)
    waits: list[float] = []
    result = bring(auth=parsed(sim.accounts["ann"]), source="test", pause=waits.append)
    assert (result.outcome, len(waits)) == (Outcome.VERIFIED, STORE_ATTEMPTS - 1)


@pytest.mark.django_db(transaction=True)
def test_what_the_database_does_not_take_is_kept_and_stored_later(
    sim: Simulator, locked: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    unsaved = Unsaved(retry_s=0.01)
    monkeypatch.setattr(importing, "of_process", unsaved)
    with audit.acting_as(audit.Actor("ann")), pytest.raises(OperationalError):
        bring(auth=parsed(sim.accounts["ann"]), source="test", pause=lambda _: None)
    assert Lease.objects.exists(), "nobody else may try the file"
    locked.clear()
    assert unsaved.end(60)
    credential = selectors.credential_get(Account.objects.get().pk)
    assert credential is not None and credential.refresh_token == sim.accounts["ann"].refresh_token
    assert [event.actor for event in AuditEvent.objects.all()] == ["ann"]
    assert not Lease.objects.exists()
