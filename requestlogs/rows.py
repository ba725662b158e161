"""A record as its row: what fits no column is mended, so that no value of a client's costs a request its row.

A group of them goes into the table in one statement. No model instances: making one, and preparing its
fields one by one, takes four times as long as all that is here, and the server pays it for every request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, cast

import msgspec
from django.db import connection, models

from requestlogs.models import RequestRecord
from requestlogs.records import Record
from usage.pricing import PriceBook

_SMALL, _INTEGER = 2**15 - 1, 2**31 - 1
# More tokens than this cannot be; the sums of many such rows must fit where they are stored.
_TOKENS = 10**12


@dataclass(slots=True)
class Row:
    """The columns of `RequestRecord` but its number, as the table holds them; `split` and below are JSON."""

    request_id: str
    requested_at: datetime
    account_id: str
    api_key_id: int | None
    client: str
    client_address: str
    path: str
    transport: str
    conversation: str
    model: str
    reasoning_effort: str | None
    service_tier: str
    status: str
    status_code: int | None
    error_code: str | None
    error_message: str
    input_tokens: int | None
    cached_input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: Decimal | None
    latency_ms: int | None
    first_token_ms: int | None
    split: str
    attempts: str
    routing: str


def row_of(record: Record, prices: PriceBook) -> Row:
    tokens = record.tokens
    return Row(
        request_id=_text(record.request_id, 120),
        requested_at=record.requested_at,
        account_id=_text(record.account_id, 200),
        api_key_id=record.api_key_id,
        client=_text(record.client, 200),
        client_address=_text(record.client_address, 64),
        path=_text(record.path, 200),
        transport=_text(record.transport, 12),
        conversation=_text(record.conversation, 200),
        model=_text(record.model, 120),
        reasoning_effort=None if record.reasoning_effort is None else _text(record.reasoning_effort, 20),
        service_tier=_text(record.service_tier, 20),
        status=_text(record.status, 12),
        status_code=_count(record.status_code, _SMALL),
        error_code=None if record.error_code is None else _text(record.error_code, 80),
        error_message=_text(record.error_message, 2000),
        input_tokens=_count(tokens.input, _TOKENS),
        cached_input_tokens=_count(tokens.cached_input, _TOKENS),
        output_tokens=_count(tokens.output, _TOKENS),
        reasoning_tokens=_count(tokens.reasoning, _TOKENS),
        cost_usd=prices.cost_usd(record.model, tokens, record.service_tier),
        latency_ms=_count(record.latency_ms, _INTEGER),
        first_token_ms=_count(record.first_token_ms, _INTEGER),
        split=_json({name: round(ms, 2) for name, ms in record.split.named()} if record.split else {}),
        attempts=_json(record.attempts),
        routing=_json(record.routing),
    )


_NAMES = tuple(each.name for each in fields(Row))
_values = attrgetter(*_NAMES)
_REQUESTED_AT, _COST = _NAMES.index("requested_at"), _NAMES.index("cost_usd")
_COST_FIELD = cast("models.DecimalField[Any, Any]", RequestRecord._meta.get_field("cost_usd"))


def insert_rows(rows: Sequence[Row]) -> None:
    """One statement for every group: bulk_create would write and parse another one for each, which takes
    longer than the rows do.
    """
    quote = connection.ops.quote_name
    names = ", ".join(map(quote, _NAMES))
    places = ", ".join(["%s"] * len(_NAMES))
    table = quote(RequestRecord._meta.db_table)
    statement = f"INSERT INTO {table} ({names}) VALUES ({places})"  # noqa: S608 - names of ours
    with connection.cursor() as cursor:
        cursor.executemany(statement, [_stored(row) for row in rows])


def _stored(row: Row) -> list[Any]:
    """What each database wants in its own way; all else is text and whole numbers."""
    values = list(_values(row))
    operations = connection.ops
    values[_REQUESTED_AT] = operations.adapt_datetimefield_value(row.requested_at)
    values[_COST] = operations.adapt_decimalfield_value(
        row.cost_usd, _COST_FIELD.max_digits, _COST_FIELD.decimal_places
    )
    return values


def _text(value: str, size: int | None = None) -> str:
    # PostgreSQL refuses NUL in text, and half a surrogate pair cannot be encoded at all: JSON may bring both.
    if not value.isascii() or "\x00" in value:
        value = value.encode("utf-8", "replace").decode().replace("\x00", "")
    return value[:size]


def _count(value: int | None, most: int) -> int | None:
    """None, "unknown", for what its column cannot hold: the row is worth more than the number."""
    return value if value is not None and 0 <= value <= most else None


def _json(value: Any) -> str:
    # An escaped NUL is refused by PostgreSQL too; both are rare, so that the slow way is taken only for them.
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        encoded = b"\\u0000"
    if b"\\u0000" in encoded:
        encoded = msgspec.json.encode(_clean(msgspec.to_builtins(value)))
    return encoded.decode()


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
