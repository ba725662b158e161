"""Writes the whole install into one encrypted file."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from codexproxy.backup import BackupRefused, backup_to
from codexproxy.crypto import EncryptionKeyError
from codexproxy.passphrase import add_argument, passphrase


class Command(BaseCommand):
    help = "Write the whole install into one encrypted file. The server may go on running."
    requires_migrations_checks = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="the new file")
        parser.add_argument(
            "--without-requests",
            action="store_true",
            help="leave the rows of single requests out; the sums of each hour are kept",
        )
        add_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        try:
            made = backup_to(
                file,
                passphrase=passphrase(options, twice=True),
                with_requests=not options["without_requests"],
            )
        except (BackupRefused, EncryptionKeyError) as error:
            raise CommandError(str(error)) from None
        except DatabaseError as error:
            raise CommandError(f"The database cannot be read: {error}") from None
        except OSError as error:
            raise CommandError(f"{file} cannot be written: {error.strerror}") from None
        self.stdout.write(f"{made.rows} rows of {made.tables} tables are in {file}.")
        self.stdout.write("Without the passphrase nobody can read it: keep that somewhere else.")
