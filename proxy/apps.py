"""App configuration."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_delete


class ProxyConfig(AppConfig):
    name = "proxy"
    verbose_name = "Proxy"

    def ready(self) -> None:
        from accounts.models import Account
        from proxy.key_selectors import names_of_keys
        from requestlogs import key_names

        key_names.named_by(names_of_keys)
        post_delete.connect(_account_deleted, sender=Account)


def _account_deleted(instance: Any, **_: Any) -> None:
    from proxy.services import conversations_leave

    conversations_leave(instance.pk)
