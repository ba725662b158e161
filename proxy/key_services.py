"""Writes of API keys and their limits. Every process learns of a change within two seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from accounts import audit, changes
from accounts.models import Account, AccountGroup
from proxy.budgets import WINDOW_S
from proxy.keys import PREFIX, SHOWN, key_hash, new_key
from proxy.limit_history import used_before, window_end
from proxy.models import ApiKey, ApiKeyLimit

_EDITABLE = frozenset(
    {
        "name", "note", "enabled", "expires_at", "allowed_models", "enforced_model", "enforced_effort",
        "allowed_efforts", "enforced_tier", "max_parallel", "is_bound", "account_ids",
        "group_ids",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LimitRule:
    """A limit as an operator asks for it. Costs are millionths of a dollar."""

    kind: str
    window: str
    max_value: int
    model: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.kind, self.window, self.model


@dataclass(frozen=True, slots=True)
class NewKey:
    """`plain` is known here and now only."""

    key: ApiKey
    plain: str = field(repr=False)


@transaction.atomic
def api_key_create(*, name: str, limits: Iterable[LimitRule] = (), **fields: Any) -> NewKey:
    """Raises ValidationError."""
    plain = new_key()
    key = ApiKey(name=name.strip(), prefix=plain[:SHOWN], key_hash=key_hash(plain))
    _assign(key, fields)
    key.save(force_insert=True)
    audit.record("api_key_created", subject=_named(key), detail=_words(fields))
    limits_replace(key=key, rules=limits)
    changes.bump()
    return NewKey(key, plain)


def api_key_check(*, key_id: int | None, **fields: Any) -> None:
    """Whether a key could have these; nothing is written. Raises ValidationError."""
    key = ApiKey.objects.get(pk=key_id) if key_id else ApiKey(prefix=PREFIX, key_hash=PREFIX)
    _assign(key, fields)


@transaction.atomic
def api_key_update(*, key_id: int, **fields: Any) -> ApiKey:
    """Only what is named changes. Raises ApiKey.DoesNotExist and ValidationError."""
    key = ApiKey.objects.get(pk=key_id)
    _assign(key, fields)
    key.save(update_fields=list(fields))
    audit.record("api_key_changed", subject=_named(key), detail=_words(fields))
    changes.bump()
    return key


@transaction.atomic
def api_key_regenerate(*, key_id: int) -> NewKey:
    """Another key with the same rights; the former one opens nothing any more. Raises ApiKey.DoesNotExist."""
    key = ApiKey.objects.get(pk=key_id)
    plain = new_key()
    key.prefix, key.key_hash = plain[:SHOWN], key_hash(plain)
    key.save(update_fields=["prefix", "key_hash"])
    audit.record("api_key_renewed", subject=_named(key))
    changes.bump()
    return NewKey(key, plain)


@transaction.atomic
def api_key_delete(*, key_id: int) -> None:
    """Its request records stay. Raises ApiKey.DoesNotExist."""
    key = ApiKey.objects.get(pk=key_id)
    audit.record("api_key_deleted", subject=_named(key))
    key.delete()
    changes.bump()


@transaction.atomic
def limits_replace(*, key: ApiKey, rules: Iterable[LimitRule]) -> None:
    """A limit that was there keeps what is used of it; a new one begins with what the key has used.

    Raises ValidationError.
    """
    wanted: dict[tuple[str, str, str], LimitRule] = {}
    for rule in rules:
        if rule.identity in wanted:
            raise ValidationError(f"There are two limits for {rule.kind} in each {rule.window}.")
        wanted[rule.identity] = rule
    there = {(row.kind, row.window, row.model): row for row in key.limits.all()}
    if {identity: row.max_value for identity, row in there.items()} != {
        identity: rule.max_value for identity, rule in wanted.items()
    }:
        limits = (f"{rule.kind} in each {rule.window}: {rule.max_value}" for rule in wanted.values())
        audit.record("api_key_limits_changed", subject=_named(key), detail="\n".join(limits) or "none")
    for identity, row in there.items():
        if identity not in wanted:
            row.delete()
    now = timezone.now()
    for identity, rule in wanted.items():
        known = there.get(identity)
        if known is None:
            _started(key, rule, now).save(force_insert=True)
        elif known.max_value != rule.max_value:
            # Only this column: requests are counted meanwhile.
            known.max_value = rule.max_value
            known.full_clean(exclude=["key"])
            ApiKeyLimit.objects.filter(pk=known.pk).update(max_value=rule.max_value)
    changes.bump()


@transaction.atomic
def usage_reset(*, key_id: int) -> None:
    """Every window of the key begins now. What requests in flight hold stays held."""
    for row in ApiKeyLimit.objects.filter(key_id=key_id):
        ends = timezone.now() + timedelta(seconds=WINDOW_S[row.window])
        ApiKeyLimit.objects.filter(pk=row.pk).update(used=0, reset_at=ends)
    audit.record("api_key_usage_reset", subject=_named(ApiKey.objects.get(pk=key_id)))


def _named(key: ApiKey) -> str:
    """SECURITY: never the key; its first characters are shown in lists as well."""
    return f"{key.name} ({key.prefix}…)"


def _words(fields: dict[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in sorted(fields.items()))


def _started(key: ApiKey, rule: LimitRule, now: datetime) -> ApiKeyLimit:
    """As though it had been there when the first of the window's requests came."""
    row = ApiKeyLimit(key=key, kind=rule.kind, window=rule.window, model=rule.model, max_value=rule.max_value)
    row.reset_at = now
    row.full_clean(exclude=["key"])
    length_s = WINDOW_S[rule.window]
    used = used_before(key_id=key.pk, model=rule.model, since=now - timedelta(seconds=length_s))
    row.reset_at = window_end(used, now=now, length_s=length_s)
    row.used = used.amounts.of(rule.kind)
    return row


