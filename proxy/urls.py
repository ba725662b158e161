"""Routes below /api/."""

from __future__ import annotations

from django.urls import path

from proxy import settings_api

urlpatterns = [
    path("settings", settings_api.settings),
]
