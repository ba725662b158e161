"""The forms of API keys: dollars as dollars, and the checks of the services beside the fields."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from accounts.models import Account, AccountGroup
from codexproxy.admin_base import Textarea, TextInput
from proxy.key_services import LimitRule, api_key_check
from proxy.models import ApiKey, ApiKeyLimit

_MICRO = 1_000_000
FIELDS = (
    "name", "note", "enabled", "expires_at", "allowed_models", "enforced_model", "enforced_effort",
    "allowed_efforts", "enforced_tier", "max_parallel", "is_bound", "account_ids",
    "group_ids",
)  # fmt: skip


class NamesField(forms.CharField):
    """Names separated by commas or line ends."""

    widget = Textarea(attrs={"rows": 3, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return str(value or "").replace(",", "\n").split()


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    allowed_models = NamesField(required=False, help_text="One on each line. Empty: every model.")
    allowed_efforts = forms.MultipleChoiceField(
        label="Allowed reasoning efforts",
        choices=ApiKey.Effort.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None: every effort.",
    )
    account_ids = forms.MultipleChoiceField(
        label="Accounts",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Counts while “only certain accounts” is on. Deleting an account never adds others.",
    )

    group_ids = forms.TypedMultipleChoiceField(
        label="Account groups",
        required=False,
        coerce=int,
        empty_value=[],
        widget=forms.CheckboxSelectMultiple,
        help_text="Also counts while “only certain accounts” is on: every account that is in one of them.",
    )

    class Meta:
        model = ApiKey
        fields = FIELDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        groups = {group.pk: group.name for group in AccountGroup.objects.all()}
        groups |= {gone: f"group {gone} (deleted)" for gone in self.instance.group_ids if gone not in groups}
        self._offer("group_ids", groups)
        choices = {account.pk: account.display_name for account in Account.objects.order_by("email", "id")}
        gone = [known for known in self.instance.account_ids if known not in choices]
        choices |= {account_id: f"{account_id} (deleted)" for account_id in gone}
        self._offer("account_ids", choices)

    def _offer(self, name: str, choices: Mapping[Any, str]) -> None:
        field = self.fields[name]
        if isinstance(field, forms.MultipleChoiceField):
            field.choices = list(choices.items())

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                api_key_check(key_id=self.instance.pk, **{name: cleaned[name] for name in FIELDS})
            except ValidationError as error:
                self.add_error(None, error)
        return cleaned


class LimitForm(forms.ModelForm):  # type: ignore[type-arg]
    """`amount` is what an operator reads and writes: a count, or dollars."""

    amount = forms.DecimalField(
        label="At most",
        max_digits=18,
        decimal_places=6,
        min_value=Decimal("0.000001"),
        help_text="A number, or dollars for the cost.",
        widget=TextInput(attrs={"inputmode": "decimal"}),
    )

    class Meta:
        model = ApiKeyLimit
        fields = ("kind", "window", "model")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # In a table of rows the heading of the column is no label of the field.
        for field in self.fields.values():
            field.widget.attrs["aria-label"] = str(field.label).capitalize()
        if self.instance.pk:
            self.initial["amount"] = amount_of(self.instance.kind, self.instance.max_value)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        amount = cleaned.get("amount")
        if amount is not None and cleaned.get("kind") != ApiKeyLimit.Kind.COST and amount != int(amount):
            self.add_error("amount", "This must be a whole number.")
        return cleaned

    def rule(self) -> LimitRule:
        kind, amount = self.cleaned_data["kind"], self.cleaned_data["amount"]
        value = int(amount * _MICRO) if kind == ApiKeyLimit.Kind.COST else int(amount)
        return LimitRule(kind, self.cleaned_data["window"], value, self.cleaned_data["model"].strip())


class LimitFormSet(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    def rules(self) -> list[LimitRule]:
        """Those that are filled in and not to be deleted."""
        return [
            form.rule()
            for form in self.forms
            if isinstance(form, LimitForm)
            and form.is_valid()
            and form.cleaned_data.get("kind")
            and not form.cleaned_data.get("DELETE")
        ]


def amount_of(kind: str, value: int) -> Decimal:
    if kind == ApiKeyLimit.Kind.COST:
        return (Decimal(value) / _MICRO).quantize(
            Decimal("0.01") if value % 10_000 == 0 else Decimal("0.000001")
        )
    return Decimal(value)
