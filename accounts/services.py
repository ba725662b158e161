"""Writes: what an operator does with an account, and what upstream has told about it.

Each is one transaction that records an event and raises the version. Those that the data plane calls are
compare-and-set, and return the new version, or None when the account is no longer in a state to change from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.utils import timezone

from accounts import audit, changes
from accounts.auth_file import ParsedAuth
from accounts.claims import read_claims
from accounts.encryption_check import verify_key
from accounts.identity import UNKNOWN_PLAN, coerce_plan_type
from accounts.models import Account, AccountEvent, Credential, SignInFlow
from accounts.seats import Seat, difference

Status = Account.Status

LIMITED = (Status.RATE_LIMITED, Status.QUOTA_EXCEEDED)
_USABLE = (Status.ACTIVE, *LIMITED)
_OPERABLE = (*_USABLE, Status.PAUSED)

_NO_BLOCK: dict[str, Any] = {
    "status_reason": "",
    "blocked_at": None,
    "reset_at": None,
    "block_window_reset_at": None,
}

# The operator's pause outlives a lost sign-in: it is remembered then, and is the state after the next one.
_OUT_BUT_PAUSED = Case(When(status=Status.PAUSED, then=Value(True)), default=F("returns_paused"))
_SIGNED_IN: dict[str, Any] = {
    "status": Case(
        When(Q(status=Status.PAUSED) | Q(returns_paused=True), then=Value(Status.PAUSED)),
        default=Value(Status.ACTIVE),
    ),
    "returns_paused": False,
    **_NO_BLOCK,
}


class StateConflict(Exception):
    """The account is in a state that this act does not apply to."""

    code = "account_state_transition_invalid"


@dataclass(frozen=True, slots=True)
class ImportResult:
    account: Account
    created: bool


@dataclass(frozen=True, slots=True)
class NewTokens:
    """What a refresh has brought. An empty id token means that the former one stays."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    id_token: str = field(repr=False)
    access_expires_at: datetime | None
    refreshed_at: datetime


@transaction.atomic
def account_import(*, auth: ParsedAuth, source: str) -> ImportResult:
    """Add the account, or give a known one its new tokens. What was paused is paused after it.

    Raises ValidationError, and EncryptionKeyError under another key than the data's.
    """
    verify_key()
    account = account_known(auth)
    if account is not None:
        return ImportResult(_updated(account, auth, source), created=False)
    try:
        # A savepoint: the loser of a race goes on in the same transaction.
        with transaction.atomic():
            return ImportResult(_created(auth, source), created=True)
    except IntegrityError:
        account = account_known(auth)
        if account is None:
            raise
    return ImportResult(_updated(account, auth, source), created=False)


@transaction.atomic
def account_sign_in_again(
    *, account_id: str, auth: ParsedAuth, source: str, as_another: bool = False
) -> Account:
    """Give this very account new tokens; its history stays. Raises Account.DoesNotExist and StateConflict.

    `as_another` lets another person, or another workspace, take its place: the operator has said so.
    """
    verify_key()
    account = Account.objects.get(pk=account_id)
    owner = account_known(auth)
    if reason := reason_not_to_renew(account, auth):
        if not as_another or (owner is not None and owner.pk != account.pk):
            raise StateConflict(reason)
        _record(account.pk, "handed over", f"from {account.email} to {auth.email}")
        Account.objects.filter(pk=account.pk).update(
            chatgpt_account_id="", chatgpt_user_id="", workspace_id="", workspace_label=""
        )
    return _updated(account, auth, source)


def reason_not_to_renew(account: Account, auth: ParsedAuth) -> str:
    """Why the sign-in is not this account's, in words; empty text when it is."""
    owner = account_known(auth)
    if owner is not None and owner.pk != account.pk:
        return f"This sign-in belongs to {owner.display_name}, which is an account of its own here."
    return difference(seat_of(account), seat_in(auth))


def seat_of(account: Account) -> Seat:
    return Seat(account.email, account.chatgpt_user_id, account.chatgpt_account_id, account.workspace_id)


