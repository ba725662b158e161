"""What the dashboard's JSON answers about accounts and their sign-ins. Times are ISO 8601 in UTC."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class Token(TypedDict):
    expiresAt: str | None
    state: str


class Tokens(TypedDict):
    access: Token
    refresh: Token
    idToken: Token


class AccountSummary(TypedDict):
    accountId: str
    chatgptAccountId: str | None
    email: str
    alias: str | None
    displayName: str
    workspaceId: str | None
    workspaceLabel: str | None
    planType: str
    status: str
    routingPolicy: str
    stopAtPercent: int | None
    deactivationReason: str | None
    lastRefreshAt: str | None
    auth: Tokens


class Imported(TypedDict):
    accountId: str
    email: str
    workspaceId: str | None
    workspaceLabel: str | None
    planType: str
    status: str


class Renamed(TypedDict):
    accountId: str
    alias: str | None


class Routed(TypedDict):
    accountId: str
    routingPolicy: str
    stopAtPercent: int | None


class ExportedAccount(TypedDict):
    accountId: str
    email: str
    planType: str


class ExportedTokens(TypedDict):
    idToken: str | None
    accessToken: str
    refreshToken: str
    expiresAtMs: int | None


class Exported(TypedDict):
    filename: str
    account: ExportedAccount
    tokens: ExportedTokens
    codexAuthJson: dict[str, Any] | None
    opencodeAuthJson: dict[str, Any]


class Begun(TypedDict):
    flowId: str
    method: Literal["browser", "device"]


class SignInBegun(Begun, total=False):
    """`browser` has the addresses, and a notice where the callback cannot arrive; `device` the rest."""

    authorizationUrl: str
    callbackUrl: str
    notice: str
    verificationUrl: str
    userCode: str
    deviceAuthId: str
    intervalSeconds: int
    expiresInSeconds: int


class State(TypedDict):
    status: Literal["pending", "success", "error"]


class SignInState(State, total=False):
    errorMessage: str
