from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from accounts import changes
from accounts.models import Account, AuditEvent, Credential, EncryptionKeyFingerprint, Lease
from accounts.operators.selectors import totp_device
from codexproxy.backup import backup_to
from codexproxy.backup_file import OtherFormat
from codexproxy.restore import RestoreRefused, first_held, restore
from codexproxy.sealed import Damaged, SealedWriter, WrongPassphrase
from proxy.models import ApiKeyLimit
from tests.accounts.operators.totp import PASSWORD
from tests.builders import make_account
from tests.codexproxy.installs import PASSPHRASE, contents, fill

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """Of an install with something in every table, which is empty again afterwards."""
    fill()
    file = tmp_path / "a.backup"
    backup_to(file, passphrase=PASSPHRASE)
    return file


def empty() -> None:
    call_command("flush", interactive=False, verbosity=0)


def sealed(path: Path, *lines: object) -> Path:
    """A backup of these lines, however wrong."""
    with path.open("wb") as file:
        writer = SealedWriter(file, PASSPHRASE)
        content = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        writer.write(zstandard.ZstdCompressor().compress(content))
        writer.finish()
    return path


def manifest(**fields: object) -> dict[str, object]:
    return {
        "backup": 1,
        "version": "0.0.1",
        "made_at": timezone.now(),
        "database": connection.vendor,
        "requests": True,
        "migrations": sorted(MigrationRecorder(connection).applied_migrations()),
        **fields,
    }


def test_every_row_is_as_it_was(backup: Path) -> None:
    before = contents()
    empty()
    made = restore(backup, passphrase=PASSPHRASE)
    assert contents() == before
    assert made.tables == len(before) + 1
    device = totp_device()
    assert device is not None and len(device.secret) == 32
    assert User.objects.get(username="operator").check_password(PASSWORD)


def test_secrets_are_written_with_the_key_of_the_install_that_restores(backup: Path, settings: Any) -> None:
    plain = Credential.objects.get().refresh_token
    empty()
    EncryptionKeyFingerprint.objects.all().delete()
    settings.ENCRYPTION_KEYS = Fernet.generate_key().decode()
    restore(backup, passphrase=PASSPHRASE)
    assert Credential.objects.get().refresh_token == plain


def test_what_is_added_afterwards_gets_a_number_of_its_own(backup: Path) -> None:
    empty()
    restore(backup, passphrase=PASSPHRASE)
    numbers = set(AuditEvent.objects.values_list("pk", flat=True))
    assert AuditEvent.objects.create(actor="x", action="later").pk not in numbers


def test_what_requests_held_of_a_limit_is_free_again(tmp_path: Path) -> None:
    fill()
    ApiKeyLimit.objects.update(reserved=3)
    backup_to(tmp_path / "a.backup", passphrase=PASSPHRASE)
    restore(tmp_path / "a.backup", passphrase=PASSPHRASE, replace=True)
    assert ApiKeyLimit.objects.get().reserved == 0
    assert ApiKeyLimit.objects.get().used == 2


def test_running_servers_would_learn_of_it_and_it_is_on_the_audit_log(backup: Path) -> None:
    empty()
    before = changes.current_version()
    restore(backup, passphrase=PASSPHRASE)
    assert changes.current_version() > before
    assert AuditEvent.objects.filter(action="install_restored").count() == 1


def test_an_install_that_is_not_empty_keeps_what_it_has(backup: Path) -> None:
    Account.objects.update(alias="changed since")
    with pytest.raises(RestoreRefused, match="not empty: it has 1 account"):
        restore(backup, passphrase=PASSPHRASE)
    assert Account.objects.get().alias == "changed since"


def test_a_password_alone_is_something_to_lose(backup: Path) -> None:
    empty()
    User.objects.create_user("operator", password=PASSWORD)
    with pytest.raises(RestoreRefused, match="a password"):
        restore(backup, passphrase=PASSPHRASE)


def test_an_install_after_its_first_start_is_empty() -> None:
    assert first_held() == ""