def seat_in(auth: ParsedAuth) -> Seat:
    return Seat(auth.email, auth.claims.user_id, auth.chatgpt_account_id, auth.claims.workspace_id)


@transaction.atomic
def account_pause(*, account_id: str) -> Account:
    """Raises Account.DoesNotExist and StateConflict."""
    return _operate(account_id, Status.PAUSED, "paused")


@transaction.atomic
def account_resume(*, account_id: str) -> Account:
    """Make it active, also one that waits for a reset. Raises Account.DoesNotExist and StateConflict."""
    return _operate(account_id, Status.ACTIVE, "resumed")


@transaction.atomic
def account_rename(*, account_id: str, alias: str) -> Account:
    """Raises Account.DoesNotExist and ValidationError."""
    account = Account.objects.get(pk=account_id)
    account.alias = alias.strip()
    account.full_clean()
    account.save(update_fields=["alias", "updated_at"])
    _record(account_id, "renamed", account.alias)
    audit.record("account_renamed", subject=account_id, detail=account.alias)
    return account


@transaction.atomic
def account_route(*, account_id: str, policy: str, stop_at_percent: int | None) -> Account:
    """When it is this account's turn, and its reserve. Raises Account.DoesNotExist and ValidationError."""
    account = Account.objects.get(pk=account_id)
    if (account.routing_policy, account.stop_at_percent) == (policy, stop_at_percent):
        return account
    account.routing_policy, account.stop_at_percent = policy, stop_at_percent
    account.full_clean()
    account.save(update_fields=["routing_policy", "stop_at_percent", "updated_at"])
    stop = f", stops at {stop_at_percent} % of the week" if stop_at_percent is not None else ""
    _record(account_id, "routing", f"{policy}{stop}")
    audit.record("account_routed", subject=account_id, detail=f"{policy}{stop}")
    return account


@transaction.atomic
def account_delete(*, account_id: str) -> None:
    """With its credential, windows and events. Raises Account.DoesNotExist."""
    deleted, _ = Account.objects.filter(pk=account_id).delete()
    if not deleted:
        raise Account.DoesNotExist(account_id)
    audit.record("account_deleted", subject=account_id)
    changes.bump()


@transaction.atomic
def account_block(
    *,
    account_id: str,
    status: str,
    reason: str,
    blocked_at: datetime,
    reset_at: datetime | None,
    window_reset_at: datetime | None,
) -> int | None:
    """Upstream has refused for a limit. An older refusal never replaces a newer one."""
    if status not in LIMITED:
        raise ValueError(f"{status} is not a limit")
    rows = Account.objects.filter(pk=account_id, status__in=_USABLE)
    changed = _set(
        rows.filter(Q(blocked_at=None) | Q(blocked_at__lte=blocked_at)),
        status=status,
        status_reason=reason,
        blocked_at=blocked_at,
        reset_at=reset_at,
        block_window_reset_at=window_reset_at,
    )
    until = f" until {reset_at:%Y-%m-%d %H:%M:%S} UTC" if reset_at else ""
    return _record(account_id, status, f"{reason}{until}".strip()) if changed else None


@transaction.atomic
def account_unblock(*, account_id: str, cause: str, blocked_at: datetime | None = None) -> int | None:
    """The limit is over. With `blocked_at`, only that block is lifted: old proof lifts no newer one."""
    rows = Account.objects.filter(pk=account_id, status__in=LIMITED)
    if blocked_at is not None:
        rows = rows.filter(blocked_at=blocked_at)
    changed = _set(rows, status=Status.ACTIVE, **_NO_BLOCK)
    return _record(account_id, "unblocked", cause) if changed else None


@transaction.atomic
def account_require_sign_in(
    *, account_id: str, reason: str, generation: int | None = None, code: str = ""
) -> int | None:
    """Its tokens are refused for good. With `generation`, only if those are still the stored ones.

    `code` is upstream's own word for the reason.
    """
    rows = Account.objects.filter(pk=account_id, status__in=_OPERABLE)
    if generation is not None:
        rows = rows.filter(credential__generation=generation)
    return _put_out(rows, account_id, Status.REAUTH_REQUIRED, reason, code)


