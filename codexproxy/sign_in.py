"""Signing in and setting it up, for the pages and the JSON routes alike.

What is refused is a DashboardError: its message is for a person, its code and status for a program.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.contrib.auth import logout, update_session_auth_hash
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from accounts import audit
from accounts.operators import selectors, services, sessions, throttle, viewers
from accounts.operators.codes import SecretError
from accounts.operators.models import TotpDevice
from codexproxy import gate
from codexproxy.errors import DashboardError
from proxy.settings_services import settings_get, settings_update

TOO_MANY = 429
SETUP_TOKEN_HEADER = "X-Codex-LB-Setup-Token"  # noqa: S105 - the name of a header


def sign_in_with_password(request: HttpRequest, password: str) -> None:
    """As the operator, or as the viewer: it is the password that tells them apart."""
    known = [user for user in (selectors.operator(), viewers.viewer()) if user and user.has_usable_password()]
    if not known:
        raise DashboardError(400, "password_not_configured", "No password is set.")
    accepted: list[User] = []

    def check() -> bool:
        accepted.extend(user for user in known if user.check_password(password))
        return bool(accepted)

    # SECURITY: the viewer's right password makes no wrong one forgotten; the viewer could otherwise try seven
    # of the operator's after each of its own.
    _try(request, "password", check, _wrong_password(), forgives=lambda: not viewers.is_viewer(accepted[0]))
    address = gate.client_address(request)
    sessions.begin_by_password(request, accepted[0], address=address, length=_session_length())
    _record_sign_in(request, "password")


def viewer_set(request: HttpRequest, password: str) -> None:
    """SECURITY: what lets others in for long is set up like a first lock: from here, or once signed in."""
    require_setup_right(request, "")
    try:
        viewers.viewer_set(password=password)
    except services.PasswordRefused as error:
        raise DashboardError(422, error.code, str(error)) from None


def sign_in_with_code(request: HttpRequest, code: str) -> None:
    """With a code of the authenticator or a recovery code. After the password where that is required."""
    if gate.locks(request).password and not sessions.has_proved_password(request):
        raise as_error(gate.PASSWORD_REFUSED)
    device = _device()
    accepted: list[str | None] = []

    def check() -> bool:
        accepted.append(services.code_accept(device=device, code=code))
        return accepted[0] is not None

    _try(request, "totp", check, _wrong_code())
    user = selectors.operator()
    address = gate.client_address(request)
    sessions.begin_by_code(request, user, device, address=address, length=_session_length())
    left = selectors.recovery_codes_left()
    _record_sign_in(request, "code" if accepted[0] == "code" else f"recovery code, {left} left")


def _record_sign_in(request: HttpRequest, proof: str) -> None:
    """From here on it is known who acts."""
    actor = audit.Actor(request.user.get_username(), gate.client_address(request))
    with audit.acting_as(actor):
        audit.record("signed_in", detail=proof)


def sign_out(request: HttpRequest) -> None:
    """The session ends on the server: its cookie opens nothing any more, whoever has a copy."""
    if sessions.is_signed_in(request):
        audit.record("signed_out")
    logout(request)


def require_admission(request: HttpRequest) -> None:
    """For changes that only who is in may make."""
    if gate.admits(request):
        return
    on = gate.locks(request)
    raise as_error(gate.STRANGER_REFUSED if on.are_open else gate.locked_by(request, on))


def needs_setup_token(request: HttpRequest) -> bool:
    """Whether setting up a first lock takes the token: not on this machine, and not once signed in."""
    return not (gate.is_local(request) or sessions.is_signed_in(request))


def require_setup_right(request: HttpRequest, token: str) -> None:
    """Who may set up a password or an authenticator that is not there yet.

    SECURITY: while no lock is on, whoever sets one up first owns the dashboard. So another machine must
    know the token, even one that an open dashboard admits.
    """
    on = gate.locks(request)
    if not on.are_open:
        require_admission(request)
        return
    if not needs_setup_token(request):
        return
    expected = settings.DASHBOARD_SETUP_TOKEN
    if not expected:
        raise DashboardError(
            403,
            "dashboard_setup_token_required",
            "From another machine this takes a set-up token. Set CODEXPROXY_DASHBOARD_SETUP_TOKEN and start "
            "the server again, or do it on the machine that the server runs on.",
        )
    wrong = DashboardError(
        403, "dashboard_setup_forbidden", f"The set-up token ({SETUP_TOKEN_HEADER}) is missing or wrong."
    )
    if not token:
        raise wrong
    _try(request, "setup_token", lambda: hmac.compare_digest(token.encode(), expected.encode()), wrong)


def password_set_up(request: HttpRequest, password: str, token: str) -> None:
    require_setup_right(request, token)
    try:
        _check_is_nobody_elses(password)
        user = services.password_set(password=password)
    except services.AlreadyConfigured:
        raise DashboardError(409, "password_already_configured", "A password is set already.") from None
    except services.PasswordRefused as error:
        raise DashboardError(422, error.code, str(error)) from None
    # Whoever has just set it knows it.
    _keep_session(request, user)
    sessions.begin_by_password(request, user, address=gate.client_address(request), length=_session_length())


def password_change(request: HttpRequest, current: str, new: str) -> None:
    """Every other session ends."""
    _require_password(request, current)
    try:
        _check_is_nobody_elses(new)
        user = services.password_set(password=new, replace=True)
    except services.AlreadyConfigured:
        raise DashboardError(409, "password_changed", "The password was changed at the same time.") from None
    except services.PasswordRefused as error:
        raise DashboardError(422, error.code, str(error)) from None
    _keep_session(request, user)


def password_remove(request: HttpRequest, current: str) -> None:
    """With its lock. Every other session ends."""
    _require_password(request, current)
    with transaction.atomic():
        if settings_get().require_password:
            settings_update(require_password=False)
        user = services.password_remove()
    _keep_session(request, user)


def _check_is_nobody_elses(password: str) -> None:
    """SECURITY: the password tells who signs in; with the viewer's own the viewer would be the operator."""
    found = viewers.viewer()
    if found is not None and found.check_password(password):
        raise services.PasswordRefused(
            "validation_error", "This is the viewer's password; the operator has another."
        )


