"""The key at start."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from pytest_django import Settings as SettingsWrapper

from accounts.encryption_check import verify_key
from accounts.models import Credential, EncryptionKeyFingerprint
from codexproxy.crypto import EncryptionKeyError, key_ring
from tests.builders import make_account

pytestmark = pytest.mark.django_db

OTHER = Fernet.generate_key().decode()


def remembered() -> str:
    return EncryptionKeyFingerprint.objects.get().fingerprint


def test_the_first_start_remembers_the_key() -> None:
    verify_key()
    verify_key()
    assert remembered() == key_ring().fingerprints[0]


def test_another_key_is_refused_and_nothing_changes(settings: SettingsWrapper) -> None:
    make_account()
    verify_key()
    known, tokens = remembered(), Credential.objects.values_list("generation", "refreshed_at").get()
    settings.ENCRYPTION_KEYS = OTHER
    with pytest.raises(EncryptionKeyError) as caught:
        verify_key()
    message = str(caught.value)
    assert str(settings.ENCRYPTION_KEY_FILE) in message
    assert "CODEXPROXY_ENCRYPTION_KEY" in message
    assert "Nothing in the database was changed. Put the right key back" in message
    assert OTHER not in message
    assert (remembered(), Credential.objects.values_list("generation", "refreshed_at").get()) == (
        known,
        tokens,
    )


def test_a_key_that_still_decrypts_is_right(settings: SettingsWrapper) -> None:
    verify_key()
    known = remembered()
    settings.ENCRYPTION_KEYS = f"{OTHER},{settings.ENCRYPTION_KEYS}"
    verify_key()
    assert remembered() == known


def test_secrets_of_another_key_are_noticed_without_a_remembered_key(settings: SettingsWrapper) -> None:
    make_account()
    settings.ENCRYPTION_KEYS = OTHER
    with pytest.raises(EncryptionKeyError, match="not the one that the stored tokens were written with"):
        verify_key()
    assert not EncryptionKeyFingerprint.objects.exists()
