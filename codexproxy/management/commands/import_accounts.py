"""Adds accounts from auth.json files; a known account is updated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import auth_file, importing


class NotImported(Exception):
    """The sign-in service refuses the file's token."""


class Command(BaseCommand):
    help = "Add accounts from auth.json files (Codex CLI keeps its own in ~/.codex/auth.json)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument(
            "--no-verify",
            action="store_true",
            help="store the refresh tokens untried; trying one spends it and brings the next",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        files: list[Path] = options["files"]
        failed = 0
        for file in files:
            try:
                self.stdout.write(_import(file, verify=not options["no_verify"]))
            except (OSError, auth_file.AuthFileError, NotImported) as error:
                failed += 1
                reason = error.strerror if isinstance(error, OSError) else error
                self.stderr.write(f"{file}: {reason}")
        if failed:
            raise CommandError(f"{failed} of {len(files)} files could not be imported")


def _import(file: Path, *, verify: bool) -> str:
    """Raises OSError, AuthFileError and NotImported."""
    with file.open("rb") as opened:
        content = opened.read(auth_file.MAX_AUTH_FILE_BYTES + 1)
    if len(content) > auth_file.MAX_AUTH_FILE_BYTES:
        raise auth_file.AuthFileError("is too large to be an auth.json")
    brought = importing.bring(auth=auth_file.parse(content), source="import_accounts", verify=verify)
    account = brought.account
    if brought.outcome is importing.Outcome.REFUSED or account is None:
        raise NotImported(brought.message)
    told = f"{account.email} ({account.plan_type})"
    if brought.outcome is importing.Outcome.KEPT:
        return f"kept {told}: {brought.message}"
    done = f"{'added' if brought.created else 'updated'} {told}"
    return f"{done}, not verified: {brought.message}" if brought.message else done
