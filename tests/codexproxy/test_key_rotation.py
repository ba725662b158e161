from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.encryption_check import verify_key
from accounts.models import AuditEvent, Credential
from codexproxy.crypto import EncryptionKeyError, KeyRing, split_keys
from codexproxy.key_rotation import encrypted_fields, reencrypt, write_key_file
from tests.builders import make_account

pytestmark = pytest.mark.django_db


@pytest.fixture
def key_file(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The install's key in a file of its own."""
    file = tmp_path / "encryption.key"
    write_key_file(file, split_keys(settings.ENCRYPTION_KEYS))
    settings.ENCRYPTION_KEY_FILE = file
    monkeypatch.delenv("CODEXPROXY_ENCRYPTION_KEY", raising=False)
    return file


def stored() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT access_token FROM accounts_credential")
        return str(cursor.fetchone()[0])


def test_tokens_are_among_the_secrets() -> None:
    fields = {(model.__name__, field.name) for model, field in encrypted_fields()}
    assert {("Credential", "access_token"), ("Credential", "refresh_token")} <= fields


def test_what_notices_are_sent_with_is_among_the_secrets() -> None:
    fields = {field.name for model, field in encrypted_fields() if model.__name__ == "NoticeSettings"}
    assert fields == {"webhook_url", "webhook_secret", "smtp_password"}


def test_every_secret_is_written_with_the_first_key(settings: Any) -> None:
    make_account()
    plain = Credential.objects.get().refresh_token
    new, old = Fernet.generate_key().decode(), settings.ENCRYPTION_KEYS
    assert reencrypt(KeyRing([new, *split_keys(old)])) >= 3
    KeyRing([new]).decrypt(stored())
    settings.ENCRYPTION_KEYS = new
    assert Credential.objects.get().refresh_token == plain


def test_nothing_is_written_when_one_cannot_be_read() -> None:
    make_account("a")
    before = stored()
    with pytest.raises(EncryptionKeyError):
        reencrypt(KeyRing([Fernet.generate_key().decode()]))
    assert stored() == before


def test_a_new_key_takes_the_old_one_s_place(key_file: Path, settings: Any) -> None:
    make_account()
    verify_key()
    old = settings.ENCRYPTION_KEYS
    out = StringIO()
    call_command("rotate_key", "--new", stdout=out)
    (new,) = key_file.read_text().split()
    assert new not in split_keys(old)
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert new not in out.getvalue()
    event = AuditEvent.objects.get(action="encryption_key_rotated")
    assert event.actor == "command line" and new not in event.subject + event.detail
    settings.ENCRYPTION_KEYS = new
    verify_key()
    assert Credential.objects.get().access_token.startswith("access-1")
    settings.ENCRYPTION_KEYS = old
    with pytest.raises(EncryptionKeyError):
        verify_key()


def test_a_key_from_the_environment_is_not_made_here(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEXPROXY_ENCRYPTION_KEY", "anything")
    with pytest.raises(CommandError, match="CODEXPROXY_ENCRYPTION_KEY"):
        call_command("rotate_key", "--new")


def test_the_wrong_key_rotates_nothing(key_file: Path, settings: Any) -> None:
    make_account()
    verify_key()
    settings.ENCRYPTION_KEYS = Fernet.generate_key().decode()
    with pytest.raises(CommandError, match="not the one"):
        call_command("rotate_key")
