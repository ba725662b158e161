"""Asks the sign-in service, from a thread that has no event loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping

from asgiref.sync import async_to_sync
from django.conf import settings

from accounts.tokens import ANSWER_LIMIT, CALL_TIMEOUT_S, HEADERS
from codexproxy.http import HttpClient, ResponseTooLarge, Timeouts, TransportFailed

# The path and content of a request, and whether it is a form; the status and body of the answer.
Ask = Callable[[str, bytes, bool], tuple[int, bytes]]

_FORM_HEADERS = ((b"content-type", b"application/x-www-form-urlencoded"), *HEADERS[1:])


class Unreachable(Exception):
    """There was no answer; the message says why."""


def ask(path: str, content: bytes, is_form: bool = False) -> tuple[int, bytes]:
    """Raises Unreachable."""
    return async_to_sync(_ask)(f"{settings.AUTH_BASE_URL}{path}", content, is_form)


def as_json(fields: Mapping[str, str]) -> bytes:
    return json.dumps(dict(fields)).encode()


async def _ask(url: str, content: bytes, is_form: bool) -> tuple[int, bytes]:
    client = HttpClient()
    headers = _FORM_HEADERS if is_form else HEADERS
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            response = await client.send("POST", url, headers, content, Timeouts(read_s=CALL_TIMEOUT_S))
            try:
                return response.status, await response.read(ANSWER_LIMIT)
            finally:
                await response.close()
    except TransportFailed as failure:
        raise Unreachable(f"The sign-in service cannot be reached: {failure}") from failure
    except TimeoutError:
        raise Unreachable(
            f"The sign-in service did not answer within {CALL_TIMEOUT_S:.0f} seconds."
        ) from None
    except ResponseTooLarge as failure:
        raise Unreachable(f"The sign-in service cannot be understood: {failure}") from failure
    finally:
        await client.close()
