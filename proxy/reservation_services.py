"""Writes: takes and gives back room in keys' limits. Every process goes through here, group by group."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import F, Model
from django.db.models.functions import Greatest

from proxy import limits
from proxy.budgets import Claim, Held, LimitState, OverLimit, Settlement, claimed
from proxy.models import ApiKeyLimit, Reservation

# As often another process may have been quicker; each time it was, its own group got through.
_ROUNDS = 100


# In plain SQL: to have them composed anew for each group costs more than all that the database does.
_SELECT = (
    'SELECT id, key_id, kind, "window", model, max_value, used, reserved, reset_at '
    "FROM proxy_apikeylimit WHERE key_id = %s"
)
_INSERT = (
    "INSERT INTO proxy_reservation (id, key_id, holder, expires_at, amounts) VALUES (%s, %s, %s, %s, %s)"
)
_DELETE = "DELETE FROM proxy_reservation WHERE id = %s"
# Only onto what was read: whoever was quicker makes the group begin anew.
_UPDATE = (
    "UPDATE proxy_apikeylimit SET used = %s, reserved = %s, reset_at = %s "
    "WHERE id = %s AND used = %s AND reserved = %s AND reset_at = %s"
)


class _Raced(Exception):
    """Another process has changed what this group was counted on."""


def limits_apply(
    *, holder: UUID, claims: Sequence[Claim], settlements: Sequence[Settlement], now: datetime
) -> list[Held | OverLimit]:
    """Settle, then answer each claim in its turn; one transaction, all or nothing."""
    for tries in range(_ROUNDS):
        try:
            with transaction.atomic():
                group = _Group(holder, now, is_first_try=tries == 0)
                return group.apply(claims, settlements)
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


class _Group:
    """Claims and settlements on their way through one transaction."""

    def __init__(self, holder: UUID, now: datetime, *, is_first_try: bool) -> None:
        self._holder = holder
        self._now = now
        self._is_first_try = is_first_try
        self._read: list[LimitState] = []
        self._states: dict[int, LimitState] = {}
        self._has_reclaimed = False

    def apply(self, claims: Sequence[Claim], settlements: Sequence[Settlement]) -> list[Held | OverLimit]:
        key_ids = {claim.key_id for claim in claims} | {settlement.key_id for settlement in settlements}
        self._read = _limits_of(key_ids)
        self._states = {state.id: replace(state) for state in self._read}
        for state in self._states.values():
            state.roll(self._now.timestamp())
        self._settle(settlements)
        answers = [self._answer(claim, key_ids) for claim in claims]
        held = [answer for answer in answers if isinstance(answer, Held) and answer.amounts]
        if held:
            _executed(_INSERT, [self._row(each) for each in held])
        self._write()
        return answers

    def _settle(self, settlements: Sequence[Settlement]) -> None:
        ids = [
            settlement.held.id for settlement in settlements if settlement.held and settlement.held.amounts
        ]
        # One that is not there any more was given back as a dead process's; what it has used counts all
        # the same.
        there = self._deleted(ids)
        for settlement in settlements:
            if settlement.held is not None and settlement.held.id in there:
                self._give_back(settlement.held.amounts.items())
            for state in self._states.values():
                if state.concerns(settlement.key_id, settlement.model):
                    state.used += settlement.spent.of(state.kind)

    def _answer(self, claim: Claim, key_ids: Collection[int]) -> Held | OverLimit:
        taken = claimed(self._states.values(), claim)
        if isinstance(taken, OverLimit) and not self._has_reclaimed:
            # Before anybody is refused: what others hold who are not alive.
            self._has_reclaimed = True
            self._give_back_expired(key_ids)
            taken = claimed(self._states.values(), claim)
        return taken if isinstance(taken, OverLimit) else Held(uuid4(), claim, taken)

    def _give_back_expired(self, key_ids: Collection[int]) -> None:
        """Our own we settle ourselves."""
        expired = Reservation.objects.filter(key_id__in=key_ids, expires_at__lte=self._now)
        rows = list(expired.exclude(holder=self._holder))
        there = self._deleted([row.pk for row in rows])
        for row in rows:
            if row.pk in there:
                self._give_back((int(limit_id), amount) for limit_id, amount in row.amounts.items())

    def _give_back(self, amounts: Iterable[tuple[int, int]]) -> None:
        for limit_id, amount in amounts:
            if limit_id in self._states:
                self._states[limit_id].give_back(amount)

    def _deleted(self, ids: Sequence[UUID]) -> set[UUID]:
        """Those that were there and are gone now, by our hand."""
        there = set(ids)
        if not self._is_first_try:
            there = set(Reservation.objects.filter(pk__in=ids).values_list("pk", flat=True))
        if there and _executed(_DELETE, [(_stored(Reservation, "id", each),) for each in there]) != len(
            there
        ):
            raise _Raced
        return there

    def _row(self, held: Held) -> tuple[Any, ...]:
        values = {
            "id": held.id,
            "key": held.claim.key_id,
            "holder": self._holder,
            "expires_at": self._now + timedelta(seconds=limits.RESERVATION_S),
            "amounts": {str(limit_id): amount for limit_id, amount in held.amounts.items()},
        }
        return tuple(_stored(Reservation, name, value) for name, value in values.items())

    def _write(self) -> None:
        """In the order of the ids, so that two groups never wait for each other."""
        changed = [
            (*_columns(self._states[read.id]), read.id, *_columns(read))
            for read in self._read
            if self._states[read.id] != read
        ]
        if changed and _executed(_UPDATE, changed) != len(changed):
            raise _Raced


def _limits_of(key_ids: Collection[int]) -> list[LimitState]:
    found: list[LimitState] = []
    with connection.cursor() as cursor:
        for key_id in key_ids:
            cursor.execute(_SELECT, (key_id,))
            found += [LimitState(*(*row[:-1], _seconds(row[-1]))) for row in cursor.fetchall()]
    return sorted(found, key=lambda state: state.id)


def _seconds(moment: Any) -> float:
    # SQLite has no times: they are texts, in UTC.
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    return float(moment.timestamp())


def _columns(state: LimitState) -> tuple[Any, ...]:
    reset_at = datetime.fromtimestamp(state.reset_at, UTC)
    return state.used, state.reserved, _stored(ApiKeyLimit, "reset_at", reset_at)


def _executed(statement: str, rows: list[tuple[Any, ...]]) -> int:
    """How many rows of the table that has changed."""
    with connection.cursor() as cursor:
        cursor.executemany(statement, rows)
        return int(cursor.rowcount)


def _stored(model: type[Model], name: str, value: object) -> Any:
    """A value as its column takes it."""
    field: Any = model._meta.get_field(name)
    return field.get_db_prep_save(value, connection)
