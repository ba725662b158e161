"""Refuses a start with a key that the stored secrets were not written with."""

from __future__ import annotations

from django.conf import settings

from accounts.models import Credential, EncryptionKeyFingerprint
from codexproxy.crypto import EncryptionKeyError, KeyRing, key_ring


def verify_key() -> None:
    """Remember the key on first use; raises EncryptionKeyError when it is not the one remembered.

    A remembered key that is still on the ring, though no longer first, is right: it still decrypts.
    """
    ring = key_ring()
    known = EncryptionKeyFingerprint.objects.filter(pk=1).first()
    if known is None:
        _remember(ring)
    elif known.fingerprint not in ring.fingerprints:
        raise EncryptionKeyError(_wrong_key())


def _remember(ring: KeyRing) -> None:
    try:
        # Decrypts one: secrets without a remembered key come from a restored database.
        Credential.objects.first()
    except EncryptionKeyError:
        raise EncryptionKeyError(_wrong_key()) from None
    # RACE: another process may have been quicker; it has the same key, or fails at its own check.
    EncryptionKeyFingerprint.objects.get_or_create(pk=1, defaults={"fingerprint": ring.fingerprints[0]})


def remember_first_key(ring: KeyRing) -> None:
    """From now on this is the key that a start needs."""
    EncryptionKeyFingerprint.objects.update_or_create(pk=1, defaults={"fingerprint": ring.fingerprints[0]})


def _wrong_key() -> str:
    return (
        f"The encryption key is not the one that the stored tokens were written with. It was read from "
        f"CODEXPROXY_ENCRYPTION_KEY or, where that is not set, from {settings.ENCRYPTION_KEY_FILE}. "
        "Nothing in the database was changed. Put the right key back and start again; a new key may stand "
        "in front of it, separated by a comma or on a line of its own."
    )
