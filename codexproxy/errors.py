"""The dashboard's JSON errors: {"error": {"code", "message"}}."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as ModelValidationError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

logger = logging.getLogger(__name__)

# These say in DRF's words what the status alone says; the others carry a text of their own.
_STATUS_SAYS_IT = (exceptions.MethodNotAllowed, exceptions.NotAcceptable, exceptions.UnsupportedMediaType)
_INVALID = (exceptions.ValidationError, exceptions.ParseError, ModelValidationError)


class DashboardError(exceptions.APIException):
    """An error that a view tells on purpose."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, code)
        self.status_code = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def dashboard_exception_handler(exc: Exception, context: dict[str, Any]) -> Response:
    """DRF's hook. What nobody expected is logged, never shown as the client's mistake."""
    set_rollback()
    if isinstance(exc, DashboardError):
        return _answer(exc.status_code, exc.code, exc.message, exc.headers)
    if isinstance(exc, _INVALID):
        return _answer(422, "validation_error", "Invalid request payload")
    if isinstance(exc, exceptions.APIException):
        return _answer(exc.status_code, f"http_{exc.status_code}", _message(exc), _headers(exc))
    status = _django_status(exc)
    if status is not None:
        return _answer(status, f"http_{status}", HTTPStatus(status).phrase)
    view = context.get("view")
    logger.error("unexpected error in %s", type(view).__name__ if view else "a view", exc_info=exc)
    return _answer(500, "internal_error", "Unexpected error")


def _answer(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response({"error": {"code": code, "message": message}}, status=status, headers=headers)


def _django_status(exc: Exception) -> int | None:
    if isinstance(exc, Http404):
        return 404
    if isinstance(exc, PermissionDenied):
        return 403
    if isinstance(exc, RequestDataTooBig):
        return 413
    return 400 if isinstance(exc, SuspiciousOperation) else None


def _message(exc: exceptions.APIException) -> str:
    phrase = HTTPStatus(exc.status_code).phrase
    if isinstance(exc, _STATUS_SAYS_IT) or exc.detail == exc.default_detail:
        return phrase
    detail: Any = exc.detail
    if isinstance(detail, Mapping):
        # Either of them may hold the words; `message` is the plainer one.
        detail = next(
            (detail[name] for name in ("message", "error") if isinstance(detail.get(name), str)), ""
        )
    return (detail.strip() if isinstance(detail, str) else "") or "Request failed"


def _headers(exc: exceptions.APIException) -> dict[str, str]:
    """Headers that are part of the error's meaning. `Allow` is added by DRF's view."""
    headers: dict[str, str] = dict(getattr(exc, "headers", None) or {})
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(int(wait))
    return headers
