"""Decides who reaches the dashboard: the admin and every route under /api/.

Two optional locks, a password and a second factor, are off on a fresh install. While both are off the
dashboard is open: local requests and named networks act as the built-in operator, everybody else is
refused. With a lock on, the lock decides and the network no longer matters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.urls import reverse

from accounts import audit
from accounts.operators import sessions
from accounts.operators.selectors import operator
from accounts.operators.viewers import is_viewer
from codexproxy import locality
from proxy.settings_services import settings_get

API_PREFIX = "/api/"
# The way to sign in and to set it up; those views decide for themselves.
SIGN_IN_PREFIX = "/api/dashboard-auth/"
# No header can have this name in META: those begin with HTTP_.
_LOCKS_KEY = "codexproxy.locks"
_EXEMPT = ("/health", "/static", "/metrics")
_BACKUP = "/admin/backup/"
# What a viewer may send: to sign in as somebody else, to sign out, and how its own browser shows e-mails.
_OF_VIEWERS = frozenset(
    {
        "/admin/blur/",
        "/admin/login/",
        "/admin/logout/",
        "/api/dashboard-auth/logout",
        "/api/dashboard-auth/password/login",
        "/api/dashboard-auth/totp/verify",
    }
)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

GetResponse = Callable[[HttpRequest], HttpResponse]


@dataclass(frozen=True, slots=True)
class Locks:
    password: bool
    totp: bool

    @property
    def are_open(self) -> bool:
        return not (self.password or self.totp)


@dataclass(frozen=True, slots=True)
class GateRefusal:
    """Why a request does not get in, in words for the operator."""

    status: int
    code: str
    message: str
    ways_in: tuple[str, ...] = ()


HOST_REFUSED = GateRefusal(
    403,
    "host_not_allowed",
    "This host name is not known here, so the request may come from a foreign web page.",
    (
        "Open the dashboard under localhost or under the machine's IP address.",
        "Or name the host in CODEXPROXY_ALLOWED_HOSTS and start the server again.",
    ),
)
STRANGER_REFUSED = GateRefusal(
    403,
    "dashboard_not_local",
    "The dashboard is open without a sign-in, and therefore only on the machine that it runs on.",
    (
        "Turn a lock on: open the dashboard on that machine and require a password or a one-time code.",
        "Or name your network in CODEXPROXY_DASHBOARD_NETWORKS (behind a reverse proxy, name the proxy in "
        "CODEXPROXY_TRUSTED_PROXIES too) and start the server again.",
    ),
)
EXPORT_REFUSED = GateRefusal(
    403,
    "export_not_local",
    "While the dashboard is open without a sign-in, tokens are handed out on the server's own machine only.",
    ("Require a password or a one-time code on the security page, sign in, and export again.",),
)
CROSS_SITE_REFUSED = GateRefusal(403, "cross_site", "This change was sent by a page of another site.")
VIEWER_REFUSED = GateRefusal(
    403, "viewer_may_not_change", "You are signed in as the viewer, who sees everything and changes nothing."
)
PASSWORD_REFUSED = GateRefusal(401, "authentication_required", "A sign-in is required.")
TOTP_REFUSED = GateRefusal(401, "totp_required", "TOTP verification is required for dashboard access")


def locks(request: HttpRequest) -> Locks:
    """Read once for every request, so that a lock that was just turned on holds at once in all processes."""
    known = request.META.get(_LOCKS_KEY)
    if known is None:
        row = settings_get()
        known = request.META[_LOCKS_KEY] = Locks(password=row.require_password, totp=row.require_totp)
    return known


def facts(request: HttpRequest) -> locality.Facts:
    # Under Daphne REMOTE_ADDR is the socket's peer; no forwarded header has touched it.
    return locality.facts_from_pairs(request.META.get("REMOTE_ADDR"), request.headers.items())


def is_local(request: HttpRequest) -> bool:
    return locality.is_local(facts(request), settings.TRUSTED_PROXIES)


def client_address(request: HttpRequest) -> str:
    """Where the request comes from; empty when that is not known."""
    client = locality.resolve_client(facts(request), settings.TRUSTED_PROXIES)
    return "" if client is None else str(client)


def is_admitted_openly(request: HttpRequest) -> bool:
    """Whether an open dashboard lets this request in: it is local or from a named network."""
    known = facts(request)
    if locality.is_local(known, settings.TRUSTED_PROXIES):
        return True
    peer = locality.parse_address(known.peer)
    if known.forwarded and not locality.in_networks(peer, settings.TRUSTED_PROXIES):
        # SECURITY: an unknown proxy inside a named network would lend its address to all the world.
        return False
    client = locality.resolve_client(known, settings.TRUSTED_PROXIES)
    return locality.in_networks(client, settings.DASHBOARD_NETWORKS)


def locked_by(request: HttpRequest, on: Locks) -> GateRefusal | None:
    """The first lock that is on and that this session has not opened."""
    if not is_staff(request) or (on.password and not sessions.has_proved_password(request)):
        return PASSWORD_REFUSED if on.password or not on.totp else TOTP_REFUSED
    if on.totp and not (sessions.has_proved_code(request) or is_viewer(request.user)):
        # A viewer has a password and no authenticator, and its session began with that password.
        return TOTP_REFUSED
    return None


def is_staff(request: HttpRequest) -> bool:
    user = request.user
    return user.is_authenticated and user.is_active and bool(getattr(user, "is_staff", False))


def admits(request: HttpRequest) -> bool:
    """The admin site's `has_permission`."""
    on = locks(request)
    if on.are_open:
        # Who has signed in is no stranger, wherever the request comes from.
        return is_admitted_openly(request) or (is_staff(request) and sessions.is_signed_in(request))
    return locked_by(request, on) is None


