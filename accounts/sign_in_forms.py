"""The forms of the page Add account."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts import auth_file

MAX_FILES = 50


class ManyFilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class ForgetfulTextarea(forms.Textarea):
    """SECURITY: tokens that were refused are not sent back into the page."""

    def format_value(self, value: Any) -> str | None:
        return None


class ManyFilesField(forms.FileField):
    widget = ManyFilesInput

    def clean(self, data: Any, initial: Any = None) -> list[Any]:
        clean_one = super().clean
        return [clean_one(file, initial) for file in data or []]


class ImportForm(forms.Form):
    """One or several auth.json files, chosen, dropped or pasted."""

    uploads = ManyFilesField(
        label="Choose or drop files",
        required=False,
        # The parser names the file that is empty; Django's own error does not.
        allow_empty_file=True,
        help_text=(
            "Codex CLI keeps its own in ~/.codex/auth.json, OpenCode in ~/.local/share/opencode/auth.json."
        ),
    )
    pasted = forms.CharField(
        label="Or paste one or several",
        required=False,
        strip=True,
        max_length=auth_file.MAX_AUTH_FILE_BYTES,
        widget=ForgetfulTextarea(attrs={"rows": "5", "spellcheck": "false", "autocomplete": "off"}),
    )

    def clean_uploads(self) -> list[auth_file.ParsedAuth]:
        found, errors = [], []
        for file in self.cleaned_data["uploads"]:
            if file.size > auth_file.MAX_AUTH_FILE_BYTES:
                errors.append(f"{file.name}: is too large to be an auth.json")
                continue
            try:
                found.append(auth_file.parse(file.read()))
            except auth_file.AuthFileError as error:
                errors.append(f"{file.name}: {error}")
        if errors:
            raise forms.ValidationError(errors)
        return found

    def clean_pasted(self) -> list[auth_file.ParsedAuth]:
        text = self.cleaned_data["pasted"]
        if not text:
            return []
        try:
            return [auth_file.parse(document) for document in auth_file.documents(text)]
        except auth_file.AuthFileError as error:
            raise forms.ValidationError(str(error)) from error

    def found(self) -> list[auth_file.ParsedAuth]:
        """Each sign-in once, however often it was given."""
        given = [*self.cleaned_data["uploads"], *self.cleaned_data["pasted"]]
        return list({auth.refresh_token: auth for auth in given}.values())

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors and not (cleaned["uploads"] or cleaned["pasted"]):
            raise forms.ValidationError("Choose a file or paste its content.")
        if not self.errors and len(self.found()) > MAX_FILES:
            raise forms.ValidationError(f"Bring at most {MAX_FILES} files at once.")
        return cleaned


class PasteForm(forms.Form):
    """The address that the browser ended on."""

    address = forms.CharField(
        label="The address that the browser ended on",
        max_length=8192,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        error_messages={"required": "Paste the address that the browser ended on."},
    )
