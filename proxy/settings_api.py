"""The dashboard's JSON: the settings."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.operators.selectors import has_password, has_totp
from codexproxy.errors import DashboardError
from proxy.models import Settings, Strategy
from proxy.settings_services import settings_get, settings_update

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
# The locks' own refusals; everything else that does not fit is a validation_error.
_LOCK_CODES = {"no_password": "invalid_password_config", "no_totp": "invalid_totp_config"}


class InSeconds(serializers.IntegerField):
    """Seconds for a program, whole minutes, hours or days for a person."""

    def __init__(self, unit_s: int, **kwargs: Any) -> None:
        self._unit_s = unit_s
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> int:
        seconds: int = super().to_internal_value(data)
        if seconds % self._unit_s:
            raise serializers.ValidationError(f"must be a multiple of {self._unit_s}")
        return seconds // self._unit_s

    def to_representation(self, value: int) -> int:
        return int(value) * self._unit_s


class SettingsSerializer(serializers.Serializer[Settings]):
    """Which JSON field is which setting. What may be in them, the model knows."""

    stickyThreadsEnabled = serializers.BooleanField(source="affinity_enabled")
    preferEarlierResetAccounts = serializers.BooleanField(source="prefer_earlier_reset")
    routingStrategy = serializers.ChoiceField(choices=Strategy.choices, source="routing_strategy")
    requestLogRetentionDays = serializers.IntegerField(source="retention_days")
    apiKeyAuthEnabled = serializers.BooleanField(source="key_auth_required")
    publicBaseUrl = serializers.CharField(source="public_base_url", allow_blank=True)
    passwordRequiredOnLogin = serializers.BooleanField(source="require_password")
    totpRequiredOnLogin = serializers.BooleanField(source="require_totp")
    dashboardSessionTtlSeconds = InSeconds(_HOUR_S, source="session_hours")
    stickySessionMaxAgeSeconds = InSeconds(_DAY_S, source="conversation_affinity_days")
    openaiCacheAffinityMaxAgeSeconds = InSeconds(_MINUTE_S, source="derived_affinity_minutes")
    upstreamSilenceSeconds = serializers.IntegerField(source="upstream_silence_s")


class SettingsShown(SettingsSerializer):
    """With what is set up elsewhere."""

    totpConfigured = serializers.SerializerMethodField(method_name="has_totp")
    passwordConfigured = serializers.SerializerMethodField(method_name="has_password")

    def has_totp(self, row: Settings) -> bool:
        return has_totp()

    def has_password(self, row: Settings) -> bool:
        return has_password()


@extend_schema(request=SettingsSerializer(partial=True), responses=SettingsShown)
@api_view(["GET", "PUT"])
def settings(request: Request) -> Response:
    """PUT changes the fields that are named and leaves the others."""
    if request.method == "PUT":
        given = SettingsSerializer(data=request.data, partial=True)
        given.is_valid(raise_exception=True)
        _update(given.validated_data)
    return Response(SettingsShown(settings_get()).data)


def _update(fields: dict[str, Any]) -> None:
    try:
        settings_update(**fields)
    except ValidationError as error:
        for errors in error.error_dict.values():
            for one in errors:
                if one.code in _LOCK_CODES:
                    raise DashboardError(400, _LOCK_CODES[one.code], " ".join(one.messages)) from None
        raise
