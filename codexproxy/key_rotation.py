"""Writes every stored secret anew with the first key of the ring."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cryptography.fernet import Fernet
from django.apps import apps
from django.db import connection, models, transaction

from codexproxy.crypto import EncryptedTextField, KeyRing


def encrypted_fields() -> Iterator[tuple[type[models.Model], EncryptedTextField]]:
    """Every field of this project that holds a secret."""
    for model in apps.get_models():
        for field in model._meta.local_fields:
            if isinstance(field, EncryptedTextField):
                yield model, field


@transaction.atomic
def reencrypt(ring: KeyRing) -> int:
    """Returns how many secrets were written. All or nothing; raises EncryptionKeyError."""
    return sum(_reencrypt_field(model, field, ring) for model, field in encrypted_fields())


def _reencrypt_field(model: type[models.Model], field: EncryptedTextField, ring: KeyRing) -> int:
    names = (model._meta.db_table, str(field.column), str(model._meta.pk.column))
    table, column, key = (connection.ops.quote_name(name) for name in names)
    # Raw: the field's own reading would hide what is stored, which the update below compares with.
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {key}, {column} FROM {table} WHERE {column} <> ''")  # noqa: S608
        rows = cursor.fetchall()
        written = 0
        for primary_key, stored in rows:
            fresh = ring.encrypt(ring.decrypt(stored))
            cursor.execute(
                f"UPDATE {table} SET {column} = %s WHERE {key} = %s AND {column} = %s",  # noqa: S608
                [fresh, primary_key, stored],
            )
            written += cursor.rowcount
    return written


def put_new_key_first(path: Path) -> str:
    """Add a new key in front of those in the file, and return the file's whole content."""
    keys = [Fernet.generate_key().decode(), *path.read_text().split()]
    write_key_file(path, keys)
    return "\n".join(keys)


def write_key_file(path: Path, keys: list[str]) -> None:
    """Replace the file at once, readable by its owner only: half a key file would lose everything."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join(keys) + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
