"""Pure: no I/O. One-time codes (RFC 6238: SHA-1, six digits, 30 seconds) and recovery codes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from urllib.parse import quote, urlencode

ISSUER = "codexproxy"
LABEL = "dashboard"
DIGITS = 6
STEP_S = 30
# A phone's clock may be off by one step.
TOLERANCE_STEPS = 1
SECRET_BYTES = 20
RECOVERY_CODES = 10
# 80 bits: too many to try, so a plain digest is enough at rest.
RECOVERY_CODE_BYTES = 10

_CODE = re.compile(r"[0-9]{6}", re.ASCII)
_RECOVERY_CODE = re.compile(r"[a-z2-7]{16}", re.ASCII)


class SecretError(ValueError):
    """Text that is no secret of ours."""


def new_secret() -> str:
    return base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode()


def parse_secret(text: str) -> str:
    """The secret as `new_secret` writes it, from what a person may have typed. Raises SecretError."""
    compact = re.sub(r"[\s-]", "", text).upper().rstrip("=")
    try:
        raw = base64.b32decode(compact + "=" * (-len(compact) % 8))
    except (binascii.Error, ValueError):
        raise SecretError("the secret is not base32") from None
    if len(raw) != SECRET_BYTES:
        raise SecretError(f"the secret must have {SECRET_BYTES} bytes")
    return compact


def grouped(secret: str) -> str:
    """In fours, as one reads it from the screen."""
    return " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))


def otpauth_uri(secret: str) -> str:
    label = quote(f"{ISSUER}:{LABEL}", safe="")
    fields = {
        "secret": secret,
        "issuer": ISSUER,
        "algorithm": "SHA1",
        "digits": DIGITS,
        "period": STEP_S,
    }
    return f"otpauth://totp/{label}?{urlencode(fields)}"


def code_at(secret: str, step: int) -> str:
    mac = hmac.digest(base64.b32decode(secret), step.to_bytes(8, "big"), "sha1")
    offset = mac[-1] & 0x0F
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def matching_step(secret: str, code: str, *, now_s: float, after: int = -1) -> int | None:
    """The step, later than `after`, whose code this is; None when it is none of those that count now."""
    compact = re.sub(r"\s", "", code)
    if not _CODE.fullmatch(compact):
        return None
    present = int(now_s) // STEP_S
    for step in range(present - TOLERANCE_STEPS, present + TOLERANCE_STEPS + 1):
        if step > after and hmac.compare_digest(code_at(secret, step), compact):
            return step
    return None


def new_recovery_codes() -> list[str]:
    return [_new_recovery_code() for _ in range(RECOVERY_CODES)]


def _new_recovery_code() -> str:
    text = base64.b32encode(secrets.token_bytes(RECOVERY_CODE_BYTES)).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def recovery_digest(code: str) -> str | None:
    """What is stored of a recovery code; None for text that cannot be one."""
    compact = re.sub(r"[\s-]", "", code).lower()
    if not _RECOVERY_CODE.fullmatch(compact):
        return None
    digest = hashlib.sha256(b"codexproxy recovery code:" + compact.encode()).digest()
    return base64.b32encode(digest[:RECOVERY_CODE_BYTES]).decode().lower()
