"""Routes below /api/."""

from __future__ import annotations

from django.urls import path

from accounts import api, sign_in_api

urlpatterns = [
    path("accounts/import", api.account_import),
    path("accounts/<str:account_id>/pause", api.account_pause),
    path("accounts/<str:account_id>/reactivate", api.account_reactivate),
    path("accounts/<str:account_id>/export/auth", api.account_export),
    path("accounts/<str:account_id>/alias", api.account_alias),
    path("accounts/<str:account_id>/routing-policy", api.account_routing),
    path("accounts/<str:account_id>", api.account_delete),
    path("oauth/start", sign_in_api.start),
    path("oauth/status", sign_in_api.status),
    path("oauth/complete", sign_in_api.complete),
    path("oauth/manual-callback", sign_in_api.manual_callback),
]
