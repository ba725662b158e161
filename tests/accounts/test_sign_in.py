"""Flows: each step happens once, each end is said in words, and nothing is stored by halves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import connection, connections
from django.utils import timezone

from accounts import sign_in
from accounts.models import Account, AccountEvent, AuditEvent, Credential, SignInFlow
from accounts.sign_in_client import Unreachable
from accounts.sign_in_protocol import Callback, Declined, read_pasted
from accounts.sign_in_scope import Scope
from proxy.simulator import Simulator
from tests.accounts.signing_in import HERE, exchanges, redirect_after, signed_in
from tests.builders import make_account

pytestmark = pytest.mark.django_db

Status = SignInFlow.Status
ELSEWHERE = Scope("another browser")


def browser(target_id: str = "", scope: Scope = HERE) -> SignInFlow:
    return sign_in.start_browser(scope=scope, target_id=target_id)


def device(scope: Scope = HERE, target_id: str = "") -> SignInFlow:
    return sign_in.start_device(scope=scope, target_id=target_id)


def make_due(flow: SignInFlow) -> SignInFlow:
    SignInFlow.objects.filter(pk=flow.pk).update(next_poll_at=timezone.now())
    return flow


def make_overdue(flow: SignInFlow) -> SignInFlow:
    SignInFlow.objects.filter(pk=flow.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    flow.refresh_from_db()
    return flow


def test_it_works(sim: Simulator) -> None:
    flow = signed_in(browser(), "ann")
    account = Account.objects.get()
    assert (flow.status, flow.account_id, flow.created) == (Status.SUCCESS, account.pk, True)
    assert (account.email, account.plan_type, account.status) == ("ann@example.com", "plus", "active")
    credential = Credential.objects.get()
    assert credential.refresh_token == sim.accounts["ann"].refresh_token
    assert (credential.source, credential.rotated_at is not None) == ("browser sign-in", True)
    assert [event.kind for event in AccountEvent.objects.all()] == ["signed in"]
    assert sim.violations == []


def test_an_ended_flow_keeps_no_secret(sim: Simulator) -> None:
    flow = signed_in(browser(), "ann")
    assert (flow.code_verifier, flow.authorization_url, flow.payload) == ("", "", "")


def test_the_table_shows_no_secret(sim: Simulator) -> None:
    flow = browser()
    state = read_pasted(redirect_after(flow.authorization_url, "ann")).state
    waiting = device()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {SignInFlow._meta.db_table}")
        content = repr(cursor.fetchall())
    for secret in (state, flow.code_verifier, waiting.device_auth_id, waiting.user_code, HERE.secret):
        assert secret and secret not in content


def test_a_code_is_spent_once(sim: Simulator) -> None:
    redirected = read_pasted(redirect_after(browser().authorization_url, "ann"))
    sign_in.receive(redirected)
    with pytest.raises(sign_in.CallbackRefused, match="already finished"):
        sign_in.receive(redirected)
    assert exchanges(sim) == 1
    assert Account.objects.count() == 1


def test_an_unknown_state_changes_nothing_and_asks_nobody(sim: Simulator) -> None:
    flow = browser()
    with pytest.raises(sign_in.CallbackRefused, match="not known here"):
        sign_in.receive(Callback("made-up", "ac_1"))
    flow.refresh_from_db()
    assert flow.status == Status.PENDING
    assert exchanges(sim) == 0


def test_two_browser_flows_at_once_both_work(sim: Simulator) -> None:
    first, second = browser(), browser(scope=ELSEWHERE)
    assert signed_in(second, "bob").status == Status.SUCCESS
    first.refresh_from_db()
    assert first.status == Status.PENDING
    assert signed_in(first, "ann").status == Status.SUCCESS
    assert Account.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_many_who_bring_the_same_code_spend_it_once(sim: Simulator) -> None:
    redirected = read_pasted(redirect_after(browser().authorization_url, "ann"))
    together = Barrier(4)

    def bring(_: int) -> bool:
        try:
            together.wait(10)
            sign_in.receive(redirected)
        except sign_in.CallbackRefused:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(bring, range(4))) == 1
    assert exchanges(sim) == 1


def test_a_refusal_of_the_service_ends_the_flow_with_its_words(sim: Simulator) -> None:
    flow = signed_in(browser(), "denied")
    assert (flow.status, flow.message) == (Status.ERROR, "The sign-in service refused: access_denied")
    assert exchanges(sim) == 0


def test_an_expired_code_is_told_and_nothing_is_stored(sim: Simulator) -> None:
    redirected = read_pasted(redirect_after(browser().authorization_url, "ann"))
    sim.codes.clear()
    flow = sign_in.receive(redirected)
    assert flow.status == Status.ERROR
    assert "has expired or was used before" in flow.message
    assert not Account.objects.exists()


def test_a_service_that_fails_is_told_and_nothing_is_stored(sim: Simulator) -> None:
    redirected = read_pasted(redirect_after(browser().authorization_url, "ann"))
    sim.exchange_status = 500
    flow = sign_in.receive(redirected)
    assert flow.status == Status.ERROR
    assert "answered 500" in flow.message
    assert not Account.objects.exists()


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"not json"),
        (200, b"[]"),
        (200, b'{"access_token": "a b"}'),
        (200, b'{"id_token": "x", "access_token": "y", "refresh_token": "z"}'),
    ],
)
def test_an_answer_that_cannot_be_used_is_told(answer: tuple[int, bytes]) -> None:
    flow = browser()
    state = _state_of(flow)
    ended = sign_in.receive(Callback(state, "code"), ask=lambda *question: answer)
    assert ended.status == Status.ERROR
    assert "Start the sign-in again" in ended.message
    assert not Account.objects.exists()


def test_a_service_that_cannot_be_reached_is_told() -> None:
    flow = browser()
    ended = sign_in.receive(Callback(_state_of(flow), "code"), ask=_unreachable)
    assert (ended.status, ended.message) == (Status.ERROR, "No way. Start the sign-in again.")


def test_a_flow_ends_by_itself(sim: Simulator) -> None:
    flow = browser()
    redirected = read_pasted(redirect_after(flow.authorization_url, "ann"))
    assert sign_in.current(make_overdue(flow)).message == sign_in.BROWSER_EXPIRED
    with pytest.raises(sign_in.CallbackRefused, match="within 15 minutes"):
        sign_in.receive(redirected)
    assert exchanges(sim) == 0


def test_a_step_that_its_process_did_not_survive_ends_too() -> None:
    flow = browser()
    SignInFlow.objects.filter(pk=flow.pk).update(status=Status.FINISHING)
    assert sign_in.current(make_overdue(flow)).message == sign_in.INTERRUPTED


def test_a_callback_is_awaited_only_while_a_browser_flow_waits(sim: Simulator) -> None:
    device()
    assert not sign_in.is_callback_awaited()
    flow = browser()
    assert sign_in.is_callback_awaited()
    signed_in(flow, "ann")
    assert not sign_in.is_callback_awaited()
    make_overdue(browser())
    assert not sign_in.is_callback_awaited()


def test_a_cancelled_flow_takes_no_code(sim: Simulator) -> None:
    flow = browser()
    redirected = read_pasted(redirect_after(flow.authorization_url, "ann"))
    assert sign_in.cancel(flow).status == Status.ERROR
    with pytest.raises(sign_in.CallbackRefused, match="Cancelled"):
        sign_in.receive(redirected)


def test_a_paste_is_taken_in_its_own_browser_only(sim: Simulator) -> None:
    flow = browser()
    redirected = read_pasted(redirect_after(flow.authorization_url, "ann"))
    with pytest.raises(sign_in.CallbackRefused, match="another browser"):
        sign_in.receive(redirected, scope=ELSEWHERE)
    assert sign_in.receive(redirected, scope=HERE).status == Status.SUCCESS
    # A second paste is told how it went, and spends nothing.
    assert sign_in.receive(redirected, scope=HERE).status == Status.SUCCESS
    assert exchanges(sim) == 1


def test_a_device_code_waits_and_then_brings_the_account(sim: Simulator) -> None:
    flow = device()
    assert sign_in.current(make_due(flow)).status == Status.PENDING
    sim.approve_device(flow.user_code, "bob")
    assert sign_in.current(make_due(flow)).status == Status.SUCCESS
    assert Credential.objects.get().source == "device code"


def test_a_device_code_is_asked_for_no_more_often_than_its_interval(sim: Simulator) -> None:
    flow = make_due(device())
    for _ in range(3):
        sign_in.current(flow)
    assert sum(call.path.endswith("/deviceauth/token") for call in sim.journal) == 1


def test_a_background_job_finishes_a_flow_whose_page_was_closed(sim: Simulator) -> None:
    flow = make_due(device())
    assert sign_in.advance_all() == 1
    sim.approve_device(flow.user_code, "ann")
    make_due(flow)
    assert sign_in.advance_all() == 0
    assert Account.objects.get().email == "ann@example.com"
    assert AuditEvent.objects.get(action="account_added").actor == "background job"


def test_a_process_that_is_to_end_asks_for_no_further_device_code(sim: Simulator) -> None:
    make_due(device())
    asked = len(sim.journal)
    sign_in.advance_all(is_stopped=lambda: True)
    assert len(sim.journal) == asked


def test_old_flows_are_forgotten() -> None:
    flow = browser()
    SignInFlow.objects.filter(pk=flow.pk).update(created_at=timezone.now() - timedelta(days=3))
    sign_in.advance_all()
    assert not SignInFlow.objects.exists()


@pytest.mark.parametrize("code", ["expired_token", "access_denied"])
def test_a_device_code_that_was_refused_ends(sim: Simulator, code: str) -> None:
    flow = make_due(device())
    sim.device_refusal = code
    ended = sign_in.current(flow)
    assert ended.status == Status.ERROR
    assert code in ended.message


def test_a_service_that_asks_for_patience_is_asked_less_often(sim: Simulator) -> None:
    flow = make_due(device())
    sim.device_refusal = "slow_down"
    slower = sign_in.current(flow)
    assert (slower.status, slower.interval_s) == (Status.PENDING, flow.interval_s + 5)


def test_a_device_code_outlives_a_service_that_is_away(sim: Simulator) -> None:
    flow = make_due(device())
    assert sign_in.current(flow, ask=_unreachable).status == Status.PENDING


def test_a_device_code_expires(sim: Simulator) -> None:
    assert sign_in.current(make_overdue(device())).message == "Device code expired."


def test_a_new_device_code_replaces_the_former_one_of_the_same_browser_only(sim: Simulator) -> None:
    mine, theirs = device(), device(ELSEWHERE)
    device()
    mine.refresh_from_db()
    theirs.refresh_from_db()
    assert (mine.status, theirs.status) == (Status.ERROR, Status.PENDING)


def test_a_service_without_device_codes_says_so(sim: Simulator) -> None:
    sim.device_code_status = 404
    with pytest.raises(Declined) as refusal:
        device()
    assert refusal.value.code == "device_auth_unavailable"
    assert not SignInFlow.objects.exists()


def test_two_workspaces_of_one_e_mail_are_two_accounts(sim: Simulator) -> None:
    for workspace in ("ws-1", "ws-2"):
        sim.add_account(f"ann-{workspace}", email="ann@example.com", workspace=workspace, person="ann")
        signed_in(browser(), f"ann-{workspace}")
    assert Account.objects.count() == 2
    assert set(Account.objects.values_list("chatgpt_account_id", flat=True)) == {"ws-1", "ws-2"}


def test_a_renewal_updates_in_place_and_keeps_history(sim: Simulator) -> None:
    account = Account.objects.get(pk=signed_in(browser(), "ann").account_id)
    Account.objects.update(status=Account.Status.REAUTH_REQUIRED, status_reason="revoked", alias="Work")
    flow = signed_in(browser(account.pk), "ann")
    assert (flow.status, flow.account_id, flow.created) == (Status.SUCCESS, account.pk, False)
    account.refresh_from_db()
    assert (account.status, account.status_reason, account.alias) == ("active", "", "Work")
    assert account.credential.generation == 2
    assert [event.kind for event in account.events.order_by("at")] == ["signed in", "signed in again"]


@pytest.mark.parametrize("other", ["bob", "ann-at-work"])
def test_somebody_elses_sign_in_is_refused_until_it_is_confirmed(sim: Simulator, other: str) -> None:
    sim.add_account("ann-at-work", email="ann@example.com", workspace="ws-1", person="ann")
    account = Account.objects.get(pk=signed_in(browser(), "ann").account_id)
    former = account.credential.refresh_token
    flow = signed_in(browser(account.pk), other)
    assert flow.status == Status.UNCONFIRMED
    assert "another" in flow.message
    assert Account.objects.count() == 1
    assert Credential.objects.get().refresh_token == former

    ended = sign_in.confirm(flow, as_own=True)
    assert (ended.status, ended.created, ended.payload) == (Status.SUCCESS, True, "")
    assert Account.objects.count() == 2
    assert Credential.objects.get(pk=account.pk).refresh_token == former


def test_an_account_may_be_handed_over(sim: Simulator) -> None:
    account = Account.objects.get(pk=signed_in(browser(), "ann").account_id)
    flow = signed_in(browser(account.pk), "bob")
    assert sign_in.confirm(flow, as_own=False).status == Status.SUCCESS
    account.refresh_from_db()
    assert (account.email, account.chatgpt_account_id, Account.objects.count()) == (
        "bob@example.com",
        "bob",
        1,
    )
    assert "handed over" in account.events.values_list("kind", flat=True)
    # The former owner is now somebody new.
    assert signed_in(browser(), "ann").created


def test_an_account_is_not_handed_over_to_the_owner_of_another(sim: Simulator) -> None:
    ann = signed_in(browser(), "ann").account_id
    signed_in(browser(), "bob")
    flow = signed_in(browser(ann), "bob")
    assert "an account of its own here" in flow.message
    assert sign_in.confirm(flow, as_own=False).status == Status.ERROR
    assert Account.objects.get(pk=ann).email == "ann@example.com"


def test_an_e_mail_alone_renews_nothing(sim: Simulator) -> None:
    account = make_account("email_0123456789ab", email="ann@example.com", chatgpt_account_id="")
    flow = signed_in(browser(account.pk), "ann")
    assert flow.status == Status.UNCONFIRMED
    assert "nothing but the e-mail" in flow.message


def test_a_target_must_exist_and_go_on_existing(sim: Simulator) -> None:
    with pytest.raises(Account.DoesNotExist):
        browser("nobody")
    account = signed_in(browser(), "ann").account_id
    flow = browser(account)
    Account.objects.all().delete()
    assert "was removed meanwhile" in signed_in(flow, "ann").message
    assert not Account.objects.exists()


def test_an_account_that_cannot_be_stored_leaves_nothing(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = browser()
    # Somebody ends the flow as interrupted between the exchange and the storing.
    real = sign_in._succeed

    def too_late(*args: Any, **fields: Any) -> None:
        SignInFlow.objects.filter(pk=flow.pk).update(status=Status.ERROR, message=sign_in.INTERRUPTED)
        real(*args, **fields)

    monkeypatch.setattr(sign_in, "_succeed", too_late)
    signed_in(flow, "ann")
    assert not Account.objects.exists()


def _unreachable(*question: object) -> tuple[int, bytes]:
    raise Unreachable("No way.")


def _state_of(flow: SignInFlow) -> str:
    return dict(part.split("=", 1) for part in flow.authorization_url.split("&"))["state"]
