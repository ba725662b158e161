"""The project's own app (management commands) and the admin on our site class."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class CodexProxyConfig(AppConfig):
    name = "codexproxy"
    label = "codexproxy"


class ProxyAdminConfig(AdminConfig):
    default_site = "codexproxy.admin_site.ProxyAdminSite"
