"""For the locked-out: takes the second factor away."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from accounts import audit
from accounts.operators import selectors, services
from codexproxy.sign_in import totp_clear
from proxy.settings_services import settings_get, settings_update


class Command(BaseCommand):
    help = "Remove the authenticator and its recovery codes, no longer require a code, end every session."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--password", action="store_true", help="remove the password and its lock too")

    def handle(self, *args: Any, **options: Any) -> None:
        audit.record("otp_reset", detail="with the password" if options["password"] else "")
        had_totp = totp_clear()
        self.stdout.write("The authenticator is removed." if had_totp else "No authenticator was set up.")
        if options["password"]:
            self.stdout.write(_remove_password())
        self.stdout.write("Every session has ended.")
        if settings_get().require_password:
            self.stdout.write("The password is still required; --password removes it.")


@transaction.atomic
def _remove_password() -> str:
    if settings_get().require_password:
        settings_update(require_password=False)
    if not selectors.has_password():
        return "No password was set."
    services.password_remove()
    return "The password is removed."
