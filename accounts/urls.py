"""Routes below /api/."""

from __future__ import annotations

from django.urls import path

from accounts import api

urlpatterns = [
    path("accounts/import", api.account_import),
    path("accounts/<str:account_id>/pause", api.account_pause),
    path("accounts/<str:account_id>/reactivate", api.account_reactivate),
    path("accounts/<str:account_id>", api.account_delete),
]
