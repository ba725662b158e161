"""Pure: reads what a token says about its owner. Nothing is verified: the token came from the owner."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

AUTH_CLAIM = "https://api.openai.com/auth"
PROFILE_CLAIM = "https://api.openai.com/profile"

_LATEST_S = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Claims:
    """Empty text and None mean that the token does not say."""

    email: str = ""
    user_id: str = ""
    account_id: str = ""
    plan_type: str = ""
    workspace_id: str = ""
    workspace_label: str = ""
    issued_at: datetime | None = None
    expires_at: datetime | None = None

    def or_else(self, other: Claims) -> Claims:
        """These claims, with the gaps filled from `other`."""
        return Claims(**{f.name: getattr(self, f.name) or getattr(other, f.name) for f in fields(self)})


def read_claims(token: str) -> Claims:
    """The claims of a JWT; of anything else, claims that say nothing."""
    payload = _payload(token)
    auth, profile = _mapping(payload.get(AUTH_CLAIM)), _mapping(payload.get(PROFILE_CLAIM))
    return Claims(
        email=_text(payload.get("email"), 254) or _text(profile.get("email"), 254),
        user_id=(
            _identifier(auth.get("chatgpt_user_id"))
            or _identifier(auth.get("user_id"))
            or _identifier(payload.get("sub"))
        ),
        account_id=_identifier(auth.get("chatgpt_account_id")),
        plan_type=_text(auth.get("chatgpt_plan_type"), 40),
        workspace_id=_identifier(auth.get("workspace_id")) or _identifier(auth.get("organization_id")),
        workspace_label=_text(auth.get("workspace_name"), 200) or _text(auth.get("organization_name"), 200),
        issued_at=moment(payload.get("iat")),
        expires_at=moment(payload.get("exp")),
    )


def moment(seconds: object) -> datetime | None:
    """Unix seconds as a moment; None for what is not a sensible number."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    # Also refuses NaN, which compares false with everything.
    return datetime.fromtimestamp(seconds, UTC) if 0 < seconds < _LATEST_S else None


def is_identifier(value: str) -> bool:
    """Whether it can be sent in a header and kept in a column."""
    return 0 < len(value) <= 120 and value.isascii() and value.isprintable() and " " not in value


def _payload(token: str) -> Mapping[str, Any]:
    parts = token.split(".")
    if len(parts) < 2:
        return {}
    try:
        return _mapping(json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))))
    except (ValueError, RecursionError):
        return {}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _identifier(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    return text if is_identifier(text) else ""


def _text(value: object, limit: int) -> str:
    """Words for people to read; what the database could not keep counts as absent."""
    text = value.strip() if isinstance(value, str) else ""
    return text if len(text) <= limit and text.isprintable() else ""
