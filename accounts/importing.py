"""Brings auth.json files into the pool: says what each would do, tries its refresh token, and stores it.

A refresh token works once. Trying one is spending it, so what it brings is stored at once; and a file that is
older than what is stored is not tried at all, since the sign-in service may take that for a theft and end
the sign-in. For the same reason only the newest of several files of one account is tried, and a file that
comes several times at once is tried once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from uuid import uuid4

from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection
from django.utils import timezone

from accounts import leases, selectors, services
from accounts.auth_file import ParsedAuth
from accounts.claims import read_claims
from accounts.encryption_check import verify_key
from accounts.models import Account
from accounts.seats import difference
from accounts.sign_in_client import Ask, Unreachable, as_json, ask
from accounts.token_answer import Failed, Granted, Refused, read_answer
from accounts.tokens import (
    CALL_TIMEOUT_S,
    CLIENT_ID,
    LEASE_TTL_S,
    STORE_ATTEMPTS,
    STORE_PAUSE_S,
    lease_name,
)
from accounts.unsaved import of_process
from codexproxy.crypto import EncryptionKeyError

_SIGNED_OUT = (Account.Status.REAUTH_REQUIRED, Account.Status.DEACTIVATED)
# Somebody else's refresh takes a second or two; then it is this file's turn.
_REFRESH_WAIT_S, _LEASE_PAUSE_S = 5.0, 0.1
# Whoever brings the same file at the same moment has an answer by then.
_SAME_FILE_WAIT_S = CALL_TIMEOUT_S + 5.0
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Step(Enum):
    ADD = "add"
    UPDATE = "update"
    # What is stored is newer, and works.
    KEEP = "keep"
    # Another one of the same files is.
    OLDER = "older"


class Outcome(Enum):
    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    KEPT = "kept"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Planned:
    auth: ParsedAuth
    account: Account | None
    step: Step


@dataclass(frozen=True, slots=True)
class Brought:
    outcome: Outcome
    account: Account | None
    created: bool = False
    message: str = ""


def newest_first(auths: Iterable[ParsedAuth]) -> list[ParsedAuth]:
    """The order in which files that come together are stored."""
    return sorted(auths, key=newness, reverse=True)


def newness(auth: ParsedAuth) -> datetime:
    return auth.refreshed_at or _LONG_AGO


def plan(auth: ParsedAuth, before: Iterable[ParsedAuth] = ()) -> Planned:
    """What an import would do, of `before` as well. Asks nobody and changes nothing."""
    account = services.account_known(auth)
    if _is_among(auth, before):
        return Planned(auth, account, Step.OLDER)
    if account is None:
        return Planned(auth, None, Step.ADD)
    return Planned(auth, account, Step.KEEP if _is_outdated(auth, account) else Step.UPDATE)


def bring(
    *,
    auth: ParsedAuth,
    source: str,
    verify: bool = True,
    before: Iterable[ParsedAuth] = (),
    ask: Ask = ask,
    pause: Callable[[float], object] = time.sleep,
) -> Brought:
    """Store the sign-in with a refresh token that was just proved, or, if nobody answers, as it is.

    `before` are the files that came with it and are stored. Raises ValidationError, and EncryptionKeyError
    before a token is spent.
    """
    verify_key()
    planned = plan(auth, before)
    if (kept := _kept(planned)) is not None:
        return kept
    if not verify:
        return _stored(auth, source, "")
    leased = _Leases(pause)
    try:
        if not leased.take(f"import:{_digest(auth.refresh_token)}", _SAME_FILE_WAIT_S):
            return _busy(planned, "It is being imported at this moment.")
        # RACE: whoever had the lease has brought this very file, and spent its token.
        planned = plan(auth, before)
        if planned.account is not None:
            # The stored token may be this very one, and somebody else may be about to spend it.
            if not leased.take(lease_name(planned.account.pk), _REFRESH_WAIT_S):
                return _busy(planned, "Its token is being refreshed at this moment.")
            planned = plan(auth, before)
        return _kept(planned) or _verified(auth, source, ask, leased)
    finally:
        leased.release()


class _Leases:
    """What one import holds while it spends the token of its file, and until what that brought is stored."""

    def __init__(self, pause: Callable[[float], object]) -> None:
        self.pause = pause
        self._holder = uuid4()
        self._names: list[str] = []
        self._is_kept = False

    def take(self, name: str, wait_s: float) -> bool:
        for _ in range(round(wait_s / _LEASE_PAUSE_S)):
            if self._acquire(name):
                self._names.append(name)
                return True
            self.pause(_LEASE_PAUSE_S)
        return False

    def release(self) -> None:
        if not self._is_kept:
            self._give_back()

    def keep_until(self, write: Callable[[], object]) -> None:
        """The database does not take it now: another thread goes on trying, under the same leases."""

        def write_and_release() -> None:
            for name in self._names:
                self._acquire(name)
            write()
            self._give_back()

        self._is_kept = True
        of_process.keep(self._names[0], write_and_release)

    def _acquire(self, name: str) -> bool:
        return leases.acquire(name, holder=self._holder, ttl_s=LEASE_TTL_S, now=timezone.now())

    def _give_back(self) -> None:
        for name in self._names:
            leases.release(name, self._holder)


def _busy(planned: Planned, why: str) -> Brought:
    return Brought(Outcome.REFUSED, planned.account, message=f"{why} Import it again.")


def _digest(refresh_token: str) -> str:
    return hashlib.sha256(refresh_token.encode()).hexdigest()


def _kept(planned: Planned) -> Brought | None:
    if planned.step is Step.OLDER:
        message = "Another one of these files is of the same account, and newer."
        return Brought(Outcome.KEPT, planned.account, message=message)
    if planned.step is Step.KEEP:
        return Brought(Outcome.KEPT, planned.account, message="The stored sign-in is newer and stays.")
    return None


def _is_among(auth: ParsedAuth, others: Iterable[ParsedAuth]) -> bool:
    return any(
        not set(auth.account_ids).isdisjoint(other.account_ids)
        and not difference(services.seat_in(other), services.seat_in(auth))
        for other in others
    )


def _is_outdated(auth: ParsedAuth, account: Account) -> bool:
    try:
        credential = selectors.credential_get(account.pk)
    except EncryptionKeyError:
        # What nobody can read is no sign-in to keep.
        return False
    if credential is None or account.status in _SIGNED_OUT or auth.refreshed_at is None:
        return False
    return auth.refreshed_at < credential.refreshed_at and auth.refresh_token != credential.refresh_token


def _verified(auth: ParsedAuth, source: str, ask: Ask, leased: _Leases) -> Brought:
    answer = _answer(auth.refresh_token, ask)
    if isinstance(answer, Refused):
        return Brought(Outcome.REFUSED, services.account_known(auth), message=answer.reason)
    if isinstance(answer, Failed):
        return _stored(auth, source, answer.message)
    renewed = _renewed(auth, answer)
    return _told(renewed, _stored_surely(renewed, source, leased), "")


def _stored_surely(auth: ParsedAuth, source: str, leased: _Leases) -> services.ImportResult:
    """The file's token is spent: what it brought is nowhere else. It goes on trying when this raises."""
    write = partial(services.account_import, auth=auth, source=source)
    for _ in range(STORE_ATTEMPTS - 1):
        try:
            return write()
        except DatabaseError:
            if not connection.in_atomic_block:
                # It may be dead; the next try opens another.
                connection.close()
            leased.pause(STORE_PAUSE_S)
    try:
        return write()
    except DatabaseError:
        # With what this thread knows of who acts.
        leased.keep_until(partial(copy_context().run, write))
        raise


