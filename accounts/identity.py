"""Pure: who an account is, here and upstream, and how its plan is written."""

from __future__ import annotations

import hashlib
from typing import Protocol

UNKNOWN_EMAIL = "unknown@example.com"
UNKNOWN_PLAN = "unknown"
KNOWN_PLANS = frozenset({"free", "plus", "pro", "team", "business", "enterprise", "edu"})

# Ids of accounts whose ChatGPT account is not known begin with one of these.
_WITHOUT_CHATGPT_ACCOUNT = ("email_", "local_")


class HasChatGPTAccount(Protocol):
    """What is asked of an account's row."""

    @property
    def pk(self) -> str: ...

    @property
    def chatgpt_account_id(self) -> str: ...


def local_account_ids(
    *, chatgpt_account_id: str, workspace: str, email: str, user_id: str, seed: str
) -> list[str]:
    """The ids that an account may have here, best first; empty text means "not known".

    Two people in one workspace share its ChatGPT account and its workspace id: whoever comes second takes
    the next id. `seed` makes the last resort the same each time the same file comes.
    """
    if not chatgpt_account_id:
        return [f"email_{_digest(email, 12)}" if email else f"local_{_digest(seed, 12)}"]
    marks = [mark for mark in (workspace, email, user_id) if mark] or [seed]
    return [f"{chatgpt_account_id}_{_digest(mark, 8)}" for mark in marks]


def upstream_account_id(account: str | HasChatGPTAccount) -> str | None:
    """What goes into the header `chatgpt-account-id`; None leaves the header out."""
    account_id = account if isinstance(account, str) else account.pk
    if account_id.startswith(_WITHOUT_CHATGPT_ACCOUNT):
        return None
    if not isinstance(account, str):
        return account.chatgpt_account_id or None
    return account_id.rpartition("_")[0] or account_id


def coerce_plan_type(plan: str | None) -> str:
    """A known plan in lower case; any other as it came, trimmed."""
    trimmed = (plan or "").strip()
    if trimmed.lower() in KNOWN_PLANS:
        return trimmed.lower()
    return trimmed or UNKNOWN_PLAN


def workspace_words(
    *, label: str, workspace_id: str, chatgpt_account_id: str, shares_email: bool, shares_label: bool
) -> str:
    """A name for the workspace that tells it from another one of the same e-mail."""
    if label and shares_label:
        return f"{label} ({_short(workspace_id or chatgpt_account_id)})"
    named = label or workspace_id
    if named or not shares_email:
        return named or "personal"
    return _short(chatgpt_account_id)


def _short(identifier: str) -> str:
    return identifier if len(identifier) <= 12 else f"{identifier[:12]}…"


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
