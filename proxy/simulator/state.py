"""What the simulated upstream knows: its accounts, what it was asked, and what should not have happened."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from .asgi import ASGIApplication
from .catalogue import default_models
from .replies import Fail, Ok, Refreshed, RefreshReply, Reply
from .tokens import AUTH_CLAIM, PROFILE_CLAIM, claims_of, unsigned_jwt
from .windows import Windows

CLIENT_ID = "app_EMoamEEZ73f0CkXaXp7hrann"
ACCESS_TOKEN_LIFETIME_S = 3600.0


@dataclass(slots=True)
class Received:
    """One request, or one websocket frame (method WEBSOCKET) with its handshake's headers."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    at: float
    account_id: str | None = None
    connection: int = 0
    status: int | None = None
    refused: str | None = None
    response_id: str | None = None
    deltas_sent: int = 0
    finished: bool = False
    closed_by_client: bool = False
    closed_at: float | None = None

    def summary(self) -> dict[str, Any]:
        named = ("method", "path", "query", "account_id", "at", "connection", "status", "refused")
        outcome = ("response_id", "deltas_sent", "finished", "closed_by_client", "closed_at")
        return {name: getattr(self, name) for name in named + outcome}


@dataclass(slots=True)
class RefreshCall:
    account_id: str | None
    refresh_token: str
    reason: str | None
    at: float
    status: int = 200


@dataclass(slots=True)
class SignIn:
    """An authorization code, or a device code that waits for approval."""

    account_id: str | None
    challenge: str | None
    redirect_uri: str | None
    verifier: str | None = None
    code: str | None = None


@dataclass(slots=True, eq=False)
class SimAccount:
    simulator: Simulator
    id: str
    email: str
    plan: str
    workspace: str | None
    windows: Windows
    person: str | None = None
    access_token: str = ""
    refresh_token: str = ""
    default: Reply = field(default_factory=Ok)
    replies: deque[Reply] = field(default_factory=deque)
    refresh_replies: deque[RefreshReply] = field(default_factory=deque)
    handshake: Fail | None = None
    # The real backend's access tokens outlive a refresh; True makes each refresh end the former one.
    refresh_ends_access: bool = False

    @property
    def chatgpt_account_id(self) -> str:
        """Two people of one workspace share it, and can read each other's encrypted content."""
        return self.workspace or self.id

    @property
    def user_id(self) -> str:
        """One person may have several accounts, in as many workspaces."""
        return f"user-{self.person or self.id}"

    def script(self, *replies: Reply) -> None:
        self.replies.extend(replies)

    def script_refresh(self, *replies: RefreshReply) -> None:
        self.refresh_replies.extend(replies)

    def next_reply(self, *, warm_up: bool = False) -> Reply:
        """A warm-up spends nothing of the script, so that scripts count turns; it fails with the default."""
        if warm_up:
            return self.default if isinstance(self.default, Fail) else Ok()
        return self.replies.popleft() if self.replies else self.default

    def next_refresh_reply(self) -> RefreshReply:
        return self.refresh_replies.popleft() if self.refresh_replies else Refreshed()

    def claims(self, expires_at: float) -> dict[str, Any]:
        identity = {
            "chatgpt_account_id": self.chatgpt_account_id,
            "chatgpt_plan_type": self.plan,
            "chatgpt_user_id": self.user_id,
            "user_id": self.user_id,
        }
        return {
            "iss": "https://auth.openai.com",
            "aud": [CLIENT_ID],
            "sub": self.user_id,
            "iat": int(self.simulator.clock()),
            "exp": int(expires_at),
            "jti": self.simulator.serial(),
            "email": self.email,
            PROFILE_CLAIM: {"email": self.email, "email_verified": True},
            AUTH_CLAIM: identity,
        }

    def issue_access_token(self, expires_at: float | None = None) -> str:
        """A past `expires_at` makes a token that the simulator refuses."""
        if expires_at is None:
            expires_at = self.simulator.clock() + ACCESS_TOKEN_LIFETIME_S
        self.access_token = unsigned_jwt(self.claims(expires_at))
        self.simulator.access_tokens[self.access_token] = self
        return self.access_token

    def issue_refresh_token(self) -> str:
        """The former one counts as spent from now on."""
        self.refresh_token = f"rt_{self.id}_{self.simulator.serial()}"
        self.simulator.refresh_tokens[self.refresh_token] = self
        return self.refresh_token

    def end_access(self) -> None:
        """Every access token of the account so far is answered with 401."""
        tokens = self.simulator.access_tokens
        for token in [token for token, account in tokens.items() if account is self]:
            del tokens[token]

    def id_token(self) -> str:
        return unsigned_jwt(self.claims(self.simulator.clock() + ACCESS_TOKEN_LIFETIME_S))

    def auth_json(self, *, expires_at: float | None = None) -> dict[str, Any]:
        """The Codex CLI's auth.json; `expires_at` issues a new access token that ends then."""
        if expires_at is not None:
            self.issue_access_token(expires_at)
        now = datetime.fromtimestamp(self.simulator.clock(), UTC)
        return {
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": None,
            "tokens": {
                "id_token": self.id_token(),
                "access_token": self.access_token,
                "refresh_token": self.refresh_token,
                "account_id": self.chatgpt_account_id,
            },
            "last_refresh": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }


