"""The admin site: Unfold's, behind our gate."""

from __future__ import annotations

from django.http import HttpRequest
from unfold.sites import UnfoldAdminSite

from codexproxy import gate


class ProxyAdminSite(UnfoldAdminSite):
    def has_permission(self, request: HttpRequest) -> bool:
        return gate.admits(request)
