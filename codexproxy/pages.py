"""Pages of the admin that are no model's."""

from __future__ import annotations

from django.contrib.admin import AdminSite
from django.urls import URLPattern, path

from codexproxy import security_pages
from codexproxy.api_page import api_page
from codexproxy.backup_page import backup_page
from codexproxy.connect_page import connect_page, first_request
from codexproxy.errors_page import errors_page
from codexproxy.explain_page import explain_page
from codexproxy.first_steps import dismiss_page
from codexproxy.privacy import blur_page
from codexproxy.probe_page import probe_page


def urls(site: AdminSite) -> list[URLPattern]:
    """SECURITY: each behind the site's own gate."""
    return [
        *security_pages.urls(site),
        path("api/", site.admin_view(api_page), name="api"),
        path("blur/", site.admin_view(blur_page), name="blur"),
        path("backup/", site.admin_view(backup_page), name="backup"),
        path("connect/", site.admin_view(connect_page), name="connect"),
        path("connect/arrival/", site.admin_view(first_request), name="connect_arrival"),
        path("errors/", site.admin_view(errors_page), name="errors"),
        path("accounts/account/<path:object_id>/probe/", site.admin_view(probe_page), name="account_probe"),
        path("explain/", site.admin_view(explain_page), name="explain"),
        path("first-steps/dismiss/", site.admin_view(dismiss_page), name="first_steps_dismiss"),
    ]
