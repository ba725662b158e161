"""The forms of the security pages. They look at what was typed; whether it is right, `sign_in` knows."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.operators.services import PASSWORD_LENGTH, PasswordRefused, check_password_rules

_LONGEST = 1024


def secret_field(label: str, autocomplete: str, help_text: str = "") -> forms.CharField:
    attributes = {"autocomplete": autocomplete, "class": "cp-input"}
    return forms.CharField(
        label=label,
        strip=False,
        max_length=_LONGEST,
        help_text=help_text,
        widget=forms.PasswordInput(attrs=attributes),
    )


def _code(help_text: str) -> forms.CharField:
    attributes = {
        "autocomplete": "one-time-code",
        "autocapitalize": "off",
        "spellcheck": "false",
        "class": "cp-input cp-code",
    }
    return forms.CharField(
        label="code", max_length=64, help_text=help_text, widget=forms.TextInput(attrs=attributes)
    )


class PasswordForm(forms.Form):
    password = secret_field("password", "current-password")


class CodeForm(forms.Form):
    """A code of the authenticator, spent or not, or a recovery code."""

    code = _code("The six digits of your authenticator app, or a recovery code.")


class SignInCodeForm(CodeForm):
    code = _code("The six digits of your authenticator app. Each code works once. A recovery code works too.")


class SetupForm(forms.Form):
    """Asks for the set-up token where one is needed."""

    setup_token = forms.CharField(
        label="set-up token",
        max_length=_LONGEST,
        help_text="You are not on the machine that the server runs on: CODEXPROXY_DASHBOARD_SETUP_TOKEN.",
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "class": "cp-input"}),
    )

    def __init__(self, *args: Any, asks_token: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not asks_token:
            del self.fields["setup_token"]


class FirstPasswordForm(SetupForm):
    new = secret_field("new password", "new-password", f"At least {PASSWORD_LENGTH} characters.")
    again = secret_field("the same again", "new-password")

    field_order = ("new", "again", "setup_token")

    def clean_new(self) -> str:
        return _checked(self.cleaned_data["new"])

    def clean(self) -> dict[str, Any]:
        return same_twice(self, super().clean() or self.cleaned_data)


class ViewerForm(forms.Form):
    new = secret_field("viewer's password", "new-password", f"At least {PASSWORD_LENGTH} characters.")
    again = secret_field("viewer's password again", "new-password")

    def clean_new(self) -> str:
        return _checked(self.cleaned_data["new"])

    def clean(self) -> dict[str, Any]:
        return same_twice(self, super().clean() or self.cleaned_data)


class NewPasswordForm(forms.Form):
    current = secret_field("present password", "current-password")
    new = secret_field("new password", "new-password", f"At least {PASSWORD_LENGTH} characters.")
    again = secret_field("the same again", "new-password")

    def clean_new(self) -> str:
        return _checked(self.cleaned_data["new"])

    def clean(self) -> dict[str, Any]:
        return same_twice(self, super().clean() or self.cleaned_data)


class ConfirmForm(SetupForm):
    code = _code("The six digits that the app shows now.")

    field_order = ("code", "setup_token")


def _checked(password: str) -> str:
    try:
        check_password_rules(password)
    except PasswordRefused as error:
        raise forms.ValidationError(str(error)) from None
    return password


def same_twice(form: forms.Form, cleaned: dict[str, Any]) -> dict[str, Any]:
    if "new" in cleaned and "again" in cleaned and cleaned["new"] != cleaned["again"]:
        form.add_error("again", "This is not the same as above.")
    return cleaned