@transaction.atomic
def account_deactivate(*, account_id: str, reason: str, code: str = "") -> int | None:
    """Upstream has closed the account."""
    rows = Account.objects.filter(pk=account_id).exclude(status=Status.DEACTIVATED)
    return _put_out(rows, account_id, Status.DEACTIVATED, reason, code)


@transaction.atomic
def account_update_plan(*, account_id: str, plan_type: str) -> int | None:
    """None when the plan is what it was, or is not told."""
    plan = coerce_plan_type(plan_type)[:40]
    if plan == UNKNOWN_PLAN:
        return None
    changed = _set(Account.objects.filter(pk=account_id).exclude(plan_type=plan), plan_type=plan)
    return _record(account_id, "plan", plan) if changed else None


@transaction.atomic
def credential_store(*, account_id: str, expected_generation: int, tokens: NewTokens) -> Credential | None:
    """Store refreshed tokens; None when others have come meanwhile, which then are the valid ones."""
    values: dict[str, Any] = {
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "access_expires_at": tokens.access_expires_at,
        "refreshed_at": tokens.refreshed_at,
        "rotated_at": tokens.refreshed_at,
        "generation": expected_generation + 1,
    }
    if tokens.id_token:
        values["id_token"] = tokens.id_token
    rows = Credential.objects.filter(pk=account_id, generation=expected_generation)
    if not rows.update(**values):
        return None
    _learn_from(account_id, tokens.id_token)
    former = _state(account_id)
    # Tokens that upstream has just issued are the proof that no sign-in is needed.
    _set(Account.objects.filter(pk=account_id, status=Status.REAUTH_REQUIRED), **_SIGNED_IN)
    _record(
        account_id, "refreshed", _joined(f"generation {expected_generation + 1}", _turn(account_id, former))
    )
    return Credential.objects.get(pk=account_id)


def events_forget(*, before: datetime) -> int:
    return AccountEvent.objects.filter(at__lt=before).delete()[0]


def account_known(auth: ParsedAuth) -> Account | None:
    """The row of the same person in the same workspace."""
    user_id, workspace_id = auth.claims.user_id, auth.claims.workspace_id
    if auth.chatgpt_account_id and user_id:
        same = Account.objects.filter(chatgpt_account_id=auth.chatgpt_account_id, chatgpt_user_id=user_id)
        if workspace_id:
            same = same.filter(workspace_id__in=(workspace_id, ""))
        # The one that says its workspace comes before one that does not.
        if (account := same.order_by("-workspace_id", "created_at").first()) is not None:
            return account
    rows = Account.objects.in_bulk(auth.account_ids)
    return next((row for name in auth.account_ids if (row := rows.get(name)) and _is_same(row, auth)), None)


def _is_same(account: Account, auth: ParsedAuth) -> bool:
    """Whether a row with a fitting id is this person's: a shared workspace gives two people the same id."""
    return not difference(seat_of(account), seat_in(auth))


def _created(auth: ParsedAuth, source: str) -> Account:
    taken = Account.objects.in_bulk(auth.account_ids)
    if any(_is_same(row, auth) for row in taken.values()):
        raise IntegrityError("another import of the same account was quicker")
    free = [name for name in auth.account_ids if name not in taken]
    account = Account(
        # Every id is taken by somebody else when an account was handed over.
        id=free[0] if free else f"{auth.account_ids[-1]}{uuid4().hex[:8]}",
        chatgpt_account_id=auth.chatgpt_account_id,
        chatgpt_user_id=auth.claims.user_id,
        workspace_id=auth.claims.workspace_id,
        workspace_label=auth.claims.workspace_label,
        email=auth.email,
        plan_type=auth.plan_type,
    )
    account.full_clean(validate_unique=False)
    account.save(force_insert=True)
    Credential.objects.create(account=account, source=source, **_tokens_of(auth))
    _record(account.pk, _verb(source), _origin(auth, source))
    audit.record("account_added", subject=account.pk, detail=source)
    return account


