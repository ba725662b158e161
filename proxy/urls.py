"""Routes below /api/."""

from __future__ import annotations

from django.urls import path

from proxy import firewall_api, key_api, settings_api

urlpatterns = [
    path("api-keys/", key_api.api_keys),
    path("api-keys/<int:key_id>", key_api.api_key),
    path("api-keys/<int:key_id>/regenerate", key_api.api_key_renew),
    path("api-keys/<int:key_id>/usage-7d", key_api.api_key_week),
    path("api-keys/<int:key_id>/trends", key_api.api_key_trends),
    path("firewall/ips", firewall_api.firewall_ips),
    path("firewall/ips/<path:ip>", firewall_api.firewall_ip),
    path("settings", settings_api.settings),
]
