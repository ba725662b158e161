"""Pure: the picture of accounts, settings and access that the data plane works from; swapped whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy import limits
from proxy.access import AccessView
from proxy.affinity import Ages
from proxy.routing import ModelLimit, Window
from usage.pricing import PUBLISHED, PriceBook


@dataclass(frozen=True, slots=True)
class AccountView:
    """One account as the database has it. Times are unix seconds."""

    account_id: str
    label: str
    chatgpt_account_id: str | None
    plan_type: str
    status: str
    reason: str
    blocked_at: float | None
    reset_at: float | None
    block_window_reset_at: float | None
    access_token: str = field(repr=False)
    access_expires_at: float | None
    generation: int
    windows: Mapping[str, Window]
    weekly_credits: float
    model_limits: Mapping[str, ModelLimit] = field(default_factory=dict)
    policy: str = "normal"
    stop_at_percent: float | None = None


@dataclass(frozen=True, slots=True)
class SettingsView:
    routing_strategy: str = "capacity_weighted"
    prefer_earlier_reset: bool = False
    affinity_enabled: bool = True
    ages: Ages = Ages()
    upstream_silence_s: float = limits.UPSTREAM_SILENCE_S


@dataclass(frozen=True, slots=True)
class Snapshot:
    version: int
    accounts: tuple[AccountView, ...] = ()
    settings: SettingsView = SettingsView()
    access: AccessView = AccessView()
    prices: PriceBook = PUBLISHED
