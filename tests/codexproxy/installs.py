"""An install with something in every table that a backup carries, and what of it is there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from accounts import audit
from accounts.models import AccountEvent, AccountGroup
from accounts.notices.events import Kind
from accounts.notices.models import Channel, Delivery, Memory, Notice, NoticeSettings
from accounts.operators import services, viewers
from codexproxy.backup import carried
from proxy.models import (
    ApiKey,
    ApiKeyLimit,
    FirewallEntry,
    FirewallRefusal,
    ModelCatalogue,
    Settings,
    StickySession,
)
from requestlogs.records import Record
from requestlogs.writer import records_store
from tests.accounts.operators.totp import PASSWORD, enrol
from tests.builders import NOW, make_account
from usage.models import AccountCredits, CurrentWindow, ModelLimitWindow, PriceOverride, WindowSample

PASSPHRASE = "correct horse battery"


def fill() -> None:
    account = make_account(alias="“work” ☕", stop_at_percent=90)
    AccountGroup.objects.create(name="team").accounts.add(account)
    AccountEvent.objects.create(account=account, kind="blocked", detail="limit")
    services.password_set(password=PASSWORD)
    enrol()
    viewers.viewer_set(password="what the viewer knows")
    audit.record("tried", subject="everything")
    Settings.objects.update_or_create(
        pk=1, defaults={"retention_days": 77, "public_base_url": "https://c.example"}
    )
    key = ApiKey.objects.create(name="ann", key_hash="d" * 64, prefix="sk-cp-ab", allowed_models=["gpt-5.5"])
    ApiKeyLimit.objects.create(key=key, kind="requests", window="daily", max_value=5, used=2, reset_at=NOW)
    FirewallEntry.objects.create(network="10.0.0.0/8")
    FirewallRefusal.objects.create(address="192.0.2.1", last_at=NOW)
    StickySession.objects.create(key="conversation:1", account_id=account.pk)
    ModelCatalogue.objects.create(query="", plan_type="plus", body='{"models": []}')
    window = {"account": account, "window": "primary", "used_percent": 12.5, "recorded_at": NOW}
    WindowSample.objects.create(**window)
    CurrentWindow.objects.create(**window, reset_at=NOW + timedelta(hours=5))
    ModelLimitWindow.objects.create(**window, limit_id="spark")
    AccountCredits.objects.create(account=account, has_credits=True, unlimited=False, recorded_at=NOW)
    PriceOverride.objects.create(model="gpt-5.5", input="1.25", output="10")
    NoticeSettings.objects.update_or_create(
        pk=1,
        defaults={"webhook_on": True, "webhook_url": "https://hook.example/1", "webhook_secret": "s3cret"},
    )
    Memory.objects.update_or_create(pk=1, defaults={"version": 3, "state": {"limits": []}})
    notice = Notice.objects.create(kind=Kind.POOL_LOW, title="The pool is low", text="20 percent are left")
    Delivery.objects.create(notice=notice, channel=Channel.WEBHOOK, status=Delivery.Status.SENT)
    ends = timezone.now() - timedelta(minutes=1)
    records_store(
        [Record("r-1", ends, account_id=account.pk, status="success"), Record("r-2", ends, status="error")]
    )


def contents() -> dict[str, list[dict[str, Any]]]:
    """Every row that a backup carries; not the audit log, which goes on."""
    return {
        model._meta.label_lower: list(model._base_manager.order_by("pk").values())
        for model in carried()
        if model._meta.label_lower != "accounts.auditevent"
    }
