"""The dashboard's JSON: the request log."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.summary import iso
from codexproxy.api_schema import gives
from requestlogs.api_shapes import LogEntry, LogOptions, LogPage
from requestlogs.log_filters import LogFilter, status_word
from requestlogs.models import RequestRecord

_MOST_ROWS = 1000


class PageQuery(serializers.Serializer[Any]):
    limit = serializers.IntegerField(min_value=1, max_value=_MOST_ROWS, default=50)
    offset = serializers.IntegerField(min_value=0, max_value=2**31 - 1, default=0)


class SpanQuery(serializers.Serializer[Any]):
    since = serializers.DateTimeField(default_timezone=UTC, required=False)
    until = serializers.DateTimeField(default_timezone=UTC, required=False)


_FILTERS: list[Any] = [
    SpanQuery,
    *(
        OpenApiParameter(name, str, many=name != "search")
        for name in ("search", "accountId", "status", "model", "reasoningEffort", "modelOption")
    ),
]


@gives(LogPage)
@extend_schema(parameters=[PageQuery, *_FILTERS])
@api_view(["GET"])
def request_logs(request: Request) -> Response:
    """The requests, newest first."""
    page = validated(PageQuery, request)
    wanted = _filter(request)
    rows = RequestRecord.objects.filter(wanted.condition()).order_by("-id")
    start = page["offset"]
    found: LogPage = {"requests": [log_entry(row) for row in rows[start : start + page["limit"]]]}
    return Response(found)


@gives(LogOptions)
@extend_schema(parameters=_FILTERS)
@api_view(["GET"])
def request_log_options(request: Request) -> Response:
    """What there is to filter by, in the rows that the other conditions leave."""
    rows = RequestRecord.objects.filter(_filter(request).condition()).order_by()
    accounts = rows.exclude(account_id="").values_list("account_id", flat=True).distinct()
    models = rows.exclude(model="").values_list("model", "reasoning_effort").distinct()
    found: LogOptions = {
        "accountIds": sorted(accounts),
        "modelOptions": [
            {"model": model, "reasoningEffort": effort}
            for model, effort in sorted(models, key=lambda pair: (pair[0], pair[1] or ""))
        ],
    }
    return Response(found)


def validated(query: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """The query's values. Raises ValidationError."""
    checked = query(data={name: request.query_params[name] for name in request.query_params})
    checked.is_valid(raise_exception=True)
    found: dict[str, Any] = checked.validated_data
    return found


def log_entry(row: RequestRecord) -> LogEntry:
    cached = row.cached_input_tokens
    if cached is not None and row.input_tokens is not None:
        cached = min(cached, row.input_tokens)
    return {
        "requestedAt": iso(row.requested_at),
        "accountId": row.account_id or None,
        "requestId": row.request_id,
        "model": row.model,
        "status": status_word(row),
        "errorCode": row.error_code,
        "errorMessage": row.error_message or None,
        "tokens": _tokens(row),
        "cachedInputTokens": cached,
        "reasoningEffort": row.reasoning_effort,
        "costUsd": None if row.cost_usd is None else float(row.cost_usd),
        "latencyMs": row.latency_ms,
        "firstTokenMs": row.first_token_ms,
        "transport": row.transport,
        "serviceTier": row.service_tier or None,
        "apiKeyId": row.api_key_id,
    }


def _tokens(row: RequestRecord) -> int | None:
    output = row.output_tokens if row.output_tokens is not None else row.reasoning_tokens
    if row.input_tokens is None and output is None:
        return None
    return (row.input_tokens or 0) + (output or 0)


def _filter(request: Request) -> LogFilter:
    given = request.query_params
    span = validated(SpanQuery, request)
    return LogFilter(
        search=given.get("search", ""),
        account_ids=tuple(_texts(given.getlist("accountId"))),
        # White space alone is no status, and not the absence of one either.
        statuses=tuple(given.getlist("status")),
        models=tuple(_texts(given.getlist("model"))),
        efforts=tuple(_texts(given.getlist("reasoningEffort"))),
        model_options=tuple(_texts(given.getlist("modelOption"))),
        since=span.get("since"),
        until=span.get("until"),
    )


def _texts(given: list[str]) -> list[str]:
    return [text for text in given if text.strip()]