def refusal(request: HttpRequest) -> GateRefusal | None:
    """Why the request must not go on; None lets it."""
    known = facts(request)
    if not locality.host_is_allowed(known.host, settings.NAMED_HOSTS):
        return HOST_REFUSED
    is_api = request.path_info.startswith(API_PREFIX)
    if is_api and request.method not in _SAFE_METHODS and locality.is_cross_site(known):
        # Forms are covered by Django's CSRF check; API views take no token.
        return CROSS_SITE_REFUSED
    if (
        is_viewer(request.user)
        and request.method not in _SAFE_METHODS
        and request.path_info not in _OF_VIEWERS
    ):
        return VIEWER_REFUSED
    if request.path_info.startswith(SIGN_IN_PREFIX):
        return None
    on = locks(request)
    if on.are_open:
        if hands_out_tokens(request.path_info) and not is_local(request):
            return EXPORT_REFUSED
        return None if admits(request) else STRANGER_REFUSED
    # Pages: the admin site asks `admits` and leads to the sign-in.
    return locked_by(request, on) if is_api else None


def hands_out_tokens(path: str) -> bool:
    """SECURITY: a named network may see an open dashboard; it does not get the credentials."""
    return path.startswith(_BACKUP) or ("/accounts/" in path and "/export/" in path)


class GateMiddleware:
    """Refuses what must not reach the dashboard. It stands behind the middleware that sets `request.user`."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not is_exempt(request.path_info) and (refused := refusal(request)) is not None:
            return refusal_response(request, refused)
        response = self.get_response(request)
        if request.headers.get("HX-Request") and _leads_to_sign_in(response):
            # A page that reads a part of itself anew would put the sign-in in that part's place.
            return HttpResponse(headers={"HX-Refresh": "true"})
        return response


def _leads_to_sign_in(response: HttpResponse) -> bool:
    return response.status_code == 302 and urlsplit(response.headers["Location"]).path == reverse(
        "admin:login"
    )


class OperatorMiddleware:
    """Makes an open dashboard's request act as the operator, unless somebody is signed in anyway.

    From here on it is known who acts, which is what the audit log asks for.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if is_exempt(request.path_info):
            return self.get_response(request)
        if locks(request).are_open and not is_staff(request) and is_admitted_openly(request):
            request.user = operator()
        name = request.user.get_username() or "nobody signed in"
        with audit.acting_as(audit.Actor(name, client_address(request))):
            return self.get_response(request)


def is_exempt(path: str) -> bool:
    """Health probes and static files tell nothing; the page of metrics decides for itself who may read it."""
    return any(path == prefix or path.startswith(prefix + "/") for prefix in _EXEMPT)


def refusal_response(request: HttpRequest, refused: GateRefusal) -> HttpResponse:
    if request.path_info.startswith(API_PREFIX):
        message = " ".join((refused.message, *refused.ways_in))
        return JsonResponse({"error": {"code": refused.code, "message": message}}, status=refused.status)
    return HttpResponse(render_to_string("gate/refused.html", {"refusal": refused}), status=refused.status)