def _assign(key: ApiKey, fields: dict[str, Any]) -> None:
    if unknown := fields.keys() - _EDITABLE:
        raise TypeError(f"a key has no {', '.join(sorted(unknown))}")
    was_bound_to, was_in = set(key.account_ids), set(key.group_ids)
    for name, value in fields.items():
        setattr(key, name, value.strip() if isinstance(value, str) else value)
    key.allowed_models = _texts("allowed_models", key.allowed_models)
    key.allowed_efforts = _texts("allowed_efforts", key.allowed_efforts)
    key.account_ids = _texts("account_ids", key.account_ids)
    key.group_ids = _numbers("group_ids", key.group_ids)
    key.full_clean(exclude=["prefix", "key_hash"] if key.pk else [])
    _check_consistency(key)
    _check_bindings(key, was_bound_to, was_in)


def _texts(field_name: str, values: Any) -> list[str]:
    if not isinstance(values, list | tuple | set | frozenset) or not all(
        isinstance(value, str) and 0 < len(value.strip()) <= 200 for value in values
    ):
        raise ValidationError({field_name: "This must be a list of texts."})
    return sorted({value.strip() for value in values})


def _numbers(field_name: str, values: Any) -> list[int]:
    if not isinstance(values, list | tuple | set | frozenset) or not all(
        isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63 for value in values
    ):
        raise ValidationError({field_name: "This must be a list of ids."})
    return sorted(set(values))


def _check_consistency(key: ApiKey) -> None:
    if key.enforced_model and key.allowed_models and key.enforced_model not in key.allowed_models:
        raise ValidationError({"enforced_model": "The enforced model must be one of the allowed models."})
    if key.enforced_effort and key.allowed_efforts:
        raise ValidationError({"enforced_effort": "Either enforce one effort or allow some, not both."})
    if unknown := set(key.allowed_efforts) - set(ApiKey.Effort.values):
        raise ValidationError({"allowed_efforts": f"There is no effort {', '.join(sorted(unknown))}."})


def _check_bindings(key: ApiKey, was_bound_to: set[str], was_in: set[int]) -> None:
    # One that was deleted stays with the key until it is taken off: what is asked anew must exist.
    added = set(key.account_ids) - was_bound_to
    known = set(Account.objects.filter(pk__in=added).values_list("pk", flat=True))
    if missing := added - known:
        raise ValidationError({"account_ids": f"There is no account {', '.join(sorted(missing))}."})
    added_groups = set(key.group_ids) - was_in
    there = set(AccountGroup.objects.filter(pk__in=added_groups).values_list("pk", flat=True))
    if absent := added_groups - there:
        names = ", ".join(str(group_id) for group_id in sorted(absent))
        raise ValidationError({"group_ids": f"There is no account group {names}."})
