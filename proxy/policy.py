"""Pure: what an API key makes of a request, and what it forbids."""

from __future__ import annotations

from proxy.dialects.codex import CodexRequest, with_enforced
from proxy.errors import AccessDenied
from proxy.keys import KeyView

# Saying nothing is how these are asked for upstream.
_UNNAMED_TIERS = frozenset({"auto", "default"})
# What is looked at of a request.
_JUDGED = (b'"model"', b'"reasoning"', b'"effort"', b'"generate"')


def permitted(request: CodexRequest, key: KeyView | None) -> CodexRequest:
    """The request as the key enforces it. Raises AccessDenied for what the key may not ask."""
    if key is None:
        return request
    # A tool that is asked for by name is what the key allows, whichever model calls it.
    check_model(request.known_as or key.enforced_model or request.model, key)
    _check_effort(request, key)
    effort = key.enforced_effort or ("" if request.reasoning_effort else key.unnamed_effort)
    if key.enforced_model or effort or key.enforced_tier:
        tier = "" if key.enforced_tier in _UNNAMED_TIERS else key.enforced_tier
        enforced_tier = tier if key.enforced_tier else None
        return with_enforced(request, model=key.enforced_model, effort=effort, tier=enforced_tier)
    is_judged = key.allowed_models or key.allowed_efforts or key.has_limits
    if is_judged and _says_it_twice(request.body):
        return with_enforced(request, model=request.model, effort=request.reasoning_effort or "")
    return request


def _says_it_twice(body: bytes) -> bool:
    """SECURITY: of two fields of one name another reader may take the other one. What was judged goes out,
    written anew, wherever there might be two; letters are escaped by nobody who means well.
    """
    return any(body.count(name) > 1 for name in _JUDGED) or b"\\u006" in body or b"\\u007" in body


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
