"""Gives every control-plane request an id, and takes it away again when the request ends."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from codexproxy.logging import request_id


def incoming_request_id(given: str | None) -> str:
    """The client's own id where it is printable and short, else a new one."""
    if given and len(given) <= 100 and given.isprintable():
        return given
    # An id, not a secret: no system call for each request.
    return str(uuid.UUID(int=random.getrandbits(128), version=4))  # noqa: S311


class RequestIdMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("x-request-id") or request.headers.get("request-id")
        this = incoming_request_id(given)
        token = request_id.set(this)
        try:
            response = self.get_response(request)
        finally:
            request_id.reset(token)
        response.headers.setdefault("x-request-id", this)
        return response
