"""What the dashboard's JSON answers about API keys and the firewall. Times are ISO 8601 in UTC."""

from __future__ import annotations

from typing import Literal, TypedDict


class LimitOfAll(TypedDict):
    limitType: str
    limitWindow: str
    maxValue: int


class LimitGiven(LimitOfAll, total=False):
    """Without a model it is for all of them together."""

    modelFilter: str | None


class Limit(TypedDict):
    """A cost is counted in millionths of a dollar."""

    limitType: str
    limitWindow: str
    maxValue: int
    currentValue: int
    modelFilter: str | None
    resetAt: str


class KeyShown(TypedDict):
    id: int
    name: str
    note: str
    keyPrefix: str
    isActive: bool
    createdAt: str
    lastUsedAt: str | None
    expiresAt: str | None
    allowedModels: list[str]
    enforcedModel: str | None
    enforcedReasoningEffort: str | None
    allowedReasoningEfforts: list[str]
    enforcedServiceTier: str | None
    maxParallelRequests: int | None
    accountAssignmentScopeEnabled: bool
    assignedAccountIds: list[str]
    assignedGroupIds: list[int]
    limits: list[Limit]


class KeyMade(KeyShown):
    """`key` is the key itself, told this once."""

    key: str


class KeyWeek(TypedDict):
    keyId: int
    totalRequests: int
    totalTokens: int
    cachedInputTokens: int
    totalCostUsd: float


class CostPoint(TypedDict):
    t: str
    v: float


class TokenPoint(TypedDict):
    t: str
    v: int


class KeyTrends(TypedDict):
    keyId: int
    cost: list[CostPoint]
    tokens: list[TokenPoint]


class EntryShown(TypedDict):
    ipAddress: str
    note: str
    createdAt: str


class EntryAdded(EntryShown):
    warning: str | None


class FirewallShown(TypedDict):
    mode: Literal["allow_all", "allowlist_active"]
    entries: list[EntryShown]
    yourAddress: str | None
