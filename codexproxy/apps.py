"""The project's own app (management commands) and the admin on our site class."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class CodexProxyConfig(AppConfig):
    name = "codexproxy"
    label = "codexproxy"

    def ready(self) -> None:
        from codexproxy import checks  # noqa: F401  (registers the system checks)
        from codexproxy.admin_site import remove_foreign_pages

        remove_foreign_pages()


class ProxyAdminConfig(AdminConfig):
    default_site = "codexproxy.admin_site.ProxyAdminSite"
