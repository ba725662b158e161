"""Sign-in flows: begun in a browser, moved on by whoever asks for them or brings the code, ended once.

Each step is a compare-and-set on the flow's status, so that a code is spent and an account stored once,
whichever process gets there first. What a flow brings is stored together with its end, or not at all.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from accounts import audit, auth_file, importing, services
from accounts import sign_in_protocol as protocol
from accounts.models import Account, SignInFlow
from accounts.sign_in_client import Ask, Unreachable, as_json, ask
from accounts.sign_in_scope import Scope, flows_of

Status = SignInFlow.Status
Kind = SignInFlow.Kind

BROWSER_LIFE = timedelta(minutes=15)
# What is spending a code for longer than this has died over it.
FINISHING_LIFE = timedelta(minutes=2)
KEPT = timedelta(days=2)

DEVICE_EXPIRED = "Device code expired."
NO_DEVICE_FLOW = "Device code flow is not initialized."
BROWSER_EXPIRED = "The sign-in was not finished within 15 minutes. Start it again."
EXPIRED = {
    Kind.BROWSER: BROWSER_EXPIRED,
    Kind.DEVICE: DEVICE_EXPIRED,
    Kind.IMPORT: "The files were not confirmed within 15 minutes. Bring them again.",
}
INTERRUPTED = "The server was interrupted while it finished the sign-in. Start it again."
SUPERSEDED = "A newer device code was asked for in this browser."
CANCELLED = "Cancelled."
UNKNOWN_STATE = "This sign-in is not known here, or was given up. Start it again on the page Add account."
USED_STATE = "This sign-in was already finished. Its page shows what came of it."
NOT_STARTED_HERE = "This sign-in was started in another browser. Paste the address there."

_NO_SECRETS: dict[str, Any] = {
    "code_verifier": "",
    "authorization_url": "",
    "device_auth_id": "",
    "user_code": "",
    "payload": "",
}

logger = logging.getLogger(__name__)


class CallbackRefused(Exception):
    """What came back belongs to no flow that waits for it; nothing was asked and nothing changed."""


def start_browser(*, scope: Scope, target_id: str = "") -> SignInFlow:
    """Raises Account.DoesNotExist."""
    _check_target(target_id)
    now, state, verifier = timezone.now(), secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    redirect_uri = f"http://localhost:{settings.CALLBACK_PORT}{protocol.CALLBACK_PATH}"
    return SignInFlow.objects.create(
        kind=Kind.BROWSER,
        scope=scope.key,
        fallback=scope.fallback,
        target_id=target_id,
        state_digest=protocol.digest(state),
        code_verifier=verifier,
        redirect_uri=redirect_uri,
        authorization_url=protocol.authorization_url(
            auth_base_url=settings.AUTH_BASE_URL, redirect_uri=redirect_uri, state=state, verifier=verifier
        ),
        expires_at=now + BROWSER_LIFE,
    )


def start_device(*, scope: Scope, target_id: str = "", ask: Ask = ask) -> SignInFlow:
    """Replaces the device code that waits in the same browser. Raises as above, Declined and Unreachable."""
    _check_target(target_id)
    status, body = ask("/api/accounts/deviceauth/usercode", as_json({"client_id": protocol.CLIENT_ID}), False)
    now = timezone.now()
    device = protocol.read_device_code(status, body, now)
    # By the cookie alone: who only seems to be the same browser must not end another's sign-in.
    for former in SignInFlow.objects.filter(scope=scope.key, kind=Kind.DEVICE, status=Status.PENDING):
        _fail(former, Status.PENDING, SUPERSEDED)
    return SignInFlow.objects.create(
        kind=Kind.DEVICE,
        scope=scope.key,
        fallback=scope.fallback,
        target_id=target_id,
        redirect_uri=f"{settings.AUTH_BASE_URL}/deviceauth/callback",
        device_auth_id=device.device_auth_id,
        user_code=device.user_code,
        interval_s=device.interval_s,
        next_poll_at=now + timedelta(seconds=device.interval_s),
        expires_at=device.expires_at,
    )


def start_import(*, scope: Scope, auths: Sequence[auth_file.ParsedAuth], target_id: str = "") -> SignInFlow:
    """Keep the files for a preview. Nothing is stored before the operator says so. Raises as above."""
    _check_target(target_id)
    return SignInFlow.objects.create(
        kind=Kind.IMPORT,
        scope=scope.key,
        fallback=scope.fallback,
        target_id=target_id,
        payload=json.dumps([auth_file.dump(auth) for auth in importing.newest_first(auths)]),
        expires_at=timezone.now() + BROWSER_LIFE,
    )


def files_of(flow: SignInFlow) -> list[auth_file.ParsedAuth]:
    """What an import has brought and not stored yet, newest first."""
    return [auth_file.parse(text) for text in json.loads(flow.payload or "[]")]


def store_import(flow: SignInFlow, *, ask: Ask = ask) -> SignInFlow:
    """Store each of the files; one that is refused stops no other."""
    if not _claim(flow, Status.PENDING):
        return SignInFlow.objects.get(pk=flow.pk)
    results: list[dict[str, Any]] = []
    stored_files: list[auth_file.ParsedAuth] = []
    asking = ask
    for auth in files_of(flow):
        try:
            brought = importing.bring(auth=auth, source="dashboard", before=stored_files, ask=asking)
        except ValidationError as error:
            brought = importing.Brought(importing.Outcome.REFUSED, None, message=importing.explain(error))
        if brought.outcome is importing.Outcome.UNVERIFIED:
            # Nobody answers: the others need not wait for that, each for itself.
            asking = _absent(brought.message)
        if brought.outcome is not importing.Outcome.REFUSED:
            stored_files.append(auth)
        results.append(_result(auth, brought))
        _move(flow, Status.FINISHING, results=results, expires_at=timezone.now() + FINISHING_LIFE)
    stored = [result["account_id"] for result in results if result["account_id"]]
    ended = {"account_id": stored[0] if len(stored) == 1 else "", "ended_at": timezone.now()}
    _move(flow, Status.FINISHING, status=Status.SUCCESS, **ended, **_NO_SECRETS)
    return SignInFlow.objects.get(pk=flow.pk)


def _absent(reason: str) -> Ask:
    def ask_nobody(path: str, content: bytes, is_form: bool) -> tuple[int, bytes]:
        raise Unreachable(reason)

    return ask_nobody


def _result(auth: auth_file.ParsedAuth, brought: importing.Brought) -> dict[str, Any]:
    return {
        "email": auth.email,
        "outcome": brought.outcome.value,
        "created": brought.created,
        "account_id": brought.account.pk if brought.account else "",
        "message": brought.message,
    }


def verification_url() -> str:
    """Where a device code is entered."""
    return f"{settings.AUTH_BASE_URL}/codex/device"


def start_satisfied(*, scope: Scope) -> SignInFlow:
    """For a first-run helper that only wants to know that there is an account."""
    now = timezone.now()
    return SignInFlow.objects.create(
        kind=Kind.BROWSER,
        status=Status.SUCCESS,
        scope=scope.key,
        fallback=scope.fallback,
        expires_at=now,
        ended_at=now,
    )


def find(scope: Scope, flow_id: UUID | None = None, kinds: Sequence[str] = ()) -> SignInFlow | None:
    """The flow of that id, else the newest; only those of this browser."""
    flows = flows_of(scope)
    if flow_id is not None:
        flows = flows.filter(pk=flow_id)
    if kinds:
        flows = flows.filter(kind__in=kinds)
    return flows.first()


def current(flow: SignInFlow, *, ask: Ask = ask) -> SignInFlow:
    """The flow as it is now: ended when its time is over, and asked for when its device code is due."""
    now = timezone.now()
    _end_overdue(flow, now)
    if flow.status == Status.PENDING and flow.kind == Kind.DEVICE:
        _poll(flow, now, ask)
    return SignInFlow.objects.get(pk=flow.pk)


def advance_all(*, ask: Ask = ask, is_stopped: Callable[[], bool] = lambda: False) -> int:
    """For a background job: asks for device codes whose page was closed; returns how many flows wait."""
    SignInFlow.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
    open_ones = (Status.PENDING, Status.FINISHING, Status.UNCONFIRMED)
    flows = list(SignInFlow.objects.filter(status__in=open_ones))
    with audit.acting_as(audit.Actor("background job")):
        return sum(current(flow, ask=ask).is_open for flow in flows if not is_stopped())


def is_callback_awaited() -> bool:
    """Whether a browser may still come back with a code."""
    waiting = SignInFlow.objects.filter(kind=Kind.BROWSER, status__in=(Status.PENDING, Status.FINISHING))
    return waiting.filter(expires_at__gt=timezone.now()).exists()


def receive(
    callback: protocol.Callback, *, scope: Scope | None = None, flow_id: UUID | None = None, ask: Ask = ask
) -> SignInFlow:
    """Finish the flow that the state belongs to. Raises CallbackRefused when there is none that waits.

    Without `scope` the caller is the listener, which a redirect reaches without any cookie of ours.
    """
    flow = SignInFlow.objects.filter(state_digest=protocol.digest(callback.state)).first()
    if flow is None or (flow_id is not None and flow.pk != flow_id):
        raise CallbackRefused(UNKNOWN_STATE)
    if scope is not None and not flows_of(scope).filter(pk=flow.pk).exists():
        raise CallbackRefused(NOT_STARTED_HERE)
    _end_overdue(flow, timezone.now())
    # SECURITY: whoever wins this update is the only one who ever spends the code.
    if not _claim(flow, Status.PENDING):
        flow.refresh_from_db()
        if scope is not None:
            # The listener was quicker than the operator's paste, or the paste came twice.
            return flow
        raise CallbackRefused(flow.message if flow.message in (BROWSER_EXPIRED, CANCELLED) else USED_STATE)
    if callback.error:
        _fail(flow, Status.FINISHING, callback.error)
    else:
        _exchange(flow, callback.code, flow.code_verifier, ask)
    return SignInFlow.objects.get(pk=flow.pk)


def confirm(flow: SignInFlow, *, as_own: bool) -> SignInFlow:
    """The operator's word on somebody else's sign-in: an account of its own, or this one's new owner."""
    if _claim(flow, Status.UNCONFIRMED):
        auth = replace(auth_file.parse(flow.payload), is_fresh=True)
        _store(flow, auth, is_confirmed=True, as_own=as_own)
    return SignInFlow.objects.get(pk=flow.pk)


