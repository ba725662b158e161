"""The dashboard's JSON: API keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from codexproxy.api_schema import gives, takes
from codexproxy.errors import DashboardError
from proxy.api_shapes import KeyMade, KeyShown, KeyTrends, KeyWeek, LimitGiven
from proxy.key_selectors import key_trends, keys_with_use, limit_views, usage_sums
from proxy.key_services import (
    LimitRule,
    api_key_create,
    api_key_delete,
    api_key_regenerate,
    api_key_update,
    limits_replace,
    usage_reset,
)
from proxy.models import ApiKey
from requestlogs.models import RequestRecord

_WINDOWS = {"7d": "weekly"}
_TIERS = {"fast": "priority"}


_FIELDS = takes(
    "name",
    "note",
    "expiresAt",
    "enforcedModel",
    "enforcedReasoningEffort",
    "enforcedServiceTier",
    isActive=bool,
    allowedModels=list[str],
    allowedReasoningEfforts=list[str],
    maxParallelRequests=int | None,
    accountAssignmentScopeEnabled=bool,
    assignedAccountIds=list[str],
    assignedGroupIds=list[int],
    limits=list[LimitGiven],
    weeklyTokenLimit=int,
    resetUsage=bool,
)


@gives(list[KeyShown], methods=["GET"])
@gives(KeyMade, methods=["POST"])
@_FIELDS
@api_view(["GET", "POST"])
def api_keys(request: Request) -> Response:
    """GET: all keys. POST: make one; `key` is in this answer only."""
    if request.method == "GET":
        return Response([_shown(key) for key in keys_with_use()])
    payload = _object(request)
    fields = _fields(payload)
    with _told(), transaction.atomic():
        made = api_key_create(**{"name": "", **fields}, limits=_limits(payload) or ())
    return Response(_made(made.key.pk, made.plain))


@gives(KeyShown, methods=["PATCH"])
@gives(None, methods=["DELETE"])
@_FIELDS
@api_view(["PATCH", "DELETE"])
def api_key(request: Request, key_id: int) -> Response:
    """PATCH: change what is named. DELETE: remove the key."""
    if request.method == "DELETE":
        with _told():
            api_key_delete(key_id=key_id)
        return Response(status=204)
    payload = _object(request)
    fields, rules = _fields(payload, _found(key_id)), _limits(payload)
    with _told(), transaction.atomic():
        key = api_key_update(key_id=key_id, **fields) if fields else ApiKey.objects.get(pk=key_id)
        if rules is not None:
            limits_replace(key=key, rules=rules)
        if _flag(payload.get("resetUsage", False), "resetUsage"):
            usage_reset(key_id=key_id)
    return Response(_shown(_found(key_id)))


@gives(KeyMade)
@api_view(["POST"])
def api_key_renew(request: Request, key_id: int) -> Response:
    """Another key with the same rights; the former one ends."""
    with _told():
        made = api_key_regenerate(key_id=key_id)
    return Response(_made(key_id, made.plain))


@gives(KeyWeek)
@api_view(["GET"])
def api_key_week(request: Request, key_id: int) -> Response:
    """What a key has used in the last seven days."""
    _found(key_id)
    since = timezone.now() - timedelta(days=7)
    sums = usage_sums(RequestRecord.objects.filter(api_key_id=key_id, requested_at__gte=since))
    week: KeyWeek = {
        "keyId": key_id,
        "totalRequests": sums["request_count"],
        "totalTokens": sums["input_tokens"] + sums["output_tokens"],
        "cachedInputTokens": sums["cached_input_tokens"],
        "totalCostUsd": float(sums["cost_usd"]),
    }
    return Response(week)


@gives(KeyTrends)
@api_view(["GET"])
def api_key_trends(request: Request, key_id: int) -> Response:
    """What a key has used in the last seven days, hour by hour, as two lines of a chart."""
    _found(key_id)
    hours = key_trends(key_id, timezone.now())
    trends: KeyTrends = {
        "keyId": key_id,
        "cost": [{"t": _time(hour), "v": float(cost)} for hour, _, cost in hours],
        "tokens": [{"t": _time(hour), "v": tokens} for hour, tokens, _ in hours],
    }
    return Response(trends)


def _made(key_id: int, plain: str) -> KeyMade:
    return {**_shown(_found(key_id)), "key": plain}


def _found(key_id: int) -> ApiKey:
    with _told():
        return keys_with_use().get(pk=key_id)


@contextmanager
def _told() -> Iterator[None]:
    """What the services refuse, in the dashboard's words."""
    try:
        yield
    except ApiKey.DoesNotExist as error:
        raise DashboardError(404, "api_key_not_found", "API key not found") from error
    except ValidationError as error:
        raise DashboardError(400, "invalid_api_key", _words(error)) from error


