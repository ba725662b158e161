"""Reads for the data plane: the snapshot, and the conversations that are remembered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from accounts.changes import current_version
from accounts.identity import upstream_account_id
from accounts.models import Account
from accounts.selectors import accounts_for_pool
from proxy import limits
from proxy.access import AccessView
from proxy.affinity import Ages, Entry
from proxy.catalogue import Catalogue, Key
from proxy.firewall_services import firewall_networks
from proxy.key_selectors import key_views
from proxy.models import ModelCatalogue, Settings, StickySession
from proxy.routing import ModelLimit, Window
from proxy.snapshot import AccountView, SettingsView, Snapshot
from usage.capacity import weekly_credits
from usage.models import CurrentWindow, ModelLimitWindow
from usage.selectors import current_windows, model_limit_windows, price_book


@transaction.atomic
def load_snapshot() -> Snapshot:
    """The version is read first: what changes meanwhile is seen again at the next one."""
    version = current_version()
    windows, limited = current_windows(), model_limit_windows()
    accounts = tuple(
        _view(account, windows.get(account.pk, {}), limited.get(account.pk, []))
        for account in accounts_for_pool()
    )
    row = _settings_row()
    return Snapshot(version, accounts, _settings(row), _access(row), price_book())


def _settings_row() -> Settings:
    return Settings.objects.filter(pk=1).first() or Settings()


def _settings(row: Settings) -> SettingsView:
    return SettingsView(
        routing_strategy=row.routing_strategy,
        prefer_earlier_reset=row.prefer_earlier_reset,
        affinity_enabled=row.affinity_enabled,
        ages=Ages(row.conversation_affinity_days * 86400.0, row.derived_affinity_minutes * 60.0),
        upstream_silence_s=float(row.upstream_silence_s),
    )


def _access(row: Settings) -> AccessView:
    return AccessView(
        firewall=firewall_networks(),
        key_auth_required=row.key_auth_required,
        totp_required=row.require_totp,
        keys=key_views(),
    )


def _view(
    account: Account, windows: dict[str, CurrentWindow], limited: list[ModelLimitWindow]
) -> AccountView:
    credential = account.credential
    return replace(
        _account_view(account, windows),
        access_token=credential.access_token,
        access_expires_at=_seconds(credential.access_expires_at),
        generation=credential.generation,
        model_limits=_model_limits(limited),
    )


def candidate_views(accounts: Iterable[Account]) -> tuple[AccountView, ...]:
    """The same without the tokens, from accounts that come with their windows. No query, nothing decrypted.

    Limits for single models are left out: they do not matter to a request that names none.
    """
    return tuple(
        _account_view(account, {row.window: row for row in account.windows.all()}) for account in accounts
    )


def _account_view(account: Account, windows: dict[str, CurrentWindow]) -> AccountView:
    return AccountView(
        account_id=account.pk,
        label=account.display_name,
        chatgpt_account_id=upstream_account_id(account),
        plan_type=account.plan_type,
        status=account.status,
        reason=account.status_reason,
        blocked_at=_seconds(account.blocked_at),
        reset_at=_seconds(account.reset_at),
        block_window_reset_at=_seconds(account.block_window_reset_at),
        access_token="",
        access_expires_at=None,
        generation=0,
        windows={name: _window(row) for name, row in windows.items()},
        weekly_credits=weekly_credits(account.plan_type),
        policy=account.routing_policy,
        stop_at_percent=account.stop_at_percent,
    )


def _model_limits(rows: list[ModelLimitWindow]) -> dict[str, ModelLimit]:
    windows: dict[str, dict[str, Window]] = defaultdict(dict)
    names: dict[str, str] = {}
    for row in rows:
        windows[row.limit_id][row.window] = _window(row)
        names[row.limit_id] = row.name or names.get(row.limit_id, "")
    return {key: ModelLimit(names[key] or key, found) for key, found in windows.items()}


def _window(row: CurrentWindow | ModelLimitWindow) -> Window:
    return Window(row.used_percent, _seconds(row.reset_at), row.window_minutes, row.recorded_at.timestamp())


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def remembered_conversations() -> list[tuple[str, Entry]]:
    """The newest conversations, oldest first, for a process that starts."""
    since = timezone.now() - timedelta(seconds=_settings(_settings_row()).ages.named_s)
    kept = StickySession.objects.filter(updated_at__gte=since).exclude(account_id="")
    rows = kept.order_by("-updated_at")[: limits.AFFINITY_ENTRIES]
    return [(row.key, _entry(row)) for row in reversed(rows)]


def remembered_conversation(key: str) -> Entry | None:
    row = StickySession.objects.filter(pk=key).exclude(account_id="").first()
    return _entry(row) if row else None


def purged_conversations() -> list[tuple[str, float]]:
    """Those that were taken off their accounts lately, and when."""
    since = timezone.now() - timedelta(seconds=limits.PURGED_SINCE_S)
    rows = StickySession.objects.filter(account_id="", updated_at__gte=since)
    return [(key, at.timestamp()) for key, at in rows.values_list("pk", "updated_at")]


def _entry(row: StickySession) -> Entry:
    return Entry(row.account_id, row.updated_at.timestamp(), row.derived, served=True)


def remembered_catalogues() -> list[tuple[Key, Catalogue]]:
    """The catalogues that were fetched last, oldest first."""
    return [
        (Key(row.query, row.plan_type), _catalogue(row))
        for row in ModelCatalogue.objects.order_by("fetched_at")
    ]


def _catalogue(row: ModelCatalogue) -> Catalogue:
    return Catalogue(row.body.encode(), row.etag or None, row.fetched_at.timestamp())