def may_take_over(flow: SignInFlow) -> bool:
    """Whether the sign-in that waits for a word could become the account's new owner: it has no other."""
    owner = services.account_known(auth_file.parse(flow.payload))
    return owner is None or owner.pk == flow.target_id


def cancel(flow: SignInFlow) -> SignInFlow:
    for status in (Status.PENDING, Status.UNCONFIRMED):
        _fail(flow, status, CANCELLED)
    return SignInFlow.objects.get(pk=flow.pk)


def _check_target(target_id: str) -> None:
    if target_id and not Account.objects.filter(pk=target_id).exists():
        raise Account.DoesNotExist(target_id)


def _end_overdue(flow: SignInFlow, now: datetime) -> None:
    if flow.expires_at <= now:
        for status in (Status.PENDING, Status.UNCONFIRMED):
            _fail(flow, status, EXPIRED[Kind(flow.kind)])
        # Only if it is the same step that was read: a step that has just begun has time of its own.
        flow_then = SignInFlow.objects.filter(pk=flow.pk, expires_at=flow.expires_at)
        flow_then.filter(status=Status.FINISHING).update(**_failure(INTERRUPTED))


def _poll(flow: SignInFlow, now: datetime, ask: Ask) -> None:
    # Whoever moves the time of the next question asks this one.
    following = now + timedelta(seconds=flow.interval_s)
    due = SignInFlow.objects.filter(pk=flow.pk, status=Status.PENDING, next_poll_at__lte=now)
    if not due.update(next_poll_at=following):
        return
    question = as_json({"device_auth_id": flow.device_auth_id, "user_code": flow.user_code})
    try:
        answer = protocol.read_device_poll(*ask("/api/accounts/deviceauth/token", question, False))
    except Unreachable as failure:
        # The code lives on; the next question may get through.
        logger.warning("a device code was not asked for: %s", failure)
        return
    except protocol.Declined as refusal:
        _fail(flow, Status.PENDING, str(refusal))
        return
    if isinstance(answer, protocol.Waiting):
        if answer.slower:
            slower = min(flow.interval_s + protocol.DEVICE_INTERVAL_S, protocol.SLOWEST_INTERVAL_S)
            SignInFlow.objects.filter(pk=flow.pk).update(
                interval_s=slower, next_poll_at=now + timedelta(seconds=slower)
            )
    elif _claim(flow, Status.PENDING):
        _exchange(flow, answer.code, answer.verifier, ask)


