"""Pure: the tokens and encrypted strings that the simulated upstream hands out."""

from __future__ import annotations

import base64
import json
from typing import Any

ENCRYPTED_PREFIX = "gAAAA"
AUTH_CLAIM = "https://api.openai.com/auth"
PROFILE_CLAIM = "https://api.openai.com/profile"


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decoded(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))


def unsigned_jwt(claims: dict[str, Any]) -> str:
    header = _encoded(b'{"alg":"none","typ":"JWT"}')
    return f"{header}.{_encoded(json.dumps(claims).encode())}.{_encoded(b'simulated')}"


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a JWT, unverified; {} for anything that is not one."""
    try:
        claims = json.loads(_decoded(token.split(".")[1]))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def encrypted_content(owner: str, serial: str) -> str:
    """An opaque-looking string that tells which account made it."""
    return f"{ENCRYPTED_PREFIX}{_encoded(owner.encode())}.{serial}{'A' * 64}"


def encrypted_owner(content: str) -> str | None:
    """Who made it; None for a string that the simulator never made."""
    if not content.startswith(ENCRYPTED_PREFIX):
        return None
    try:
        return _decoded(content[len(ENCRYPTED_PREFIX) :].split(".")[0]).decode()
    except ValueError:
        return None