def _words(error: ValidationError) -> str:
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    return " ".join(f"{name}: {' '.join(found)}" for name, found in error.message_dict.items())


def _shown(key: ApiKey) -> KeyShown:
    return {
        "id": key.pk,
        "name": key.name,
        "note": key.note,
        "keyPrefix": key.prefix,
        "isActive": key.enabled,
        "createdAt": _time(key.created_at),
        "lastUsedAt": _time_or_none(getattr(key, "last_used_at", None)),
        "expiresAt": _time_or_none(key.expires_at),
        "allowedModels": key.allowed_models,
        "enforcedModel": key.enforced_model or None,
        "enforcedReasoningEffort": key.enforced_effort or None,
        "allowedReasoningEfforts": key.allowed_efforts,
        "enforcedServiceTier": key.enforced_tier or None,
        "maxParallelRequests": key.max_parallel,
        "accountAssignmentScopeEnabled": key.is_bound,
        "assignedAccountIds": key.account_ids,
        "assignedGroupIds": key.group_ids,
        "limits": [
            {
                "limitType": limit.kind,
                "limitWindow": limit.window,
                "maxValue": limit.max_value,
                "currentValue": limit.used,
                "modelFilter": limit.model or None,
                "resetAt": _time(limit.reset_at),
            }
            for limit in limit_views(key.limits.all(), timezone.now())
        ],
    }


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _time_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else _time(moment)


# --- what comes in ------------------------------------------------------------------------------


def _object(request: Request) -> dict[str, Any]:
    if not isinstance(request.data, dict):
        _invalid("The body must be a JSON object.")
    return request.data


def _fields(payload: dict[str, Any], key: ApiKey | None = None) -> dict[str, Any]:
    """What is given, by the names of the service; what is absent stays as it is."""
    fields = {field: read(payload[name], name) for name, (field, read) in _READERS.items() if name in payload}
    if "is_bound" not in fields and ("account_ids" in fields or "group_ids" in fields):
        # What is not named stays: taking the accounts off leaves the key bound to its groups.
        accounts = fields.get("account_ids", key.account_ids if key else [])
        groups = fields.get("group_ids", key.group_ids if key else [])
        fields["is_bound"] = bool(accounts or groups)
    return fields


def _limits(payload: dict[str, Any]) -> list[LimitRule] | None:
    given = payload.get("limits")
    rules = None if given is None else [_rule(item) for item in _list(given, "limits")]
    weekly = payload.get("weeklyTokenLimit")
    if weekly is not None:
        rules = [*(rules or []), LimitRule("total_tokens", "weekly", _integer(weekly, "weeklyTokenLimit"))]
    return rules


def _rule(item: Any) -> LimitRule:
    if not isinstance(item, dict):
        _invalid("Each of limits must be an object.")
    window = _text(item.get("limitWindow"), "limitWindow")
    return LimitRule(
        kind=_text(item.get("limitType"), "limitType"),
        window=_WINDOWS.get(window, window),
        max_value=_integer(item.get("maxValue"), "maxValue"),
        model=_text(item.get("modelFilter"), "modelFilter"),
    )


def _text(value: Any, name: str) -> str:
    if value is not None and not isinstance(value, str):
        _invalid(f"{name} must be a text.")
    return value or ""


def _list(value: Any, name: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        _invalid(f"{name} must be a list.")
    return value or []


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        _invalid(f"{name} must be true or false.")
    return value


def _integer(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        _invalid(f"{name} must be a whole number.")
    return value


def _optional_integer(value: Any, name: str) -> int | None:
    return None if value is None else _integer(value, name)


def _moment(value: Any, name: str) -> datetime | None:
    if value is None or value == "":
        return None
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
        if moment is not None:
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        # The latter: at the very ends of time another zone's moment has no name in UTC.
        pass
    _invalid(f"{name} must be a time such as 2026-12-31T00:00:00Z.")


def _tier(value: Any, name: str) -> str:
    tier = _text(value, name)
    return _TIERS.get(tier, tier)


def _invalid(message: str) -> NoReturn:
    raise DashboardError(422, "validation_error", message)


_READERS: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
    "name": ("name", _text),
    "note": ("note", _text),
    "isActive": ("enabled", _flag),
    "expiresAt": ("expires_at", _moment),
    "allowedModels": ("allowed_models", _list),
    "enforcedModel": ("enforced_model", _text),
    "enforcedReasoningEffort": ("enforced_effort", _text),
    "allowedReasoningEfforts": ("allowed_efforts", _list),
    "enforcedServiceTier": ("enforced_tier", _tier),
    "maxParallelRequests": ("max_parallel", _optional_integer),
    "accountAssignmentScopeEnabled": ("is_bound", _flag),
    "assignedAccountIds": ("account_ids", _list),
    "assignedGroupIds": ("group_ids", _list),
}
