"""Pure: what an API key makes of a request, and what it forbids."""

from __future__ import annotations

from proxy.dialects.codex import CodexRequest, with_enforced
from proxy.errors import AccessDenied
from proxy.keys import KeyView

# Saying nothing is how these are asked for upstream.
_UNNAMED_TIERS = frozenset({"auto", "default"})


def permitted(request: CodexRequest, key: KeyView | None) -> CodexRequest:
    """The request as the key enforces it. Raises AccessDenied for what the key may not ask."""
    if key is None:
        return request
    # A tool that is asked for by name is what the key allows, whichever model calls it.
    check_model(request.known_as or key.enforced_model or request.model, key)
    _check_effort(request, key)
    if not (key.enforced_model or key.enforced_effort or key.enforced_tier):
        return request
    tier = "" if key.enforced_tier in _UNNAMED_TIERS else key.enforced_tier
    return with_enforced(
        request,
        model=key.enforced_model,
        effort=key.enforced_effort,
        tier=tier if key.enforced_tier else None,
    )


def check_model(model: str, key: KeyView | None) -> None:
    """Raises AccessDenied."""
    if key is not None and not key.allows_model(model):
        raise AccessDenied(
            403,
            "model_not_allowed",
            f"This API key does not have access to model {model!r}. It may use: "
            f"{', '.join(sorted(key.allowed_models))}.",
            param="model",
        )


def _check_effort(request: CodexRequest, key: KeyView) -> None:
    asked = request.reasoning_effort
    if key.enforced_effort or asked is None or key.allows_effort(asked):
        return
    raise AccessDenied(
        403,
        "reasoning_effort_not_allowed",
        f"This API key may not ask for reasoning effort {asked!r}, only for: "
        f"{', '.join(sorted(key.allowed_efforts))}.",
        param="reasoning.effort",
    )
