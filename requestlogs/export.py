"""The request log as CSV, for spreadsheets."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator
from io import StringIO
from typing import Any

from django.db.models import QuerySet

from requestlogs.models import RequestRecord

COLUMNS = (
    "requested_at", "request_id", "account_id", "api_key_id", "client", "client_address", "path", "transport",
    "conversation", "model", "reasoning_effort", "service_tier", "status", "status_code", "error_code",
    "error_message", "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "cost_usd",
    "latency_ms", "first_token_ms",
)  # fmt: skip
_CHUNK = 1000
# What a spreadsheet takes for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


async def csv_lines(rows: QuerySet[RequestRecord]) -> AsyncIterator[str]:
    """A heading and a line for each row, some at a time: however many there are, little is held."""
    yield line(COLUMNS)
    async for row in rows.aiterator(chunk_size=_CHUNK):
        yield line([getattr(row, name) for name in COLUMNS])


def line(values: Any) -> str:
    out = StringIO()
    csv.writer(out).writerow([cell(value) for value in values])
    return out.getvalue()


def cell(value: object) -> str:
    """SECURITY: clients choose some of the texts; none may begin a formula in whoever opens the file."""
    if value is None:
        return ""
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
