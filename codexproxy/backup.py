"""The whole install in one sealed file: every app's rows, as they were at one moment.

Inside the seal are lines of JSON: what the backup is of, then for each table its name and columns, its rows
and their number, at last the number of all rows. Values are what a model has, not what a database keeps, so
that the file goes from SQLite to PostgreSQL and back. Secrets are opened with the install's key and lie under
the passphrase alone: who restores has a key of their own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import zstandard
from django.apps import apps
from django.db import connection, models, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from accounts import audit
from codexproxy import VERSION
from codexproxy.sealed import SealedWriter, Writable

FORMAT = 1
PASSPHRASE_LENGTH = 12
REQUEST_ROWS = "requestlogs.requestrecord"
# Every other table is in the file. A new one is, unless it is named here with its reason.
NOT_CARRIED = {
    "admin.logentry": "the audit log tells more",
    "auth.permission": "made by migrate",
    "auth.group": "not used",
    "auth.group_permissions": "not used",
    "auth.user_groups": "not used",
    "auth.user_user_permissions": "not used",
    "contenttypes.contenttype": "made by migrate",
    "sessions.session": "signed with the key of the install that it belongs to",
    "accounts.lease": "a process that runs",
    "accounts.jobrun": "a process that ran",
    "accounts.configversion": "each install counts its own changes",
    "accounts.encryptionkeyfingerprint": "each install has a key of its own",
    "accounts.signinflow": "a sign-in lasts for minutes",
    "operators.try": "wrong passwords of the last minute",
    "proxy.reservation": "a request that runs",
}
_ROWS_AT_ONCE = 1000
_COMPRESSION_LEVEL = 6


class BackupRefused(Exception):
    """The message says why, for an operator."""


@dataclass(frozen=True, slots=True)
class Made:
    tables: int
    rows: int


def carried(known: Any = apps) -> list[type[models.Model]]:
    """The models whose rows a backup has; `known` are the apps of now, or as a migration left them."""
    found = known.get_models(include_auto_created=True)
    return [model for model in found if not model._meta.proxy and model._meta.label_lower not in NOT_CARRIED]


def backup_write(file: Writable, *, passphrase: str, with_requests: bool = True) -> Made:
    """Whoever writes to the database meanwhile does not wait for this, and is not in it.

    Raises BackupRefused, and EncryptionKeyError when a secret cannot be opened.
    """
    check_passphrase(passphrase)
    sealed = SealedWriter(file, passphrase)
    compressor = zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL).stream_writer(
        cast(IO[bytes], sealed), closefd=False
    )
    made = Made(0, 0)
    with _one_moment():
        compressor.write(_line(_manifest(with_requests)))
        for model in carried():
            if with_requests or model._meta.label_lower != REQUEST_ROWS:
                made = Made(made.tables + 1, made.rows + _write_table(compressor, model))
    compressor.write(_line({"end": made.rows}))
    compressor.close()  # type: ignore[no-untyped-call]
    sealed.finish()
    detail = f"{made.rows} rows" + ("" if with_requests else ", without the rows of requests")
    audit.record("install_backed_up", detail=detail)
    return made


def backup_to(path: Path, *, passphrase: str, with_requests: bool = True) -> Made:
    """Into a new file that only its owner reads; it appears when it is complete. Raises OSError besides."""
    check_passphrase(passphrase)
    if path.exists():
        raise BackupRefused(f"{path} exists already: name another file, or move it away.")
    part = path.with_name(path.name + ".part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BackupRefused(f"{part} is left of a backup that was broken off, or one runs now.") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            made = backup_write(file, passphrase=passphrase, with_requests=with_requests)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    return made


def check_passphrase(passphrase: str) -> None:
    """Whoever has the file may guess as often as they like."""
    if len(passphrase) < PASSPHRASE_LENGTH:
        raise BackupRefused(f"The passphrase must have at least {PASSPHRASE_LENGTH} characters.")


@contextmanager
def _one_moment() -> Iterator[None]:
    """All that is read inside was so at the same time."""
    if connection.vendor == "sqlite":
        # Not Django's transaction: that one is IMMEDIATE and would keep everybody else from writing.
        with connection.cursor() as cursor:
            cursor.execute("BEGIN DEFERRED")
            try:
                yield
            finally:
                cursor.execute("ROLLBACK")
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _manifest(with_requests: bool) -> dict[str, object]:
    return {
        "backup": FORMAT,
        "version": VERSION,
        "made_at": timezone.now(),
        "database": connection.vendor,
        "requests": with_requests,
        "migrations": sorted(MigrationRecorder(connection).applied_migrations()),
    }


def _write_table(out: Writable, model: type[models.Model]) -> int:
    columns = [field.attname for field in model._meta.local_concrete_fields]
    out.write(_line({"table": model._meta.label_lower, "columns": columns}))
    rows = model._base_manager.order_by("pk").values_list(*columns)
    number = 0
    for row in rows.iterator(chunk_size=_ROWS_AT_ONCE):
        out.write(_line(row))
        number += 1
    out.write(_line({"rows": number}))
    return number


def _line(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"
