"""Routes below /api/."""

from __future__ import annotations

from django.urls import path

from requestlogs import log_api, usage_api

urlpatterns = [
    path("accounts", usage_api.accounts),
    path("dashboard/overview", usage_api.dashboard_overview),
    path("usage/summary", usage_api.usage_summary),
    path("usage/history", usage_api.usage_history),
    path("usage/window", usage_api.usage_window),
    path("request-logs", log_api.request_logs),
    path("request-logs/options", log_api.request_log_options),
]
