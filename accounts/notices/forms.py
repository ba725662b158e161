"""The form of the notice settings: what is secret is taken and never shown."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.notices.services import check_password_again
from codexproxy.admin_base import PasswordInput, Switch, TextInput

SECRETS = ("webhook_url", "webhook_secret", "smtp_password")


def forget_name(secret: str) -> str:
    return f"forget_{secret}"


def _forget(label: str) -> forms.BooleanField:
    return forms.BooleanField(required=False, label=label, widget=Switch())


class NoticeSettingsForm(forms.ModelForm):  # type: ignore[type-arg]
    """A secret's field begins empty, and left empty it keeps what is stored."""

    webhook_url = forms.CharField(
        label="Address",
        required=False,
        max_length=2000,
        widget=TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "inputmode": "url"}),
    )
    webhook_secret = forms.CharField(
        label="Signing secret",
        required=False,
        max_length=500,
        widget=PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    smtp_password = forms.CharField(
        label="Password",
        required=False,
        strip=False,
        max_length=500,
        widget=PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    forget_webhook_url = _forget("Forget this address")
    forget_webhook_secret = _forget("Forget the signing secret")
    forget_smtp_password = _forget("Forget the password")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row = self.instance
        kept = "Kept encrypted and never shown."
        help_texts = {
            "webhook_url": f"Set, to {row.webhook_host}. Empty: it stays." if row.webhook_url else
            "Each notice is sent there as JSON, in a POST. It may hold a token: it is kept encrypted, and of "
            "it only the host is shown.",
            "webhook_secret": f"Set. Empty: it stays. {kept}" if row.webhook_secret else
            f"May be empty. With one each request is signed in its header X-Codexproxy-Signature. {kept}",
            "smtp_password": f"Set. Empty: it stays. {kept}" if row.smtp_password else kept,
        }  # fmt: skip
        for name, words in help_texts.items():
            self.initial[name] = ""
            if name in self.fields:
                self.fields[name].help_text = words

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        for name in SECRETS:
            if name in cleaned and not cleaned[name]:
                stored = "" if cleaned.get(forget_name(name)) else getattr(self.instance, name)
                cleaned[name] = stored
        own = {name: value for name, value in cleaned.items() if not name.startswith("forget_")}
        check_password_again(self.instance, own)
        return cleaned