def _exchange(flow: SignInFlow, code: str, verifier: str, ask: Ask) -> None:
    form = protocol.exchange_form(code=code, verifier=verifier, redirect_uri=flow.redirect_uri)
    try:
        auth = protocol.read_exchange(*ask("/oauth/token", form, True), timezone.now())
    except Unreachable as failure:
        _fail(flow, Status.FINISHING, f"{failure} Start the sign-in again.")
    except protocol.Declined as refusal:
        _fail(flow, Status.FINISHING, str(refusal))
    else:
        _store(flow, auth, is_confirmed=False, as_own=False)


def _store(flow: SignInFlow, auth: auth_file.ParsedAuth, *, is_confirmed: bool, as_own: bool) -> None:
    """The account and the end of its flow in one transaction."""
    try:
        with transaction.atomic():
            if flow.target_id and not as_own:
                _store_again(flow, auth, is_confirmed=is_confirmed)
            else:
                result = services.account_import(auth=auth, source=flow.get_kind_display())
                _succeed(flow, result.account, created=result.created)
    except Account.DoesNotExist:
        _fail(flow, Status.FINISHING, "The account was removed meanwhile. Add it as a new one.")
    except services.StateConflict as conflict:
        _fail(flow, Status.FINISHING, str(conflict))
    except ValidationError as error:
        _fail(flow, Status.FINISHING, f"The account cannot be stored: {' '.join(error.messages)}")


