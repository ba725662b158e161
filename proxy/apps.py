"""App configuration."""

from __future__ import annotations

from django.apps import AppConfig


class ProxyConfig(AppConfig):
    name = "proxy"
    verbose_name = "Proxy"

    def ready(self) -> None:
        from proxy.key_selectors import names_of_keys
        from requestlogs import key_names

        key_names.named_by(names_of_keys)
