"""Hands the whole install out as one encrypted file. A restore needs a stopped server, and so has no page."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import IO, Any

from django import forms
from django.conf import settings
from django.contrib.admin import site
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from accounts.models import AuditEvent
from codexproxy import gate, sign_in
from codexproxy.backup import PASSPHRASE_LENGTH, BackupRefused, backup_write, check_passphrase
from codexproxy.crypto import EncryptionKeyError
from codexproxy.errors import DashboardError
from codexproxy.security_forms import CodeForm, PasswordForm, same_twice, secret_field

_BLOCK_BYTES = 256 * 1024


class BackupForm(forms.Form):
    """With a field for each lock: an open session may be unattended."""

    new = secret_field(
        "passphrase of the file",
        "new-password",
        f"At least {PASSPHRASE_LENGTH} characters. Nobody can read the backup without it, you neither.",
    )
    again = secret_field("the same again", "new-password")
    with_requests = forms.BooleanField(
        label="with the rows of single requests",
        required=False,
        initial=True,
        help_text="They make the file large. The sums of each hour are in it either way.",
    )
    password = PasswordForm.base_fields["password"]
    code = CodeForm.base_fields["code"]

    def __init__(self, *args: Any, locks: gate.Locks, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not locks.password:
            del self.fields["password"]
        if not locks.totp:
            del self.fields["code"]

    def clean_new(self) -> str:
        typed: str = self.cleaned_data["new"]
        try:
            check_passphrase(typed)
        except BackupRefused as error:
            raise forms.ValidationError(str(error)) from None
        return typed

    def clean(self) -> dict[str, Any]:
        return same_twice(self, super().clean() or self.cleaned_data)


class _Download:
    """The file in blocks, read off the event loop; closed with the response, also when nobody takes it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while block := await asyncio.to_thread(self._file.read, _BLOCK_BYTES):
            yield block

    def close(self) -> None:
        self._file.close()


@never_cache
@sensitive_post_parameters()
def backup_page(request: HttpRequest) -> HttpResponseBase:
    form = BackupForm(request.POST or None, locks=gate.locks(request))
    status = 200
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        try:
            sign_in.prove_again(request, values.get("password", ""), values.get("code", ""))
            return _download(values["new"], with_requests=values["with_requests"])
        except DashboardError as error:
            status = error.status_code if error.status_code == sign_in.TOO_MANY else status
            form.add_error("code" if "totp" in error.code else "password", error.message)
        except (EncryptionKeyError, DatabaseError, OSError) as error:
            form.add_error(None, f"The backup could not be made: {error}")
    context = {
        **site.each_context(request),
        "title": "Backup",
        "form": form,
        "newest": AuditEvent.objects.filter(action="install_backed_up").order_by("-at").first(),
    }
    return TemplateResponse(request, "admin/backup.html", context, status=status)


def _download(passphrase: str, *, with_requests: bool) -> HttpResponse | StreamingHttpResponse:
    """Made whole first: a slow download must not hold a transaction open, and a failure can still be told."""
    with ExitStack() as on_failure:
        # Without a name, gone at the latest with this process; what is in it is encrypted already.
        file = on_failure.enter_context(tempfile.TemporaryFile(dir=settings.DATA_DIR))
        backup_write(file, passphrase=passphrase, with_requests=with_requests)
        size = file.tell()
        file.seek(0)
        # From here on the response closes it.
        on_failure.pop_all()
    name = f"codexproxy-{timezone.now():%Y%m%d-%H%M%S}.backup"
    return StreamingHttpResponse(
        _Download(file),
        content_type="application/octet-stream",
        headers={
            "Cache-Control": "no-store",
            "Content-Length": str(size),
            "Content-Disposition": f'attachment; filename="{name}"',
        },
    )
