"""Puts a backup into this install."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from codexproxy.backup_file import OtherFormat
from codexproxy.crypto import EncryptionKeyError
from codexproxy.in_use import is_served
from codexproxy.passphrase import add_argument, passphrase
from codexproxy.restore import RestoreRefused, restore
from codexproxy.sealed import SealError


class Command(BaseCommand):
    help = "Put a backup into this install, which must be empty. Stop the server first."
    # Before the first start there are no tables to check.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="what manage.py backup has written")
        parser.add_argument(
            "--replace", action="store_true", help="remove everything that is in this install first"
        )
        add_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        try:
            if is_served():
                raise CommandError("The database is in use: stop every server first.")
            word = passphrase(options, twice=False)
            made = restore(file, passphrase=word, replace=options["replace"])
        except (RestoreRefused, OtherFormat, SealError, EncryptionKeyError) as error:
            raise CommandError(str(error)) from None
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used: {error}") from None
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}") from None
        self.stdout.write(f"{made.rows} rows of {made.tables} tables are restored.")
