"""Adds accounts from auth.json files; a known account is updated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from accounts import auth_file, importing
from accounts.encryption_check import verify_key
from accounts.tokens import END_S
from accounts.unsaved import of_process
from codexproxy.crypto import EncryptionKeyError


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
        try:
            # Before a token is spent, or written under a key that the servers do not have.
            verify_key()
        except EncryptionKeyError as error:
            raise CommandError(str(error)) from None
        files: list[Path] = options["files"]
        found: list[tuple[auth_file.ParsedAuth, Path]] = []
        failed = 0
        for file in files:
            try:
                found.append((_read(file), file))
            except (OSError, auth_file.AuthFileError) as error:
                failed += 1
                reason = error.strerror if isinstance(error, OSError) else error
                self.stderr.write(f"{file}: {reason}")
        stored: list[auth_file.ParsedAuth] = []
        found.sort(key=lambda read: importing.newness(read[0]), reverse=True)
        for auth, file in found:
            try:
                self.stdout.write(_import(auth, before=stored, verify=not options["no_verify"]))
            except (ValidationError, NotImported) as error:
                failed += 1
                self.stderr.write(f"{file}: {_words(error)}")
            except DatabaseError:
                # The file's token may be spent: what it brought is lost with this process.
                of_process.end(END_S)
                raise
            else:
                stored.append(auth)
        if failed:
            raise CommandError(f"{failed} of {len(files)} files could not be imported")


def _words(error: ValidationError | NotImported) -> str:
    return importing.explain(error) if isinstance(error, ValidationError) else str(error)


def _read(file: Path) -> auth_file.ParsedAuth:
    """Raises OSError and AuthFileError."""
    with file.open("rb") as opened:
        content = opened.read(auth_file.MAX_AUTH_FILE_BYTES + 1)
    if len(content) > auth_file.MAX_AUTH_FILE_BYTES:
        raise auth_file.AuthFileError("is too large to be an auth.json")
    return auth_file.parse(content)


def _import(auth: auth_file.ParsedAuth, *, before: list[auth_file.ParsedAuth], verify: bool) -> str:
    """Raises ValidationError and NotImported."""
    brought = importing.bring(auth=auth, source="import_accounts", before=before, verify=verify)
    account = brought.account
    if brought.outcome is importing.Outcome.REFUSED or account is None:
        raise NotImported(brought.message)
    told = f"{account.email} ({account.plan_type})"
    if brought.outcome is importing.Outcome.KEPT:
        return f"kept {told}: {brought.message}"
    done = f"{'added' if brought.created else 'updated'} {told}"
    return f"{done}, not verified: {brought.message}" if brought.message else done
