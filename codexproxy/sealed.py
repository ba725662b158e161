"""A file under a passphrase, written and read as a stream: nothing of it can be changed or left out unseen.

The key is scrypt's of the passphrase and a random salt. The content goes in chunks of one size, each sealed
with AES-256-GCM under a nonce that says which chunk it is and whether it is the last one.
"""

from __future__ import annotations

import hmac
import io
import os
import unicodedata
from typing import BinaryIO, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

# Another way to seal takes another number here.
MAGIC = b"codexproxy sealed 1\n"
SALT_BYTES = 16
CHUNK_BYTES = 64 * 1024
KEY_BYTES = 32
TAG_BYTES = 16
# 32 MiB and three passes: what guessing costs for each guess.
_SCRYPT = {"n": 2**15, "r": 8, "p": 3}


class SealError(Exception):
    """The file cannot be opened; the message says why, for an operator."""


class NotSealed(SealError):
    pass


class WrongPassphrase(SealError):
    pass


class Damaged(SealError):
    """It is cut off, or something in it was changed."""


class Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


class SealedWriter:
    """Takes any number of bytes; `finish` must come last, or the file counts as cut off."""

    def __init__(self, file: Writable, passphrase: str) -> None:
        salt = os.urandom(SALT_BYTES)
        key, proof = _derived(passphrase, salt)
        self._header = MAGIC + salt + proof
        self._file, self._cipher = file, AESGCM(key)
        self._waiting = bytearray()
        self._number = 0
        file.write(self._header)

    def write(self, data: bytes) -> int:
        self._waiting += data
        # One byte stays, so that the last chunk is known to be the last.
        while len(self._waiting) > CHUNK_BYTES:
            self._seal(bytes(self._waiting[:CHUNK_BYTES]), is_last=False)
            del self._waiting[:CHUNK_BYTES]
        return len(data)

    def finish(self) -> None:
        self._seal(bytes(self._waiting), is_last=True)

    def _seal(self, chunk: bytes, *, is_last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, is_last), chunk, self._header))
        self._number += 1


class SealedReader(io.RawIOBase):
    """The content again. Opening raises NotSealed and WrongPassphrase, reading raises Damaged."""

    def __init__(self, file: BinaryIO, passphrase: str) -> None:
        super().__init__()
        self._header = file.read(len(MAGIC) + SALT_BYTES + KEY_BYTES)
        if not self._header.startswith(MAGIC):
            raise NotSealed("This is no backup of codexproxy.")
        salt, proof = self._header[len(MAGIC) :][:SALT_BYTES], self._header[len(MAGIC) + SALT_BYTES :]
        if len(proof) < KEY_BYTES:
            raise Damaged("The file is cut off.")
        key, expected = _derived(passphrase, salt)
        if not hmac.compare_digest(proof, expected):
            raise WrongPassphrase("The passphrase is not the one that this file was written with.")
        self._file, self._cipher = file, AESGCM(key)
        self._number = 0
        self._next = self._read_chunk()
        self._opened = memoryview(b"")
        self._is_at_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._opened and not self._is_at_end:
            self._opened = memoryview(self._open_next())
        taken = min(len(buffer), len(self._opened))
        buffer[:taken] = self._opened[:taken]
        self._opened = self._opened[taken:]
        return taken

    def _read_chunk(self) -> bytes:
        return self._file.read(CHUNK_BYTES + TAG_BYTES)

    def _open_next(self) -> bytes:
        sealed, self._next = self._next, self._read_chunk()
        self._is_at_end = not self._next
        opened = self._try(sealed, is_last=self._is_at_end)
        if opened is None:
            if self._is_at_end and (not sealed or self._try(sealed, is_last=False) is not None):
                raise Damaged("The file is cut off: its end is missing.")
            raise Damaged("The file is damaged: something in it was changed, or it is cut off.")
        self._number += 1
        return opened

    def _try(self, sealed: bytes, *, is_last: bool) -> bytes | None:
        try:
            return self._cipher.decrypt(_nonce(self._number, is_last), sealed, self._header)
        except InvalidTag:
            return None


def _derived(passphrase: str, salt: bytes) -> tuple[bytes, bytes]:
    """The key, and what tells a wrong passphrase from a damaged file."""
    # The same word may be typed as other bytes on another machine.
    typed = unicodedata.normalize("NFC", passphrase).encode()
    both = Scrypt(salt=salt, length=2 * KEY_BYTES, **_SCRYPT).derive(typed)
    return both[:KEY_BYTES], both[KEY_BYTES:]


def _nonce(number: int, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])
