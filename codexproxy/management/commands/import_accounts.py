"""Adds accounts from auth.json files; a known account is updated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import auth_file, services


class Command(BaseCommand):
    help = "Add accounts from auth.json files (Codex CLI keeps its own in ~/.codex/auth.json)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")

    def handle(self, *args: Any, **options: Any) -> None:
        files: list[Path] = options["files"]
        failed = 0
        for file in files:
            try:
                self.stdout.write(_import(file))
            except (OSError, auth_file.AuthFileError) as error:
                failed += 1
                reason = error.strerror if isinstance(error, OSError) else error
                self.stderr.write(f"{file}: {reason}")
        if failed:
            raise CommandError(f"{failed} of {len(files)} files could not be imported")


def _import(file: Path) -> str:
    with file.open("rb") as opened:
        content = opened.read(auth_file.MAX_AUTH_FILE_BYTES + 1)
    if len(content) > auth_file.MAX_AUTH_FILE_BYTES:
        raise auth_file.AuthFileError("is too large to be an auth.json")
    result = services.account_import(auth=auth_file.parse(content), source="import_accounts")
    account = result.account
    return f"{'added' if result.created else 'updated'} {account.email} ({account.plan_type})"
