"""What changes an account, and what does not."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, connections

from accounts import services
from accounts.auth_file import ParsedAuth, parse
from accounts.changes import current_version
from accounts.models import Account, AccountEvent, AuditEvent, Credential
from accounts.services import NewTokens, StateConflict
from tests.builders import NOW, make_account, make_auth_json, make_jwt

pytestmark = pytest.mark.django_db

Status = Account.Status
ALL = list(Status)
LIMITED = [Status.RATE_LIMITED, Status.QUOTA_EXCEEDED]


def auth(**fields: Any) -> ParsedAuth:
    return parse(json.dumps(make_auth_json(**fields)))


def imported(**fields: Any) -> Account:
    return services.account_import(auth=auth(**fields), source="test").account


def block(account: Account, at: datetime = NOW, **fields: Any) -> int | None:
    given: dict[str, Any] = {
        "status": Status.RATE_LIMITED,
        "reason": "usage_limit_reached",
        "reset_at": NOW + timedelta(hours=1),
        "window_reset_at": None,
    }
    return services.account_block(account_id=account.pk, blocked_at=at, **(given | fields))


def fresh(account: Account) -> Account:
    return Account.objects.select_related("credential").get(pk=account.pk)


def test_an_unknown_account_is_added() -> None:
    result = services.account_import(auth=auth(user_id="user-1"), source="test")
    account = fresh(result.account)
    assert result.created
    assert (account.email, account.plan_type, account.status) == ("ann@example.com", "plus", "active")
    assert (account.chatgpt_account_id, account.chatgpt_user_id) == ("acc-1", "user-1")
    assert account.credential.refresh_token == "rt-ann@example.com"
    assert (account.credential.generation, account.credential.source) == (1, "test")
    assert AccountEvent.objects.get().kind == "imported"
    assert current_version() > 0


def test_a_known_account_is_updated_in_place() -> None:
    first = imported(plan="plus")
    result = services.account_import(auth=auth(plan="pro", tokens={"refresh_token": "newer"}), source="again")
    account = fresh(result.account)
    assert (result.created, account.pk, Account.objects.count()) == (False, first.pk, 1)
    assert account.plan_type == "pro"
    credential = account.credential
    assert (credential.refresh_token, credential.generation, credential.source) == ("newer", 2, "again")


def test_what_a_new_file_does_not_say_stays_known() -> None:
    first = imported(user_id="user-1", workspace_id="ws")
    bare = imported(user_id="user-1", email=None, plan=None)
    assert bare.pk == first.pk
    assert (bare.email, bare.plan_type, bare.workspace_id) == ("ann@example.com", "plus", "ws")


def test_the_same_person_is_known_under_a_new_e_mail() -> None:
    first = imported(user_id="user-1")
    again = imported(user_id="user-1", email="ann@new.example")
    assert (again.pk, again.email) == (first.pk, "ann@new.example")


@pytest.mark.parametrize("user_ids", [("user-1", "user-2"), (None, None)])
def test_two_people_of_one_workspace_are_two_accounts(user_ids: tuple[str | None, str | None]) -> None:
    people = [
        imported(workspace_id="ws", user_id=user_id, email=email)
        for user_id, email in zip(user_ids, ("ann@example.com", "bob@example.com"), strict=True)
    ]
    assert len({person.pk for person in people}) == 2
    again = imported(workspace_id="ws", user_id=user_ids[1], email="bob@example.com")
    assert again.pk == people[1].pk
    assert Account.objects.count() == 2


def test_one_person_in_two_chatgpt_accounts_is_two_accounts() -> None:
    assert imported(account_id="acc-1").pk != imported(account_id="acc-2").pk


def test_one_person_in_two_workspaces_of_one_chatgpt_account_is_two_accounts() -> None:
    first, second = (imported(user_id="user-1", workspace_id=name) for name in ("ws-1", "ws-2"))
    assert first.pk != second.pk
    assert imported(user_id="user-1", workspace_id="ws-1").pk == first.pk


@pytest.mark.parametrize("status", ALL)
def test_an_import_makes_active_whatever_is_not_paused(status: str) -> None:
    account = imported()
    Account.objects.update(status=status, status_reason="r", blocked_at=NOW, reset_at=NOW)
    again = imported()
    assert again.pk == account.pk
    assert again.status == (Status.PAUSED if status == Status.PAUSED else Status.ACTIVE)
    assert (again.status_reason, again.blocked_at, again.reset_at) == ("", None, None)


def test_the_age_of_a_token_is_that_of_the_file_and_never_in_the_future() -> None:
    assert fresh(imported(last_refresh="2026-01-02T03:04:05Z")).credential.refreshed_at.year == 2026
    assert fresh(imported(last_refresh="2999-01-01T00:00:00Z")).credential.refreshed_at.year < 2999


def test_the_loser_of_an_import_race_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    created = services._created

    def beaten(*args: Any) -> Account:
        created(*args)
        raise IntegrityError

    known = services.account_known
    answers = iter([None])
    monkeypatch.setattr(services, "_created", beaten)
    monkeypatch.setattr(services, "account_known", lambda auth: next(answers, None) or known(auth))
    # Rolled back with its savepoint, so the winner has to be there before.
    created(auth(), "winner")
    result = services.account_import(auth=auth(), source="loser")
    assert (result.created, Account.objects.count()) == (False, 1)


@pytest.mark.django_db(transaction=True)
def test_many_imports_at_once_make_one_account() -> None:
    together = Barrier(6)

    def one(number: int) -> bool:
        try:
            together.wait(10)
            return services.account_import(auth=auth(), source=f"thread {number}").created
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(one, range(6))) == [False] * 5 + [True]
    assert Credential.objects.get().generation == 6


def test_an_operator_pauses_and_resumes() -> None:
    account = make_account(status=Status.RATE_LIMITED, status_reason="r", blocked_at=NOW, reset_at=NOW)
    paused = services.account_pause(account_id=account.pk)
    assert (paused.status, paused.status_reason, paused.reset_at) == ("paused", "", None)
    assert services.account_resume(account_id=account.pk).status == Status.ACTIVE
    assert list(AccountEvent.objects.order_by("pk").values_list("kind", flat=True)) == ["paused", "resumed"]


@pytest.mark.parametrize("act", [services.account_pause, services.account_resume])
@pytest.mark.parametrize("status", [Status.REAUTH_REQUIRED, Status.DEACTIVATED])
def test_what_needs_a_sign_in_is_neither_paused_nor_resumed(act: Any, status: str) -> None:
    account = make_account(status=status, status_reason="why")
    version = current_version()
    with pytest.raises(StateConflict):
        act(account_id=account.pk)
    assert (fresh(account).status, fresh(account).status_reason) == (status, "why")
    assert current_version() == version


@pytest.mark.parametrize("act", [services.account_pause, services.account_resume, services.account_delete])
def test_an_unknown_account_is_told(act: Any) -> None:
    with pytest.raises(Account.DoesNotExist):
        act(account_id="nobody")


def test_an_account_is_deleted_with_its_tokens_and_events() -> None:
    account = imported()
    version = current_version()
    services.account_delete(account_id=account.pk)
    assert (Account.objects.count(), Credential.objects.count(), AccountEvent.objects.count()) == (0, 0, 0)
    assert current_version() > version


def test_an_account_is_renamed() -> None:
    account = make_account()
    services.account_rename(account_id=account.pk, alias=" Work ")
    assert fresh(account).display_name == "Work"
    with pytest.raises(ValidationError):
        services.account_rename(account_id=account.pk, alias="x" * 81)


@pytest.mark.parametrize("status", ALL)
def test_a_limit_blocks_only_what_is_in_use(status: str) -> None:
    account = make_account(status=status)
    version = block(account)
    if status in (Status.ACTIVE, *LIMITED):
        assert fresh(account).status == Status.RATE_LIMITED
        assert version == current_version()
        assert AccountEvent.objects.get().kind == "rate_limited"
    else:
        assert (fresh(account).status, version) == (status, None)


def test_a_block_is_stored_whole() -> None:
    account = make_account()
    week = NOW + timedelta(days=3)
    block(account, status=Status.QUOTA_EXCEEDED, reset_at=week, window_reset_at=week)
    row = fresh(account)
    assert (row.status, row.status_reason) == ("quota_exceeded", "usage_limit_reached")
    assert (row.blocked_at, row.reset_at, row.block_window_reset_at) == (NOW, week, week)


def test_an_older_refusal_never_replaces_a_newer_one() -> None:
    account = make_account()
    block(account, NOW)
    assert block(account, NOW - timedelta(seconds=1), reset_at=None) is None
    assert fresh(account).reset_at is not None
    assert block(account, NOW + timedelta(seconds=1)) is not None


def test_only_a_limit_can_block() -> None:
    with pytest.raises(ValueError, match="paused is not a limit"):
        block(make_account(), status="paused")


@pytest.mark.parametrize("status", ALL)
def test_only_a_limit_can_be_lifted(status: str) -> None:
    account = make_account(status=status, status_reason="r", blocked_at=NOW)
    version = services.account_unblock(account_id=account.pk, cause="the window was reset")
    if status in LIMITED:
        assert (fresh(account).status, fresh(account).status_reason) == ("active", "")
        assert version == current_version()
        assert AccountEvent.objects.get().detail == "the window was reset"
    else:
        assert (fresh(account).status, version) == (status, None)


def test_an_old_proof_never_lifts_a_newer_block() -> None:
    account = make_account()
    block(account, NOW + timedelta(seconds=1))
    assert services.account_unblock(account_id=account.pk, cause="old", blocked_at=NOW) is None
    assert fresh(account).status == Status.RATE_LIMITED
    at = fresh(account).blocked_at
    assert services.account_unblock(account_id=account.pk, cause="right", blocked_at=at)


def test_a_sign_in_is_required_once() -> None:
    account = make_account(status=Status.RATE_LIMITED, reset_at=NOW)
    assert services.account_require_sign_in(account_id=account.pk, reason="expired")
    row = fresh(account)
    assert (row.status, row.status_reason, row.reset_at) == ("reauth_required", "expired", None)
    assert services.account_require_sign_in(account_id=account.pk, reason="again") is None


def test_tokens_that_were_replaced_condemn_nobody() -> None:
    account = make_account(generation=3)
    assert services.account_require_sign_in(account_id=account.pk, reason="old", generation=2) is None
    assert fresh(account).status == Status.ACTIVE
    assert services.account_require_sign_in(account_id=account.pk, reason="now", generation=3)


def put_out(account: Account, status: str) -> None:
    if status == Status.DEACTIVATED:
        assert services.account_deactivate(account_id=account.pk, reason="closed")
    else:
        assert services.account_require_sign_in(account_id=account.pk, reason="revoked")
    assert fresh(account).status == status


@pytest.mark.parametrize("out", [Status.REAUTH_REQUIRED, Status.DEACTIVATED])
def test_what_was_paused_before_it_lost_its_sign_in_is_paused_after_the_next_one(out: str) -> None:
    account = imported()
    services.account_pause(account_id=account.pk)
    put_out(account, out)
    assert imported().status == Status.PAUSED
    services.account_resume(account_id=account.pk)
    put_out(account, out)
    imported()
    assert fresh(account).status == Status.ACTIVE, "the operator has ended the pause"


def test_tokens_that_come_after_a_refusal_end_no_pause() -> None:
    account = make_account()
    services.account_pause(account_id=account.pk)
    put_out(account, Status.REAUTH_REQUIRED)
    services.credential_store(account_id=account.pk, expected_generation=1, tokens=tokens())
    assert fresh(account).status == Status.PAUSED


def told(kind: str) -> str:
    return AccountEvent.objects.get(kind=kind).detail


def test_the_timeline_tells_what_a_refusal_ended_in_upstream_s_own_word() -> None:
    account = make_account(status=Status.RATE_LIMITED, reset_at=NOW)
    services.account_require_sign_in(account_id=account.pk, reason="Sign in again.", code="invalid_grant")
    until = f"{NOW:%Y-%m-%d %H:%M:%S}"
    assert told("reauth_required") == f"Sign in again. (invalid_grant); was rate limited until {until} UTC"
    services.account_deactivate(account_id=account.pk, reason="Closed.", code="account_deleted")
    assert told("deactivated") == "Closed. (account_deleted); was sign-in needed"


def test_the_timeline_tells_what_new_tokens_have_ended() -> None:
    account = make_account(status=Status.REAUTH_REQUIRED)
    services.credential_store(account_id=account.pk, expected_generation=1, tokens=tokens())
    assert told("refreshed") == "generation 2; was sign-in needed, is active"


def test_the_timeline_tells_which_state_an_import_has_ended() -> None:
    account = imported()
    put_out(account, Status.DEACTIVATED)
    imported()
    assert told("imported again").endswith("; was deactivated, is active")


def test_the_timeline_tells_which_limit_a_pause_takes_the_place_of() -> None:
    account = make_account(status=Status.QUOTA_EXCEEDED, reset_at=NOW)
    services.account_pause(account_id=account.pk)
    until = f"{NOW:%Y-%m-%d %H:%M:%S}"
    assert told("paused") == f"by command line; was quota exceeded until {until} UTC"


def test_a_closed_account_stays_closed() -> None:
    account = make_account(status=Status.PAUSED)
    assert services.account_deactivate(account_id=account.pk, reason="closed")
    assert services.account_deactivate(account_id=account.pk, reason="again") is None
    assert services.account_require_sign_in(account_id=account.pk, reason="r") is None
    assert (fresh(account).status, fresh(account).status_reason) == ("deactivated", "closed")


def test_a_plan_is_updated_when_it_differs() -> None:
    account = make_account(plan_type="plus")
    assert services.account_update_plan(account_id=account.pk, plan_type="PLUS ") is None
    assert services.account_update_plan(account_id=account.pk, plan_type="") is None
    assert services.account_update_plan(account_id=account.pk, plan_type="Pro")
    assert fresh(account).plan_type == "pro"


def tokens(**fields: Any) -> NewTokens:
    given: dict[str, Any] = {
        "access_token": "access-2",
        "refresh_token": "refresh-2",
        "id_token": "",
        "access_expires_at": NOW,
        "refreshed_at": NOW,
    }
    return NewTokens(**(given | fields))


def test_new_tokens_replace_the_generation_they_came_from() -> None:
    account = make_account(generation=4, source="import")
    former_id_token = account.credential.id_token
    stored = services.credential_store(account_id=account.pk, expected_generation=4, tokens=tokens())
    assert stored is not None
    assert (stored.access_token, stored.refresh_token, stored.generation) == ("access-2", "refresh-2", 5)
    assert (stored.id_token, stored.source, stored.rotated_at) == (former_id_token, "import", NOW)


def test_new_tokens_of_an_old_generation_are_not_stored() -> None:
    account = make_account(generation=4)
    assert services.credential_store(account_id=account.pk, expected_generation=3, tokens=tokens()) is None
    assert fresh(account).credential.access_token.startswith("access-1")


def test_a_new_id_token_tells_plan_and_e_mail() -> None:
    account = make_account()
    claims = {"email": "new@example.com", "https://api.openai.com/auth": {"chatgpt_plan_type": "Pro"}}
    services.credential_store(
        account_id=account.pk, expected_generation=1, tokens=tokens(id_token=make_jwt(claims))
    )
    assert (fresh(account).email, fresh(account).plan_type) == ("new@example.com", "pro")


@pytest.mark.parametrize(
    ("status", "afterwards"),
    [(Status.REAUTH_REQUIRED, "active"), (Status.PAUSED, "paused"), (Status.RATE_LIMITED, "rate_limited")],
)
def test_new_tokens_prove_that_no_sign_in_is_needed(status: str, afterwards: str) -> None:
    account = make_account(status=status)
    services.credential_store(account_id=account.pk, expected_generation=1, tokens=tokens())
    assert fresh(account).status == afterwards


def test_tokens_are_encrypted_at_rest() -> None:
    content = make_auth_json()
    account = services.account_import(auth=parse(json.dumps(content)), source="test").account
    services.credential_store(account_id=account.pk, expected_generation=1, tokens=tokens())
    imported(email="bob@example.com", account_id="acc-2")
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM accounts_credential")
        stored = repr(cursor.fetchall())
    # How every JWT of these begins. Less of it comes up by chance among so many random letters.
    jwt = content["tokens"]["access_token"].partition(".")[0]
    assert len(jwt) >= 20
    for token in ("access-2", "refresh-2", "rt-ann", "rt-bob", jwt):
        assert token not in stored


def test_the_routing_of_an_account_is_changed_told_and_on_the_audit_log() -> None:
    account = make_account()
    services.account_route(account_id=account.pk, policy="burn_first", stop_at_percent=90)
    assert (fresh(account).routing_policy, fresh(account).stop_at_percent) == ("burn_first", 90)
    assert AuditEvent.objects.get(action="account_routed").detail == "burn_first, stops at 90 % of the week"
    before = current_version()
    services.account_route(account_id=account.pk, policy="burn_first", stop_at_percent=90)
    assert current_version() == before


@pytest.mark.parametrize(("policy", "percent"), [("sometimes", None), ("normal", 0), ("normal", 101)])
def test_a_routing_that_cannot_be_is_refused(policy: str, percent: int | None) -> None:
    account = make_account()
    with pytest.raises(ValidationError):
        services.account_route(account_id=account.pk, policy=policy, stop_at_percent=percent)
