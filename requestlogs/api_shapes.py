"""What the dashboard's JSON answers about usage and requests. Times are ISO 8601 in UTC.

Primary is the 5-hour window, secondary the week, or the month of a plan that has one.
"""

from __future__ import annotations

from typing import TypedDict

from accounts.api_shapes import AccountSummary


class Remaining(TypedDict):
    primaryRemainingPercent: float
    secondaryRemainingPercent: float


class AccountShown(AccountSummary):
    usage: Remaining
    resetAtPrimary: str | None
    resetAtSecondary: str | None
    windowMinutesPrimary: int | None
    windowMinutesSecondary: int | None
    capacityCreditsPrimary: float | None
    remainingCreditsPrimary: float | None
    capacityCreditsSecondary: float | None
    remainingCreditsSecondary: float | None


class Accounts(TypedDict):
    accounts: list[AccountShown]


class PoolWindowShown(TypedDict):
    remainingPercent: float
    capacityCredits: float
    remainingCredits: float
    resetAt: str | None
    windowMinutes: int


class ModelCost(TypedDict):
    model: str
    usd: float


class Cost(TypedDict):
    currency: str
    totalUsd7d: float
    byModel: list[ModelCost]


class Metrics(TypedDict):
    requests7d: int
    tokensSecondaryWindow: int
    cachedTokensSecondaryWindow: int
    errorRate7d: float | None
    topError: str | None


class Summary(TypedDict):
    primaryWindow: PoolWindowShown
    secondaryWindow: PoolWindowShown
    cost: Cost
    metrics: Metrics


class Share(TypedDict):
    accountId: str
    email: str
    remainingPercentAvg: float
    capacityCredits: float
    remainingCredits: float


class History(TypedDict):
    windowHours: int
    accounts: list[Share]


class WindowShares(TypedDict):
    windowKey: str
    windowMinutes: int
    accounts: list[Share]


class BothWindows(TypedDict):
    primary: WindowShares
    secondary: WindowShares


class LogEntry(TypedDict):
    requestedAt: str
    accountId: str | None
    requestId: str
    model: str
    status: str
    errorCode: str | None
    errorMessage: str | None
    tokens: int | None
    cachedInputTokens: int | None
    reasoningEffort: str | None
    costUsd: float | None
    latencyMs: int | None
    firstTokenMs: int | None
    transport: str
    serviceTier: str | None
    apiKeyId: int | None


class LogPage(TypedDict):
    requests: list[LogEntry]


class ModelOption(TypedDict):
    model: str
    reasoningEffort: str | None


class LogOptions(TypedDict):
    accountIds: list[str]
    modelOptions: list[ModelOption]


class Overview(TypedDict):
    lastSyncAt: str | None
    accounts: list[AccountShown]
    summary: Summary
    windows: BothWindows
    requestLogs: list[LogEntry]