class Simulator:
    """The state behind one simulated upstream; `app` is the ASGI application that serves it."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        any_auth: bool = False,
        journal_limit: int = 10_000,
        keep_bodies: bool = True,
    ) -> None:
        self.clock = clock
        # Takes any bearer token: for a client that is pointed straight at the simulator.
        self.any_auth = any_auth
        self.journal_limit = journal_limit
        self.keep_bodies = keep_bodies
        self._serials = count(1)
        self.accounts: dict[str, SimAccount] = {}
        self.access_tokens: dict[str, SimAccount] = {}
        self.refresh_tokens: dict[str, SimAccount] = {}
        self.spent_refresh_tokens: set[str] = set()
        self.models: list[dict[str, Any]] = default_models()
        # The statuses with which these endpoints refuse; None means that they work.
        self.websocket_status: int | None = None
        self.compact_status: int | None = None
        self.models_status: int | None = None
        self.usage_status: int | None = None
        self.device_code_status: int | None = None
        self.exchange_status: int | None = None
        # The code with which a device code is refused for good, or "slow_down".
        self.device_refusal: str | None = None
        # False answers foreign encrypted content with a null code and only the message.
        self.foreign_content_code = True
        # False leaves an error in the middle of a websocket's turn as it would be over HTTP.
        self.late_error_status = True
        # The account that is signed in without a click on /oauth/authorize and for device codes.
        self.auto_approve: str | None = None
        self.clear()

    def clear(self) -> None:
        """Forgets what happened and every script; accounts and their tokens stay."""
        self.journal: list[Received] = []
        self.refreshes: list[RefreshCall] = []
        self.violations: list[str] = []
        # With these the next websockets are refused, whichever account they are for.
        self.refused_handshakes: deque[Fail] = deque()
        # Turns that wait for each other.
        self.gathered = 0
        # file id → the account id that it was uploaded to.
        self.files: dict[str, str] = {}
        self.codes: dict[str, SignIn] = {}
        self.devices: dict[str, SignIn] = {}
        for account in self.accounts.values():
            account.default = Ok()
            account.handshake = None
            account.replies.clear()
            account.refresh_replies.clear()

    @property
    def app(self) -> ASGIApplication:
        from .app import application  # the application needs this module's names

        return application(self)

    def add_account(
        self,
        account_id: str,
        *,
        email: str | None = None,
        plan: str = "plus",
        workspace: str | None = None,
        person: str | None = None,
    ) -> SimAccount:
        account = SimAccount(
            simulator=self,
            id=account_id,
            email=email or f"{account_id}@example.com",
            plan=plan,
            workspace=workspace,
            windows=Windows.fresh(self.clock()),
            person=person,
        )
        self.accounts[account_id] = account
        account.issue_access_token()
        account.issue_refresh_token()
        return account

    def serial(self) -> str:
        return f"{next(self._serials):024x}"

    def record(self, received: Received) -> None:
        self.journal.append(received)
        if len(self.journal) > self.journal_limit:
            del self.journal[: self.journal_limit // 2]

    def account_of(self, access_token: str) -> SimAccount | None:
        """None for a token that is unknown, ended or expired."""
        account = self.access_tokens.get(access_token)
        if account is None or claims_of(access_token).get("exp", 0) <= self.clock():
            return None
        return account

    def approve_device(self, user_code: str, account_id: str) -> None:
        self.devices[user_code].account_id = account_id

    def responses(self, account_id: str | None = None) -> list[Received]:
        """The turns asked for, of one account or of all."""
        return [
            received
            for received in self.journal
            if received.path.endswith(("/responses", "/responses/compact"))
            and account_id in (None, received.account_id)
        ]