def _updated(account: Account, auth: ParsedAuth, source: str) -> Account:
    rows = Account.objects.filter(pk=account.pk)
    former = _state(account.pk)
    learned = {
        "chatgpt_account_id": auth.chatgpt_account_id,
        "chatgpt_user_id": auth.claims.user_id,
        "workspace_id": auth.claims.workspace_id,
        "workspace_label": auth.claims.workspace_label,
        "email": auth.claims.email,
        "plan_type": auth.plan_type if auth.claims.plan_type else "",
    }
    # What the new file does not say stays as it was known.
    _set(rows, **_SIGNED_IN, **{name: value for name, value in learned.items() if value})
    tokens = _tokens_of(auth) | {"source": source}
    if not Credential.objects.filter(pk=account.pk).update(generation=F("generation") + 1, **tokens):
        Credential.objects.create(account=account, **tokens)
    _record(account.pk, f"{_verb(source)} again", _joined(_origin(auth, source), _turn(account.pk, former)))
    audit.record("account_updated", subject=account.pk, detail=source)
    return rows.get()


def _verb(source: str) -> str:
    is_sign_in = source in (SignInFlow.Kind.BROWSER.label, SignInFlow.Kind.DEVICE.label)
    return "signed in" if is_sign_in else "imported"


def _origin(auth: ParsedAuth, source: str) -> str:
    return source if auth.is_fresh else f"{source}; the refresh token is not verified yet"


def _tokens_of(auth: ParsedAuth) -> dict[str, Any]:
    now = timezone.now()
    return {
        "access_token": auth.access_token,
        "refresh_token": auth.refresh_token,
        "id_token": auth.id_token,
        "access_expires_at": auth.access_expires_at,
        "refreshed_at": min(auth.refreshed_at or now, now),
        "rotated_at": now if auth.is_fresh else None,
    }


def _operate(account_id: str, status: str, kind: str) -> Account:
    rows = Account.objects.filter(pk=account_id)
    # The act says by itself what else it ends.
    limit = f"was {_state(account_id)}" if rows.filter(status__in=LIMITED).exists() else ""
    if not _set(rows.filter(status__in=_OPERABLE), status=status, returns_paused=False, **_NO_BLOCK):
        account = rows.get()
        raise StateConflict(
            f"{account.display_name} cannot be {kind}: it is {account.get_status_display().lower()}. "
            "Sign it in again."
        )
    _record(account_id, kind, _joined(f"by {audit.actor()}", limit))
    audit.record(f"account_{kind}", subject=account_id)
    return rows.get()


def _put_out(rows: QuerySet[Account], account_id: str, status: str, reason: str, code: str) -> int | None:
    former = _state(account_id)
    out = {"status": status, "status_reason": reason, "returns_paused": _OUT_BUT_PAUSED}
    if not _set(rows, **(_NO_BLOCK | out)):
        return None
    told = f"{reason} ({code})" if code else reason
    return _record(account_id, status, _joined(told, f"was {former}"))


def _state(account_id: str) -> str:
    """The state in the words of an event; empty text for an account that is gone."""
    account = Account.objects.filter(pk=account_id).first()
    if account is None:
        return ""
    until = f" until {account.reset_at:%Y-%m-%d %H:%M:%S} UTC" if account.reset_at else ""
    return f"{account.get_status_display().lower()}{until}"


def _turn(account_id: str, former: str) -> str:
    """What an act has made of the state, where it has made anything of it."""
    state = _state(account_id)
    return f"was {former}, is {state}" if state != former else ""


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _learn_from(account_id: str, id_token: str) -> None:
    claims = read_claims(id_token)
    learned: dict[str, Any] = {}
    if claims.email:
        learned["email"] = claims.email
    if claims.plan_type:
        learned["plan_type"] = coerce_plan_type(claims.plan_type)
    if learned:
        _set(Account.objects.filter(pk=account_id), **learned)


def _set(rows: QuerySet[Account], **values: Any) -> int:
    return rows.update(updated_at=timezone.now(), **values)


def _record(account_id: str, kind: str, detail: str = "") -> int:
    AccountEvent.objects.create(account_id=account_id, kind=kind, detail=detail)
    return changes.bump()
