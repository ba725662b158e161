"""The user of an API view is the one that the gate has let in."""

from __future__ import annotations

from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request


class GateAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        # DRF would otherwise put nobody in the place of the user that the middleware has found.
        user = getattr(request._request, "user", None)
        return None if user is None else (user, None)
