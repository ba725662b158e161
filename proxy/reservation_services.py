"""Writes: takes and gives back room in keys' limits. Every process goes through here, group by group."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from django.db import IntegrityError, OperationalError, transaction
from django.db.models import F
from django.db.models.functions import Greatest

from proxy import limits
from proxy.budgets import Claim, Held, LimitState, OverLimit, Settlement, claimed
from proxy.models import ApiKeyLimit, Reservation

# As often another process may have been quicker; each time it was, its own group got through.
_ROUNDS = 100


class _Raced(Exception):
    """Another process has changed what this group was counted on."""


def limits_apply(
    *, holder: UUID, claims: Sequence[Claim], settlements: Sequence[Settlement], now: datetime
) -> list[Held | OverLimit]:
    """Settle, then answer each claim in its turn; one transaction, all or nothing."""
    for _ in range(_ROUNDS):
        try:
            with transaction.atomic():
                return _applied(holder, claims, settlements, now)
        except (_Raced, IntegrityError):
            # The latter: a key was deleted meanwhile.
            continue
    raise OperationalError("the limits of API keys change faster than they can be read")


def reservations_prolong(*, holder: UUID, now: datetime) -> int:
    """A process that lives says so for all that it holds."""
    ends = now + timedelta(seconds=limits.RESERVATION_S)
    return Reservation.objects.filter(holder=holder).update(expires_at=ends)


def reservations_reclaim(*, now: datetime) -> int:
    """Give back what processes that died have held; returns how many reservations that were."""
    given_back = 0
    for row in Reservation.objects.filter(expires_at__lte=now):
        with transaction.atomic():
            # RACE: a process may be prolonging it, or another one giving it back.
            if not Reservation.objects.filter(pk=row.pk, expires_at=row.expires_at).delete()[0]:
                continue
            for limit_id, amount in sorted(row.amounts.items()):
                left = Greatest(F("reserved") - amount, 0)
                ApiKeyLimit.objects.filter(pk=int(limit_id)).update(reserved=left)
            given_back += 1
    return given_back


def _applied(
    holder: UUID, claims: Sequence[Claim], settlements: Sequence[Settlement], now: datetime
) -> list[Held | OverLimit]:
    key_ids = {claim.key_id for claim in claims} | {settlement.key_id for settlement in settlements}
    read = list(ApiKeyLimit.objects.filter(key_id__in=key_ids).order_by("pk"))
    states = {row.pk: _state(row) for row in read}
    for state in states.values():
        state.roll(now.timestamp())
    _give_back_expired(states, key_ids, holder, now)
    _settle(states, settlements)
    answers: list[Held | OverLimit] = []
    rows = []
    for claim in claims:
        taken = claimed(states.values(), claim)
        if isinstance(taken, OverLimit):
            answers.append(taken)
            continue
        held = Held(uuid4(), claim, taken)
        answers.append(held)
        if taken:
            rows.append(_row(held, holder, now))
    Reservation.objects.bulk_create(rows)
    for row in read:
        _write(row, states[row.pk])
    return answers


def _state(row: ApiKeyLimit) -> LimitState:
    return LimitState(
        row.pk, row.key_id, row.kind, row.window, row.model, row.max_value, row.used, row.reserved,
        row.reset_at.timestamp(),
    )  # fmt: skip


def _row(held: Held, holder: UUID, now: datetime) -> Reservation:
    return Reservation(
        id=held.id,
        key_id=held.claim.key_id,
        holder=holder,
        expires_at=now + timedelta(seconds=limits.RESERVATION_S),
        amounts={str(limit_id): amount for limit_id, amount in held.amounts.items()},
    )


def _settle(states: dict[int, LimitState], settlements: Sequence[Settlement]) -> None:
    ids = [settlement.held.id for settlement in settlements if settlement.held is not None]
    # One that is not there any more was given back as a dead process's; what it has used counts all the same.
    there = _deleted(ids) if ids else set()
    for settlement in settlements:
        held = settlement.held
        if held is not None and held.id in there:
            _give_back(states, held.amounts.items())
        for state in states.values():
            if state.concerns(settlement.key_id, settlement.model):
                state.used += settlement.spent.of(state.kind)


def _give_back_expired(
    states: dict[int, LimitState], key_ids: Collection[int], holder: UUID, now: datetime
) -> None:
    """Before anybody is refused: what others hold who are not alive. Our own we settle ourselves."""
    expired = Reservation.objects.filter(key_id__in=key_ids, expires_at__lte=now).exclude(holder=holder)
    rows = list(expired)
    if not rows:
        return
    there = _deleted([row.pk for row in rows])
    for row in rows:
        if row.pk in there:
            _give_back(states, ((int(limit_id), amount) for limit_id, amount in row.amounts.items()))


def _give_back(states: dict[int, LimitState], amounts: Iterable[tuple[int, int]]) -> None:
    for limit_id, amount in amounts:
        if limit_id in states:
            states[limit_id].give_back(amount)


def _deleted(ids: Sequence[UUID]) -> set[UUID]:
    """Those that were there and are gone now, by our hand."""
    there = set(Reservation.objects.filter(pk__in=ids).values_list("pk", flat=True))
    if there and Reservation.objects.filter(pk__in=there).delete()[0] != len(there):
        raise _Raced
    return there


def _write(row: ApiKeyLimit, state: LimitState) -> None:
    """Only onto what was read: whoever was quicker makes this group begin anew. In the order of the ids, so
    that two groups never wait for each other.
    """
    reset_at = datetime.fromtimestamp(state.reset_at, UTC) if _has_rolled(row, state) else row.reset_at
    if (row.used, row.reserved, row.reset_at) == (state.used, state.reserved, reset_at):
        return
    as_read = ApiKeyLimit.objects.filter(
        pk=row.pk, used=row.used, reserved=row.reserved, reset_at=row.reset_at
    )
    if not as_read.update(used=state.used, reserved=state.reserved, reset_at=reset_at):
        raise _Raced


def _has_rolled(row: ApiKeyLimit, state: LimitState) -> bool:
    return state.reset_at > row.reset_at.timestamp()
