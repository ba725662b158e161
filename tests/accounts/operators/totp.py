"""An authenticator for tests, and the operator who has it."""

from __future__ import annotations

import time

from accounts.operators import codes, services
from accounts.operators.models import TotpDevice
from accounts.operators.selectors import totp_device

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
PASSWORD = "correct horse"


def code(offset: int = 0) -> str:
    """What the authenticator shows now; `offset` steps later."""
    return codes.code_at(SECRET, int(time.time()) // codes.STEP_S + offset)


def wrong_code() -> str:
    """One that does not count now, whatever the clock says."""
    near = {code(offset) for offset in range(-3, 4)}
    return next(text for text in (f"{number:06}" for number in range(10)) if text not in near)


def enrol() -> list[str]:
    return services.totp_enrol(secret=SECRET, code=code(), now_s=time.time())


def device() -> TotpDevice:
    found = totp_device()
    assert found is not None
    return found
