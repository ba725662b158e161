from __future__ import annotations

import io
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import AuditEvent
from codexproxy.backup import NOT_CARRIED, BackupRefused, backup_to, backup_write, carried
from codexproxy.backup_file import BackupFile
from codexproxy.crypto import EncryptionKeyError
from requestlogs.models import RequestRecord, UsageHour
from tests.codexproxy.installs import PASSPHRASE, fill

pytestmark = pytest.mark.django_db(transaction=True)


def tables(file: bytes) -> dict[str, list[list[Any]]]:
    return {table.table: list(rows) for table, rows in BackupFile(io.BytesIO(file), PASSPHRASE).tables()}


def written(**options: Any) -> bytes:
    file = io.BytesIO()
    backup_write(file, passphrase=PASSPHRASE, **options)
    return file.getvalue()


def test_every_table_is_carried_or_has_a_reason_not_to_be() -> None:
    labels = {
        model._meta.label_lower
        for model in apps.get_models(include_auto_created=True)
        if not model._meta.proxy
    }
    assert NOT_CARRIED.keys() <= labels
    assert {model._meta.label_lower for model in carried()} == labels - NOT_CARRIED.keys()


def test_the_install_of_the_tests_has_something_in_every_table() -> None:
    fill()
    assert [name for name, rows in tables(written()).items() if not rows] == []


def test_secrets_are_under_the_passphrase_and_not_under_the_install_s_key() -> None:
    fill()
    file = written()
    assert b"refresh-1-of-" not in file
    assert any("refresh-1-of-acc-1_00000001" in row for row in tables(file)["accounts.credential"])


def test_the_rows_of_requests_can_be_left_out_and_their_sums_are_kept() -> None:
    fill()
    found = tables(written(with_requests=False))
    assert "requestlogs.requestrecord" not in found
    assert len(found["requestlogs.usagehour"]) == UsageHour.objects.count() > 0


def test_what_is_written_meanwhile_neither_waits_nor_gets_in(tmp_path: Path) -> None:
    fill()

    class Meddler(io.BytesIO):
        """Somebody else, who writes as soon as the backup has begun."""

        done = False

        def write(self, data: Any, /) -> int:
            if self.tell() and not self.done:
                self.done = True
                add_a_request()
            return super().write(data)

    file = Meddler()
    # Enough that blocks come out before the end; nothing that repeats, or it would pack to nothing.
    AuditEvent.objects.bulk_create(
        AuditEvent(actor="x", action="noise", detail=os.urandom(40).hex()) for _ in range(4000)
    )
    backup_write(file, passphrase=PASSPHRASE)
    assert file.done
    assert RequestRecord.objects.filter(request_id="late").exists()
    assert "late" not in [row[1] for row in tables(file.getvalue())["requestlogs.requestrecord"]]


def add_a_request() -> None:
    """Over a connection of its own."""
    row = RequestRecord.objects.values().first()
    assert row is not None
    names = [name for name in row if name != "id"]
    columns = ", ".join(f'"{name}"' for name in names)
    chosen = ", ".join("'late'" if name == "request_id" else f'"{name}"' for name in names)
    table = RequestRecord._meta.db_table
    sql = f"INSERT INTO {table} ({columns}) SELECT {chosen} FROM {table} LIMIT 1"
    if connection.vendor == "sqlite":
        with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=1)) as other, other:
            other.execute(sql)
        return
    other_connection = connection.copy()
    try:
        with other_connection.cursor() as cursor:
            cursor.execute(sql)
    finally:
        other_connection.close()


def test_it_is_on_the_audit_log() -> None:
    written(with_requests=False)
    event = AuditEvent.objects.get(action="install_backed_up")
    assert "without the rows of requests" in event.detail


def test_the_file_is_its_owner_s_alone_and_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "a.backup"
    backup_to(file, passphrase=PASSPHRASE)
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(BackupRefused, match="exists already"):
        backup_to(file, passphrase=PASSPHRASE)


def test_what_cannot_be_finished_leaves_no_file(tmp_path: Path, settings: Any) -> None:
    fill()
    settings.ENCRYPTION_KEYS = Fernet.generate_key().decode()
    with pytest.raises(EncryptionKeyError):
        backup_to(tmp_path / "a.backup", passphrase=PASSPHRASE)
    assert list(tmp_path.iterdir()) == []


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    word = tmp_path / "word"
    word.write_text("too short\n")
    with pytest.raises(CommandError, match="at least 12 characters"):
        call_command("backup", tmp_path / "a.backup", passphrase_file=word)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    word = tmp_path / "word"
    word.write_text(PASSPHRASE)
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("backup", tmp_path / "nowhere" / "a.backup", passphrase_file=word)
