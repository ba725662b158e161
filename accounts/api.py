"""The dashboard's JSON: import, pause, reactivate and delete an account."""

from __future__ import annotations

from typing import Any

from django.core.files.uploadedfile import UploadedFile
from rest_framework.decorators import api_view, parser_classes
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import auth_file, importing, services
from accounts.models import Account
from codexproxy.errors import DashboardError

# The file and what the form puts around it.
MAX_BODY_BYTES = 2 * auth_file.MAX_AUTH_FILE_BYTES


@api_view(["POST"])
@parser_classes([MultiPartParser, JSONParser])
def account_import(request: Request) -> Response:
    content = _uploaded(request)
    try:
        auth = auth_file.parse(content)
    except auth_file.AuthFileError as error:
        raise DashboardError(400, "invalid_auth_json", str(error)) from error
    brought = importing.bring(auth=auth, source="dashboard")
    account = brought.account
    if brought.outcome is importing.Outcome.REFUSED or account is None:
        raise DashboardError(400, "invalid_auth_json", brought.message)
    return Response(
        {
            "accountId": account.pk,
            "email": account.email,
            "workspaceId": account.workspace_id or None,
            "workspaceLabel": account.workspace_label or None,
            "planType": account.plan_type,
            "status": account.status,
        }
    )


@api_view(["POST"])
def account_pause(request: Request, account_id: str) -> Response:
    try:
        services.account_pause(account_id=account_id)
    except (Account.DoesNotExist, services.StateConflict) as error:
        raise _as_dashboard_error(error) from error
    return Response({"status": "paused"})


@api_view(["POST"])
def account_reactivate(request: Request, account_id: str) -> Response:
    try:
        services.account_resume(account_id=account_id)
    except (Account.DoesNotExist, services.StateConflict) as error:
        raise _as_dashboard_error(error) from error
    return Response({"status": "reactivated"})


@api_view(["DELETE"])
def account_delete(request: Request, account_id: str) -> Response:
    try:
        services.account_delete(account_id=account_id)
    except Account.DoesNotExist as error:
        raise _as_dashboard_error(error) from error
    return Response({"status": "deleted"})


def _uploaded(request: Request) -> bytes:
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY_BYTES:
        raise _too_large()
    # Parses the body, and tells what is wrong with it.
    files: Any = request.FILES
    file = files.get("auth_json")
    if not isinstance(file, UploadedFile):
        raise DashboardError(422, "validation_error", "Invalid request payload")
    if (file.size or 0) > auth_file.MAX_AUTH_FILE_BYTES:
        raise _too_large()
    content: bytes = file.read()
    return content


def _too_large() -> DashboardError:
    return DashboardError(413, "payload_too_large", "auth.json may have at most 1 MiB")


def _as_dashboard_error(error: Exception) -> DashboardError:
    if isinstance(error, services.StateConflict):
        return DashboardError(409, error.code, str(error))
    return DashboardError(404, "account_not_found", "Account not found")
