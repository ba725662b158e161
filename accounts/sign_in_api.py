"""The dashboard's JSON for sign-ins: start, status, complete and manual-callback."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import callback_listener, sign_in
from accounts.api_shapes import SignInBegun, SignInState
from accounts.models import Account, SignInFlow
from accounts.sign_in_client import Unreachable
from accounts.sign_in_protocol import CallbackError, Declined, read_pasted
from accounts.sign_in_scope import Scope, remember, scope_of
from codexproxy.api_schema import gives, takes
from codexproxy.errors import DashboardError

METHODS = ("browser", "device")
UNKNOWN_FLOW = "This sign-in is not known in this browser. Start a new one."

Kind = SignInFlow.Kind


@gives(SignInBegun)
@takes("forceMethod", "accountId")
@api_view(["POST"])
def start(request: Request) -> Response:
    """Begin a sign-in."""
    given = _body(request)
    method = _text(given, "forceMethod")
    if method not in (*METHODS, ""):
        raise _invalid()
    target_id = _text(given, "accountId")
    scope = scope_of(request._request)
    if not method and not target_id and Account.objects.exists():
        flow = sign_in.start_satisfied(scope=scope)
        answer: SignInBegun = {"flowId": str(flow.pk), "method": "browser"}
    elif method == "device":
        answer = _device(scope, target_id)
    else:
        answer = _browser(scope, target_id, may_change=not method)
    response = Response(answer)
    remember(response, scope, request._request)
    return response


@gives(SignInState)
@extend_schema(parameters=[OpenApiParameter("flowId", str)])
@api_view(["GET"])
def status(request: Request) -> Response:
    """How a sign-in stands; without `flowId` the newest one of this browser."""
    flow_id = _flow_id(request.query_params.get("flowId", ""))
    flow = sign_in.find(scope_of(request._request), flow_id, METHODS)
    if flow is None:
        # Idle is told as pending, too.
        return Response(_told("error", UNKNOWN_FLOW) if flow_id else _told("pending"))
    if flow.kind == Kind.BROWSER and flow.status == SignInFlow.Status.PENDING:
        # The process that had it open may have ended.
        callback_listener.shared().ensure_open()
    return Response(_state(sign_in.current(flow)))


@gives(SignInState)
@takes("flowId", "deviceAuthId", "userCode")
@api_view(["POST"])
def complete(request: Request) -> Response:
    """Ask whether the device code was entered."""
    # SECURITY: `deviceAuthId` and `userCode` may be sent, and change nothing: the flow has its own.
    flow_id = _flow_id(_text(_body(request), "flowId"))
    kinds = METHODS if flow_id else ("device",)
    flow = sign_in.find(scope_of(request._request), flow_id, kinds)
    if flow is None:
        return Response(_told("error", UNKNOWN_FLOW if flow_id else sign_in.NO_DEVICE_FLOW))
    return Response(_state(sign_in.current(flow)))


@gives(SignInState)
@takes("callbackUrl", "flowId")
@api_view(["POST"])
def manual_callback(request: Request) -> Response:
    """The address that the browser ended on, where the server does not see it itself."""
    given = _body(request)
    flow_id = _flow_id(_text(given, "flowId"))
    address = given.get("callbackUrl")
    if not isinstance(address, str):
        raise _invalid()
    scope = scope_of(request._request)
    try:
        flow = sign_in.receive(read_pasted(address), scope=scope, flow_id=flow_id)
    except CallbackError as error:
        return Response(_told("error", str(error)))
    except sign_in.CallbackRefused as refusal:
        return Response(_told("error", str(refusal)))
    return Response(_state(flow))


def _browser(scope: Scope, target_id: str, *, may_change: bool) -> SignInBegun:
    try:
        flow = sign_in.start_browser(scope=scope, target_id=target_id)
    except Account.DoesNotExist as error:
        raise _not_found() from error
    opening = callback_listener.shared().ensure_open()
    if not opening.is_open and may_change:
        sign_in.cancel(flow)
        return _device(scope, target_id)
    answer: SignInBegun = {
        "flowId": str(flow.pk),
        "method": "browser",
        "authorizationUrl": flow.authorization_url,
        "callbackUrl": flow.redirect_uri,
    }
    if not opening.is_open:
        answer["notice"] = opening.problem
    return answer


def _device(scope: Scope, target_id: str) -> SignInBegun:
    try:
        flow = sign_in.start_device(scope=scope, target_id=target_id)
    except Account.DoesNotExist as error:
        raise _not_found() from error
    except Declined as refusal:
        raise DashboardError(502, refusal.code, str(refusal)) from refusal
    except Unreachable as failure:
        raise DashboardError(502, "auth_unreachable", str(failure)) from failure
    return {
        "flowId": str(flow.pk),
        "method": "device",
        "verificationUrl": sign_in.verification_url(),
        "userCode": flow.user_code,
        "deviceAuthId": flow.device_auth_id,
        "intervalSeconds": flow.interval_s,
        "expiresInSeconds": round((flow.expires_at - timezone.now()).total_seconds()),
    }


def _state(flow: SignInFlow) -> SignInState:
    if flow.is_open:
        return _told("pending")
    if flow.status == SignInFlow.Status.SUCCESS:
        return _told("success")
    if flow.status == SignInFlow.Status.UNCONFIRMED:
        return _told("error", f"{flow.message} Nothing was stored.")
    return _told("error", flow.message)


def _told(state: Literal["pending", "success", "error"], message: str = "") -> SignInState:
    return {"status": state, "errorMessage": message} if message else {"status": state}


def _body(request: Request) -> dict[str, Any]:
    given = request.data
    if not isinstance(given, dict):
        raise _invalid()
    return given


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        return ""
    # No name of ours has control characters, and PostgreSQL takes no NUL.
    if not isinstance(value, str) or not value.isprintable():
        raise _invalid()
    return value


def _flow_id(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise _invalid() from None


def _invalid() -> DashboardError:
    return DashboardError(422, "validation_error", "Invalid request payload")


def _not_found() -> DashboardError:
    return DashboardError(404, "account_not_found", "Account not found")