def test_with_replace_what_was_there_is_gone(backup: Path) -> None:
    before = contents()
    make_account("another")
    Lease.objects.create(name="job:x", expires_at=timezone.now())
    restore(backup, passphrase=PASSPHRASE, replace=True)
    assert contents() == before
    assert not Lease.objects.exists()


@pytest.mark.parametrize("left", [30, 200, -1])
def test_a_file_that_is_cut_off_changes_nothing(backup: Path, left: int) -> None:
    before = contents()
    backup.write_bytes(backup.read_bytes()[:left])
    with pytest.raises(Damaged):
        restore(backup, passphrase=PASSPHRASE, replace=True)
    assert contents() == before


def test_a_wrong_passphrase_changes_nothing(backup: Path) -> None:
    before = contents()
    with pytest.raises(WrongPassphrase):
        restore(backup, passphrase="not the passphrase", replace=True)
    assert contents() == before


def test_a_row_that_does_not_fit_undoes_the_others(tmp_path: Path) -> None:
    fill()
    before = contents()
    file = sealed(
        tmp_path / "b",
        manifest(),
        {"table": "accounts.accountgroup", "columns": ["id", "name"]},
        [7, "new"],
        {"rows": 1},
        {"table": "accounts.accountgroup_accounts", "columns": ["id", "accountgroup_id", "account_id"]},
        [1, 7, "nobody"],
        {"rows": 1},
        {"end": 2},
    )
    with pytest.raises(RestoreRefused, match="Nothing was restored"):
        restore(file, passphrase=PASSPHRASE, replace=True)
    assert contents() == before


@pytest.mark.parametrize(
    "lines",
    [
        [{"table": "proxy.settings", "columns": ["id"]}, [1], {"rows": 1}],
        [{"table": "proxy.settings", "columns": ["id"]}, {"rows": 1}, {"end": 1}],
        [{"end": 1}],
    ],
)
def test_a_backup_that_was_not_finished_is_no_backup(tmp_path: Path, lines: list[object]) -> None:
    with pytest.raises((Damaged, OtherFormat)):
        restore(sealed(tmp_path / "b", manifest(), *lines), passphrase=PASSPHRASE, replace=True)


def test_a_backup_of_a_newer_version_names_it(tmp_path: Path) -> None:
    had = [*MigrationRecorder(connection).applied_migrations(), ("proxy", "0999_of_tomorrow")]
    file = sealed(tmp_path / "b", manifest(version="9.9", migrations=had), {"end": 0})
    with pytest.raises(RestoreRefused, match=r"codexproxy 9\.9.*proxy 0999_of_tomorrow"):
        restore(file, passphrase=PASSPHRASE)


@pytest.mark.parametrize("line", [{"backup": 2}, {"something": "else"}, [1]])
def test_another_format_is_told_as_such(tmp_path: Path, line: object) -> None:
    with pytest.raises(OtherFormat):
        restore(sealed(tmp_path / "b", line), passphrase=PASSPHRASE)


def test_a_backup_of_an_older_version_does_not_replace_anything(tmp_path: Path) -> None:
    make_account()
    (newest,) = MigrationLoader(connection).graph.leaf_nodes("usage")
    had = sorted(MigrationRecorder(connection).applied_migrations().keys() - {newest})
    file = sealed(tmp_path / "b", manifest(migrations=had), {"end": 0})
    with pytest.raises(RestoreRefused, match="older version"):
        restore(file, passphrase=PASSPHRASE, replace=True)
    assert Account.objects.count() == 1


def test_the_command_says_how_much_it_was(backup: Path, tmp_path: Path) -> None:
    word, out = tmp_path / "word", StringIO()
    word.write_text(PASSPHRASE + "\n")
    call_command("restore", backup, replace=True, passphrase_file=word, stdout=out)
    assert "tables are restored" in out.getvalue()


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "no backup"), (b"text", "no backup"), (None, "cannot be read")]
)
def test_what_is_no_backup_is_told_in_a_line(tmp_path: Path, content: bytes | None, told: str) -> None:
    word, file = tmp_path / "word", tmp_path / "file"
    word.write_text(PASSPHRASE)
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CommandError, match=told):
        call_command("restore", file, passphrase_file=word)
