"""Pure: what Codex asks about its limits and its workspace, answered for the pool and for the client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from accounts.claims import Claims
from proxy.routing import Candidate, Window

# From the plan that gives most to the one that gives least; unknown ones come last.
_PLANS = (
    "enterprise", "business", "team", "pro", "plus", "education", "edu", "free_workspace", "free", "go",
    "guest", "quorum", "k12",
)  # fmt: skip
_OUT_OF_THE_POOL = frozenset({"paused", "deactivated", "reauth_required"})
_DEFAULT_MINUTES = {"primary": 300, "secondary": 10_080}


def pool_plan(candidates: Iterable[Candidate]) -> str:
    """The accounts' plan; of several the one that gives most; "guest" without any."""
    plans = {candidate.plan_type for candidate in candidates if candidate.status not in _OUT_OF_THE_POOL}
    order = {plan: place for place, plan in enumerate(_PLANS)}
    return min(plans, key=lambda plan: (order.get(plan, len(order)), plan), default="guest")


def usage_answer(plan: str, primary: Window | None, secondary: Window | None, now: float) -> dict[str, Any]:
    """The pool's figures in the form of upstream's usage."""
    windows = {"primary": primary, "secondary": secondary}
    if primary is None and secondary is None:
        return {"plan_type": plan, "rate_limit": None, "credits": None, "additional_rate_limits": None}
    reached = any(window is not None and window.used_percent >= 100 for window in windows.values())
    rate_limit: dict[str, Any] = {"allowed": not reached, "limit_reached": reached}
    for name, window in windows.items():
        rate_limit[f"{name}_window"] = _window(name, window, now) if window is not None else None
    # Credits belong to one account, so that a pool has none to spend.
    credits = {
        "has_credits": False,
        "unlimited": False,
        "balance": None,
        "approx_local_messages": None,
        "approx_cloud_messages": None,
    }
    return {"plan_type": plan, "rate_limit": rate_limit, "credits": credits, "additional_rate_limits": None}


def _window(name: str, window: Window, now: float) -> dict[str, Any]:
    reset_at = None if window.reset_at is None else int(window.reset_at)
    return {
        "used_percent": min(100, max(0, int(window.used_percent))),
        "limit_window_seconds": 60 * (window.window_minutes or _DEFAULT_MINUTES[name]),
        "reset_after_seconds": None if reset_at is None else max(0, reset_at - int(now)),
        "reset_at": reset_at,
    }


def accounts_answer(account_id: str, claims: Claims) -> dict[str, Any]:
    """The client's own workspace: Codex goes on only when the one of its sign-in is among those listed."""
    entry = {
        "id": account_id,
        "account_user_id": f"{claims.user_id}__{account_id}" if claims.user_id else account_id,
        "account_user_role": "standard-user",
        "structure": "workspace" if claims.workspace_id else "personal",
        "plan_type": claims.plan_type or "unknown",
        "name": claims.workspace_label or None,
        "profile_picture_url": None,
        "is_zdr": False,
        "is_openai_internal": False,
        "workspace_backend_origin": "NO_CONSTRAINT",
        "account_routing_override": "NO_CONSTRAINT",
    }
    return {"accounts": [entry], "default_account_id": account_id, "account_ordering": [account_id]}
