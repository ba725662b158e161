"""The admin site: Unfold's, behind our gate, with its sidebar and its overview page."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import site
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.sites import UnfoldAdminSite

from accounts.operators import sessions
from codexproxy import exposure, gate, pages, privacy, security_pages
from codexproxy.overview import overview

_FOREIGN_APPS = frozenset({"auth", "operators", "otp_static"})


class ProxyAdminSite(UnfoldAdminSite):  # type: ignore[misc]
    index_title = "Overview"

    def has_permission(self, request: HttpRequest) -> bool:
        return gate.admits(request)

    def get_urls(self) -> list[Any]:
        return [*pages.urls(self), *super().get_urls()]

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return security_pages.sign_in_page(request)

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return security_pages.sign_out_page(request)

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:security"))

    def extra_context(self, context: dict[str, Any], request: HttpRequest) -> dict[str, Any]:
        on = gate.locks(request)
        return {
            **context,
            "blurs_emails": privacy.is_on(request),
            "is_signed_in": sessions.is_signed_in(request),
            "is_open_beyond_loopback": on.are_open and exposure.is_beyond_loopback(request),
        }

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response: HttpResponse = super().index(request, {**overview(request), **(extra_context or {})})
        return response


def remove_foreign_pages() -> None:
    """Take the pages of users, groups and one-time-code devices out of the admin.

    SECURITY: an open dashboard would let whoever reaches it make superusers and devices that stay valid
    after a lock is turned on.
    """
    for model in list(site._registry):
        if model._meta.app_label in _FOREIGN_APPS:
            site.unregister(model)
