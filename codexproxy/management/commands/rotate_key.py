"""Replaces the encryption key."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts import audit
from accounts.encryption_check import remember_first_key, verify_key
from codexproxy.crypto import EncryptionKeyError, KeyRing, split_keys
from codexproxy.in_use import is_served
from codexproxy.key_rotation import put_new_key_first, reencrypt, write_key_file


class Command(BaseCommand):
    help = (
        "Write every stored secret with the first encryption key. With --new, make a new key first and "
        "drop the old ones afterwards. Stop the server first."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--new", action="store_true", help="make a new key in the key file")

    def handle(self, *args: Any, **options: Any) -> None:
        file = Path(settings.ENCRYPTION_KEY_FILE)
        if options["new"] and os.environ.get("CODEXPROXY_ENCRYPTION_KEY"):
            raise CommandError(
                "The key comes from CODEXPROXY_ENCRYPTION_KEY: put a new one in front of it there, separated "
                "by a comma, run this without --new, and take the old one away afterwards."
            )
        if is_served():
            raise CommandError("The database is in use: stop the server first.")
        try:
            verify_key()
            # The old keys stay in the file until everything is written with the new one.
            keys = put_new_key_first(file) if options["new"] else settings.ENCRYPTION_KEYS
            ring = KeyRing(split_keys(keys))
            with transaction.atomic():
                written = reencrypt(ring)
                audit.record(
                    "encryption_key_rotated", subject=ring.fingerprints[0], detail=f"{written} secrets"
                )
        except EncryptionKeyError as error:
            raise CommandError(str(error)) from None
        remember_first_key(ring)
        if options["new"]:
            write_key_file(file, split_keys(keys)[:1])
        self.stdout.write(f"{written} secrets are written with key {ring.fingerprints[0]}.")
