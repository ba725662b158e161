"""Pure: what an API key is, where a request carries it, and what it allows."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "sk-cp-"
# As much of a key as is kept and shown, so that an operator can tell keys apart.
SHOWN = 12
# From the least to the most.
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra")
# What a model takes when a request names none.
DEFAULT_EFFORT = "medium"


@dataclass(frozen=True, slots=True)
class KeyView:
    """One key as the data plane knows it. Times are unix seconds."""

    id: int
    name: str = ""
    enabled: bool = True
    expires_at: float | None = None
    allowed_models: frozenset[str] = frozenset()
    enforced_model: str = ""
    enforced_effort: str = ""
    allowed_efforts: frozenset[str] = frozenset()
    enforced_tier: str = ""
    max_parallel: int | None = None
    # None: any account. An empty set means that none is left.
    accounts: frozenset[str] | None = None
    # Without limits a request costs no database access.
    has_limits: bool = False

    def allows_model(self, model: str) -> bool:
        return not self.allowed_models or model in self.allowed_models

    def allows_effort(self, effort: str) -> bool:
        if self.enforced_effort:
            return effort == self.enforced_effort
        return not self.allowed_efforts or effort in self.allowed_efforts

    @property
    def unnamed_effort(self) -> str:
        """What a request that names no effort has to name; "" leaves it to the model.

        SECURITY: to say nothing must not be a way to an effort that is not allowed.
        """
        if self.enforced_effort:
            return self.enforced_effort
        if not self.allowed_efforts or DEFAULT_EFFORT in self.allowed_efforts:
            return ""
        allowed = [effort for effort in EFFORTS if effort in self.allowed_efforts]
        below = [effort for effort in allowed if EFFORTS.index(effort) < EFFORTS.index(DEFAULT_EFFORT)]
        return (below[-1:] or allowed[:1] or [""])[0]

    def lists_model(self, model: str) -> bool:
        """Whether a list of models shows it: what is asked whatever a request names is the only one."""
        return model == self.enforced_model if self.enforced_model else self.allows_model(model)


def new_key() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def key_hash(key: str) -> str:
    """SECURITY: a plain hash is enough, since 256 random bits cannot be guessed from it."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def presented_key(headers: Mapping[str, str]) -> str:
    """What the client shows as its key; of two, the one that is ours. Names in lower case; "" without any."""
    scheme, _, bearer = headers.get("authorization", "").strip().partition(" ")
    found = [bearer.strip()] if scheme.lower() == "bearer" else []
    found.append(headers.get("x-api-key", "").strip())
    return next((key for key in found if is_ours(key)), next((key for key in found if key), ""))


def is_ours(key: str) -> bool:
    return key.startswith(PREFIX)
