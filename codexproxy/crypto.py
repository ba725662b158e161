"""Encrypts what must not be readable in the database: a ring of Fernet keys and a model field."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


class EncryptionKeyError(Exception):
    """The encryption key is missing, malformed or not the one that the data was written with."""


class KeyRing:
    """The first key encrypts; every key decrypts."""

    def __init__(self, keys: list[str]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            raise EncryptionKeyError(
                "the encryption key is malformed: it must be 32 bytes in URL-safe base64 "
                "(several keys are separated by commas or line ends)"
            ) from None
        self.fingerprints = [hashlib.sha256(b"codexproxy:" + key.encode()).hexdigest()[:16] for key in keys]

    def encrypt(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """Raises EncryptionKeyError when none of the keys fits."""
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken:
            raise EncryptionKeyError(
                "a stored secret cannot be decrypted with the present encryption key"
            ) from None


def split_keys(text: str) -> list[str]:
    return text.replace(",", "\n").split()


def create_key_file(path: Path) -> str:
    """Write a new key to `path` (mode 0600) and return it; an existing file is never overwritten."""
    key = Fernet.generate_key().decode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")
    return key


@lru_cache(maxsize=4)
def _ring(keys: str) -> KeyRing:
    return KeyRing(split_keys(keys))


def key_ring() -> KeyRing:
    return _ring(settings.ENCRYPTION_KEYS)


class EncryptedTextField(models.TextField):  # type: ignore[type-arg]
    """Text that is encrypted in the database and plain in Python; it cannot be searched."""

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return value if value in (None, "") else key_ring().encrypt(value)

    def from_db_value(self, value: str | None, expression: object, connection: object) -> str | None:
        return value if value in (None, "") else key_ring().decrypt(str(value))