def _answer(refresh_token: str, ask: Ask) -> Granted | Refused | Failed:
    question = {
        "client_id": CLIENT_ID,
        "grant_type": "refresh_token",
        "refresh_reason": "proactive_expiry",
        "refresh_token": refresh_token,
    }
    try:
        status, body = ask("/oauth/token", as_json(question), False)
    except Unreachable as failure:
        return Failed(str(failure))
    return read_answer(status, body, timezone.now())


def _renewed(auth: ParsedAuth, granted: Granted) -> ParsedAuth:
    id_token = granted.id_token or auth.id_token
    claims = read_claims(id_token).or_else(read_claims(granted.access_token)).or_else(auth.claims)
    return replace(
        auth,
        access_token=granted.access_token,
        refresh_token=granted.refresh_token or auth.refresh_token,
        id_token=id_token,
        claims=claims,
        access_expires_at=granted.expires_at,
        refreshed_at=timezone.now(),
        is_fresh=True,
    )


def _stored(auth: ParsedAuth, source: str, message: str) -> Brought:
    return _told(auth, services.account_import(auth=auth, source=source), message)


def _told(auth: ParsedAuth, result: services.ImportResult, message: str) -> Brought:
    outcome = Outcome.VERIFIED if auth.is_fresh else Outcome.UNVERIFIED
    return Brought(outcome, result.account, result.created, message)


def explain(error: ValidationError) -> str:
    return f"It cannot be stored: {' '.join(error.messages)}"
