"""The dashboard's JSON: import, pause, reactivate and delete an account."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from rest_framework.decorators import api_view, parser_classes
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import api_shapes, auth_file, exporting, importing, services
from accounts.models import Account
from codexproxy.api_schema import Done, gives, takes
from codexproxy.errors import DashboardError
from codexproxy.plain_text import PlainJSONParser, PlainMultiPartParser

# The file and what the form puts around it.
MAX_BODY_BYTES = 2 * auth_file.MAX_AUTH_FILE_BYTES


@gives(api_shapes.Imported)
@api_view(["POST"])
@parser_classes([PlainMultiPartParser, PlainJSONParser])
def account_import(request: Request) -> Response:
    """Add or update an account from the file `auth_json`."""
    content = _uploaded(request)
    try:
        auth = auth_file.parse(content)
    except auth_file.AuthFileError as error:
        raise DashboardError(400, "invalid_auth_json", str(error)) from error
    brought = importing.bring(auth=auth, source="dashboard")
    account = brought.account
    if brought.outcome is importing.Outcome.REFUSED or account is None:
        raise DashboardError(400, "invalid_auth_json", brought.message)
    answer: api_shapes.Imported = {
        "accountId": account.pk,
        "email": account.email,
        "workspaceId": account.workspace_id or None,
        "workspaceLabel": account.workspace_label or None,
        "planType": account.plan_type,
        "status": account.status,
    }
    return Response(answer)


@gives(Done)
@api_view(["POST"])
def account_pause(request: Request, account_id: str) -> Response:
    """Keep an account from serving."""
    try:
        services.account_pause(account_id=account_id)
    except (Account.DoesNotExist, services.StateConflict) as error:
        raise _as_dashboard_error(error) from error
    return Response({"status": "paused"})


@gives(Done)
@api_view(["POST"])
def account_reactivate(request: Request, account_id: str) -> Response:
    """Let it serve again."""
    try:
        services.account_resume(account_id=account_id)
    except (Account.DoesNotExist, services.StateConflict) as error:
        raise _as_dashboard_error(error) from error
    return Response({"status": "reactivated"})


@gives(api_shapes.Renamed)
@takes("alias")
@api_view(["PUT"])
def account_alias(request: Request, account_id: str) -> Response:
    """The name that is shown instead of the e-mail; empty takes it off."""
    alias = _object(request).get("alias") or ""
    if not isinstance(alias, str):
        raise DashboardError(422, "validation_error", "alias must be a text.")
    try:
        account = services.account_rename(account_id=account_id, alias=alias)
    except (Account.DoesNotExist, ValidationError) as error:
        raise _as_dashboard_error(error) from error
    answer: api_shapes.Renamed = {"accountId": account.pk, "alias": account.alias or None}
    return Response(answer)


@gives(api_shapes.Routed)
@takes("routingPolicy", stopAtPercent=int | None)
@api_view(["PUT"])
def account_routing(request: Request, account_id: str) -> Response:
    """Whose turn it is for new conversations. What is not named stays as it is."""
    payload = _object(request)
    stop_at = payload.get("stopAtPercent")
    if stop_at is not None and (not isinstance(stop_at, int) or isinstance(stop_at, bool)):
        raise DashboardError(422, "validation_error", "stopAtPercent must be a whole number or null.")
    try:
        known = Account.objects.get(pk=account_id)
        account = services.account_route(
            account_id=account_id,
            policy=payload.get("routingPolicy", known.routing_policy),
            stop_at_percent=payload.get("stopAtPercent", known.stop_at_percent),
        )
    except (Account.DoesNotExist, ValidationError) as error:
        raise _as_dashboard_error(error) from error
    answer: api_shapes.Routed = {
        "accountId": account.pk,
        "routingPolicy": account.routing_policy,
        "stopAtPercent": account.stop_at_percent,
    }
    return Response(answer)


@gives(api_shapes.Exported)
@takes("shape")
@api_view(["POST"])
def account_export(request: Request, account_id: str) -> Response:
    """Its tokens, for a backup."""
    # SECURITY: the gate lets an open dashboard do this on its own machine only.
    try:
        auth = exporting.account_export(account_id=account_id)
        account = Account.objects.get(pk=account_id)
    except (Account.DoesNotExist, exporting.NothingToExport) as error:
        raise _as_dashboard_error(error) from error
    expires_at = auth.access_expires_at
    content: api_shapes.Exported = {
        "filename": f"auth-{account_id}.json",
        "account": {"accountId": account_id, "email": account.email, "planType": account.plan_type},
        "tokens": {
            "idToken": auth.id_token or None,
            "accessToken": auth.access_token,
            "refreshToken": auth.refresh_token,
            "expiresAtMs": int(expires_at.timestamp() * 1000) if expires_at else None,
        },
        # Codex CLI takes none without an id token.
        "codexAuthJson": auth_file.codex_file(auth) if auth.id_token else None,
        "opencodeAuthJson": auth_file.opencode_file(auth),
    }
    return Response(content, headers={"Cache-Control": "no-store"})


@gives(Done)
@api_view(["DELETE"])
def account_delete(request: Request, account_id: str) -> Response:
    """Remove an account."""
    try:
        services.account_delete(account_id=account_id)
    except Account.DoesNotExist as error:
        raise _as_dashboard_error(error) from error
    return Response({"status": "deleted"})


def _object(request: Request) -> dict[str, Any]:
    if not isinstance(request.data, dict):
        raise DashboardError(422, "validation_error", "The body must be a JSON object.")
    return request.data


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
    if isinstance(error, exporting.NothingToExport):
        return DashboardError(409, "account_not_exportable", str(error))
    if isinstance(error, ValidationError):
        words = (f"{name}: {' '.join(found)}" for name, found in error.message_dict.items())
        return DashboardError(422, "validation_error", " ".join(words))
    return DashboardError(404, "account_not_found", "Account not found")
