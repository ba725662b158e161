"""The pages for signing in and for what it takes: password, authenticator, recovery codes, sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite, site
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from accounts.operators import codes, selectors, sessions, viewers
from codexproxy import gate, sign_in
from codexproxy.dashboard_auth import qr_data_uri
from codexproxy.errors import DashboardError
from codexproxy.security_forms import (
    CodeForm,
    ConfirmForm,
    FirstPasswordForm,
    NewPasswordForm,
    PasswordForm,
    SignInCodeForm,
    ViewerForm,
)

# Where on the forms an error belongs.
_PLACES = {
    "invalid_totp_code": ("code",),
    "totp_rate_limited": ("code",),
    "invalid_credentials": ("current", "password"),
    "password_rate_limited": ("current", "password"),
    "validation_error": ("new",),
    "password_too_long": ("new",),
    "dashboard_setup_forbidden": ("setup_token",),
    "dashboard_setup_token_required": ("setup_token",),
    "setup_token_rate_limited": ("setup_token",),
}
Page = Callable[[HttpRequest], HttpResponse]


@never_cache
@sensitive_post_parameters()
def sign_in_page(request: HttpRequest) -> HttpResponse:
    """One step after the other: the password where it is required, then the code where that is."""
    on = gate.locks(request)
    if gate.admits(request):
        return HttpResponseRedirect(_next_url(request))
    if "start_again" in request.POST:
        sign_in.sign_out(request)
        return HttpResponseRedirect(request.get_full_path())
    # Where only codes are asked for, the viewer still has nothing but its password.
    is_viewers = "viewer" in request.GET and viewers.viewer() is not None
    wants_password = (on.password or is_viewers) and not sessions.has_proved_password(request)
    form = (PasswordForm if wants_password else SignInCodeForm)(request.POST or None)
    refused: DashboardError | None = None
    if form.is_valid():
        try:
            if wants_password:
                sign_in.sign_in_with_password(request, form.cleaned_data["password"])
            else:
                sign_in.sign_in_with_code(request, form.cleaned_data["code"])
        except DashboardError as error:
            refused = _told(form, error)
        else:
            # Back here, unless that was the last step.
            return HttpResponseRedirect(request.get_full_path())
    context = {
        **site.each_context(request),
        "title": "Sign in",
        "form": form,
        "is_second_step": on.password and not wants_password,
        "offers_viewer": not on.password and not is_viewers and viewers.viewer() is not None,
    }
    return _answer(request, "admin/sign_in.html", context, refused)


@require_POST
def sign_out_page(request: HttpRequest) -> HttpResponse:
    sign_in.sign_out(request)
    return HttpResponseRedirect(reverse("admin:index"))


def security_page(request: HttpRequest) -> HttpResponse:
    return _security_page(request)


@require_POST
def password_page(request: HttpRequest) -> HttpResponse:
    """Set the first password, or change the one there is."""
    has_one = selectors.has_password()
    form = _password_form(request, request.POST)

    def act(values: dict[str, Any]) -> None:
        if has_one:
            sign_in.password_change(request, values["current"], values["new"])
        else:
            sign_in.password_set_up(request, values["new"], values.get("setup_token", ""))

    done = "The password is changed; other sessions have ended." if has_one else "The password is set."
    return _act(request, "password_form", form, act, done)


@require_POST
def password_remove_page(request: HttpRequest) -> HttpResponse:
    return _act(
        request,
        "password_remove_form",
        PasswordForm(request.POST),
        lambda values: sign_in.password_remove(request, values["password"]),
        "The password is removed.",
    )


def totp_page(request: HttpRequest) -> HttpResponse:
    """The QR code with its secret, and the code that proves that the authenticator has it.

    The secret travels with the form and is kept only once it is confirmed.
    """
    if selectors.has_totp():
        messages.info(request, "An authenticator is set up already; disable it first.")
        return HttpResponseRedirect(reverse("admin:security"))
    form = ConfirmForm(request.POST or None, asks_token=_asks_token(request))
    secret = _secret_of(request)
    refused: DashboardError | None = None
    if form.is_valid():
        values = form.cleaned_data
        try:
            made = sign_in.totp_set_up(request, secret, values["code"], values.get("setup_token", ""))
        except DashboardError as error:
            refused = _told(form, error)
        else:
            return _recovery_codes_page(request, made)
    context = {
        **site.each_context(request),
        "title": "Set up an authenticator",
        "form": form,
        "secret": secret,
        "secret_words": codes.grouped(secret),
        "qr_uri": qr_data_uri(secret),
    }
    return _answer(request, "admin/totp.html", context, refused)


@require_POST
def totp_disable_page(request: HttpRequest) -> HttpResponse:
    return _act(
        request,
        "totp_disable_form",
        CodeForm(request.POST),
        lambda values: sign_in.totp_disable(request, values["code"]),
        "The authenticator is removed, and every session has ended.",
    )


@require_POST
def recovery_codes_page(request: HttpRequest) -> HttpResponse:
    form = CodeForm(request.POST)
    refused: DashboardError | None = None
    if form.is_valid():
        try:
            made = sign_in.recovery_codes_replace(request, form.cleaned_data["code"])
        except DashboardError as error:
            refused = _told(form, error)
        else:
            return _recovery_codes_page(request, made)
    return _security_page(request, refused, recovery_codes_form=form)


@require_POST
def viewer_page(request: HttpRequest) -> HttpResponse:
    """Set the viewer's password."""
    return _act(
        request,
        "viewer_form",
        ViewerForm(request.POST, auto_id="viewer_%s"),
        lambda values: sign_in.viewer_set(request, values["new"]),
        "The viewer may sign in with this password.",
    )


