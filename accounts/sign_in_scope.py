"""Which browser a sign-in belongs to: a signed random cookie, or, for a program that keeps none, where it is.

A flow that begins without a cookie is known under both names until the cookie comes back once. From then on
the cookie alone finds it, so that two browsers behind one address never share a flow.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.utils.crypto import salted_hmac

from accounts.models import SignInFlow
from accounts.sign_in_protocol import digest
from codexproxy import locality

COOKIE = "codexproxy_oauth_scope"
COOKIE_AGE_S = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Scope:
    """`secret` is what the cookie holds, or will hold; `fallback` is empty once the cookie has come back."""

    secret: str
    fallback: str = ""

    @property
    def key(self) -> str:
        return digest(self.secret)


def scope_of(request: HttpRequest) -> Scope:
    """SECURITY: the cookie is signed, so that nobody can plant one whose content they know."""
    held = request.get_signed_cookie(COOKIE, default=None, salt=COOKIE, max_age=COOKIE_AGE_S)
    if held:
        return Scope(held)
    return Scope(secrets.token_urlsafe(32), _whereabouts(request))


def remember(response: HttpResponseBase, scope: Scope, request: HttpRequest) -> None:
    response.set_signed_cookie(
        COOKIE,
        scope.secret,
        salt=COOKIE,
        max_age=COOKIE_AGE_S,
        httponly=True,
        samesite="Lax",
        secure=request.is_secure(),
    )


def flows_of(scope: Scope) -> QuerySet[SignInFlow]:
    """The flows that were begun there, newest first."""
    if scope.fallback:
        return SignInFlow.objects.filter(fallback=scope.fallback).order_by("-created_at")
    rows = SignInFlow.objects.filter(scope=scope.key)
    if (known_by_place := rows.exclude(fallback="")).exists():
        known_by_place.update(fallback="")
    return rows.order_by("-created_at")


def _whereabouts(request: HttpRequest) -> str:
    facts = locality.facts_from_pairs(request.META.get("REMOTE_ADDR"), request.headers.items())
    address = locality.resolve_client(facts, settings.TRUSTED_PROXIES)
    agent = request.headers.get("User-Agent", "")
    return salted_hmac(COOKIE, f"{address}|{agent}", algorithm="sha256").hexdigest()