def _keep_session(request: HttpRequest, user: User) -> None:
    """A new password ends every session; not the one that it was given in."""
    if sessions.is_signed_in(request):
        update_session_auth_hash(request, user)


def _require_password(request: HttpRequest, current: str) -> None:
    require_admission(request)
    user = selectors.operator()
    if not user.has_usable_password():
        raise DashboardError(400, "password_not_configured", "No password is set.")
    _try(request, "password", lambda: user.check_password(current), _wrong_password())


def totp_set_up_begin(request: HttpRequest, token: str) -> None:
    """Whether a secret may be shown; nothing is kept until a code confirms it."""
    require_setup_right(request, token)
    if selectors.has_totp():
        raise _already_set_up()


def totp_set_up(request: HttpRequest, secret: str, code: str, token: str) -> list[str]:
    """Returns the recovery codes."""
    totp_set_up_begin(request, token)
    try:
        with _counted(request, "totp"):
            return services.totp_enrol(secret=secret, code=code, now_s=time.time())
    except services.AlreadyConfigured:
        raise _already_set_up() from None
    except SecretError as error:
        raise DashboardError(400, "invalid_totp_setup", f"The set-up cannot be used: {error}.") from None
    except services.WrongCode:
        raise DashboardError(
            400,
            "invalid_totp_code",
            "The code does not fit. Wait for the next one, and see that the clocks agree.",
        ) from None


def totp_disable(request: HttpRequest, code: str) -> None:
    """With its lock and the recovery codes. A code that is spent will do. Every session ends."""
    require_code(request, code)
    totp_clear()
    logout(request)


def totp_clear() -> bool:
    """Remove authenticator, recovery codes, lock and sessions; False when there was no authenticator."""
    with transaction.atomic():
        if settings_get().require_totp:
            settings_update(require_totp=False)
        return services.totp_remove()


def recovery_codes_replace(request: HttpRequest, code: str) -> list[str]:
    require_code(request, code)
    return services.recovery_codes_replace()


def require_code(request: HttpRequest, code: str) -> None:
    """Ask again before a change of the second factor: an open session may be unattended."""
    require_admission(request)
    device = _device()

    def check() -> bool:
        return device.matches(code) or services.code_accept(device=device, code=code) is not None

    _try(request, "totp", check, _wrong_code())


def prove_again(request: HttpRequest, password: str, code: str) -> None:
    """Ask for what each lock asks for before everything is handed out: an open session may be unattended."""
    require_admission(request)
    on = gate.locks(request)
    if on.password:
        _require_password(request, password)
    if on.totp:
        require_code(request, code)


def as_error(refused: gate.GateRefusal | None) -> DashboardError:
    if refused is None:
        refused = gate.PASSWORD_REFUSED
    return DashboardError(refused.status, refused.code, " ".join((refused.message, *refused.ways_in)))


def _try(
    request: HttpRequest,
    kind: str,
    check: Callable[[], bool],
    wrong: DashboardError,
    *,
    forgives: Callable[[], bool] = lambda: True,
) -> None:
    with _counted(request, kind, forgives):
        if not check():
            audit.record(f"{kind}_refused")
            raise wrong


@contextmanager
def _counted(request: HttpRequest, kind: str, forgives: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """What ends with an error counts as a wrong try; what does not makes the former ones forgotten."""
    address = gate.client_address(request)
    try:
        own = throttle.admit(kind, address, now=timezone.now())
    except throttle.Throttled as error:
        raise DashboardError(
            TOO_MANY,
            f"{kind}_rate_limited",
            f"Too many wrong tries. Try again in {error.retry_after_s} seconds.",
            {"Retry-After": str(error.retry_after_s)},
        ) from None
    yield
    if forgives():
        throttle.succeed(kind, address)
    else:
        throttle.take_back(own)


def _device() -> TotpDevice:
    device = selectors.totp_device()
    if device is None:
        raise DashboardError(400, "invalid_totp_config", "No authenticator is set up.")
    return device


def _session_length() -> timedelta:
    return timedelta(hours=settings_get().session_hours)


def _wrong_password() -> DashboardError:
    return DashboardError(401, "invalid_credentials", "The password is wrong.")


def _wrong_code() -> DashboardError:
    return DashboardError(400, "invalid_totp_code", "The code is wrong or was used already.")


def _already_set_up() -> DashboardError:
    return DashboardError(400, "invalid_totp_setup", "An authenticator is set up already; disable it first.")