@require_POST
def viewer_remove_page(request: HttpRequest) -> HttpResponse:
    if viewers.viewer_remove():
        messages.success(request, "The viewer is gone, and its sessions have ended.")
    return HttpResponseRedirect(reverse("admin:security"))


@require_POST
def session_end_page(request: HttpRequest) -> HttpResponse:
    """One session, or all but this one."""
    handle = request.POST.get("handle", "")
    if not handle:
        sessions.sessions_end_others(present_key=request.session.session_key)
        messages.success(request, "All other sessions have ended.")
    elif sessions.session_end(handle=handle):
        messages.success(request, "The session has ended.")
    else:
        messages.info(request, "That session was over already.")
    return HttpResponseRedirect(reverse("admin:security"))


def urls(site: AdminSite) -> list[URLPattern]:
    hide = sensitive_post_parameters()

    def page(route: str, view: Page, name: str) -> URLPattern:
        return path(f"security/{route}", site.admin_view(hide(view)), name=name)

    return [
        page("", security_page, "security"),
        page("password/", password_page, "security_password"),
        page("password/remove/", password_remove_page, "security_password_remove"),
        page("authenticator/", totp_page, "security_totp"),
        page("authenticator/disable/", totp_disable_page, "security_totp_disable"),
        page("recovery-codes/", recovery_codes_page, "security_recovery_codes"),
        page("viewer/", viewer_page, "security_viewer"),
        page("viewer/remove/", viewer_remove_page, "security_viewer_remove"),
        page("sessions/end/", session_end_page, "security_session_end"),
    ]


def _act(
    request: HttpRequest, name: str, form: forms.Form, act: Callable[[dict[str, Any]], None], done: str
) -> HttpResponse:
    """Do it and say so; or show the page again with what is wrong beside the field."""
    refused: DashboardError | None = None
    if form.is_valid():
        try:
            act(form.cleaned_data)
        except DashboardError as error:
            refused = _told(form, error)
        else:
            messages.success(request, done)
            return HttpResponseRedirect(reverse("admin:security"))
    return _security_page(request, refused, **{name: form})


def _security_page(
    request: HttpRequest, refused: DashboardError | None = None, **bound: forms.Form
) -> HttpResponse:
    now = timezone.now()
    on = gate.locks(request)
    context = {
        **site.each_context(request),
        "title": "Security",
        "locks": on,
        "has_password": selectors.has_password(),
        "totp_device": selectors.totp_device(),
        "recovery_codes_left": selectors.recovery_codes_left(),
        "has_viewer": viewers.viewer() is not None,
        "viewer_form": ViewerForm(auto_id="viewer_%s"),
        "sessions": sessions.sessions_list(present_key=request.session.session_key, now=now),
        "settings_url": reverse("admin:proxy_settings_changelist"),
        "password_form": _password_form(request),
        "password_remove_form": PasswordForm(auto_id="remove_%s"),
        "totp_disable_form": CodeForm(auto_id="disable_%s"),
        "recovery_codes_form": CodeForm(auto_id="recovery_%s"),
        **bound,
    }
    return _answer(request, "admin/security.html", context, refused)


def _recovery_codes_page(request: HttpRequest, made: list[str]) -> HttpResponse:
    context = {**site.each_context(request), "title": "Recovery codes", "codes": made}
    return _answer(request, "admin/recovery_codes.html", context, None)


def _secret_of(request: HttpRequest) -> str:
    """The one that the page has shown, or a new one."""
    try:
        return codes.parse_secret(request.POST.get("secret", ""))
    except codes.SecretError:
        return codes.new_secret()


def _password_form(request: HttpRequest, data: Any = None) -> forms.Form:
    if selectors.has_password():
        return NewPasswordForm(data)
    return FirstPasswordForm(data, asks_token=_asks_token(request))


def _asks_token(request: HttpRequest) -> bool:
    return gate.locks(request).are_open and sign_in.needs_setup_token(request)


def _place(form: forms.Form, error: DashboardError) -> str | None:
    """The field that the error belongs to."""
    return next((name for name in _PLACES.get(error.code, ()) if name in form.fields), None)


def _told(form: forms.Form, error: DashboardError) -> DashboardError:
    form.add_error(_place(form, error), error.message)
    return error


def _answer(
    request: HttpRequest, template: str, context: dict[str, Any], refused: DashboardError | None
) -> HttpResponse:
    """A form that is shown again is a 200, as browsers expect; only too many tries are told by the status."""
    response = TemplateResponse(request, template, context)
    if refused is not None and refused.status_code == sign_in.TOO_MANY:
        response.status_code = sign_in.TOO_MANY
        response.headers["Retry-After"] = refused.headers["Retry-After"]
    return response


def _next_url(request: HttpRequest) -> str:
    wanted = request.GET.get("next", "")
    safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if safe else reverse("admin:index")