def _store_again(flow: SignInFlow, auth: auth_file.ParsedAuth, *, is_confirmed: bool) -> None:
    account = Account.objects.get(pk=flow.target_id)
    reason = services.reason_not_to_renew(account, auth)
    if reason and not is_confirmed:
        _move(
            flow,
            Status.FINISHING,
            status=Status.UNCONFIRMED,
            message=reason,
            payload=auth_file.dump(auth),
            expires_at=timezone.now() + BROWSER_LIFE,
        )
        return
    account = services.account_sign_in_again(
        account_id=account.pk, auth=auth, source=flow.get_kind_display(), as_another=is_confirmed
    )
    _succeed(flow, account, created=False)


def _succeed(flow: SignInFlow, account: Account, *, created: bool) -> None:
    ended = {"ended_at": timezone.now(), "message": "", **_NO_SECRETS}
    if not _move(
        flow, Status.FINISHING, status=Status.SUCCESS, account_id=account.pk, created=created, **ended
    ):
        # Somebody has ended it meanwhile as interrupted; then nothing of it may be stored either.
        raise services.StateConflict(INTERRUPTED)


def _fail(flow: SignInFlow, status: str, message: str) -> bool:
    return _move(flow, status, **_failure(message))


def _failure(message: str) -> dict[str, Any]:
    return {"status": Status.ERROR, "message": message, "ended_at": timezone.now(), **_NO_SECRETS}


def _claim(flow: SignInFlow, from_status: str) -> bool:
    """Whether this caller is the one who finishes it. Its time is then that of this step."""
    return _move(flow, from_status, status=Status.FINISHING, expires_at=timezone.now() + FINISHING_LIFE)


def _move(flow: SignInFlow, from_status: str, **values: Any) -> bool:
    return bool(SignInFlow.objects.filter(pk=flow.pk, status=from_status).update(**values))
