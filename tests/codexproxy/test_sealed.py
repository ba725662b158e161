from __future__ import annotations

import io

import pytest

from codexproxy.sealed import (
    CHUNK_BYTES,
    KEY_BYTES,
    MAGIC,
    SALT_BYTES,
    TAG_BYTES,
    Damaged,
    NotSealed,
    SealedReader,
    SealedWriter,
    WrongPassphrase,
)

PASSPHRASE = "correct horse battery"
HEADER_BYTES = len(MAGIC) + SALT_BYTES + KEY_BYTES
SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES
THREE_CHUNKS = bytes(range(256)) * (3 * CHUNK_BYTES // 256)


def sealed(content: bytes, passphrase: str = PASSPHRASE) -> bytes:
    file = io.BytesIO()
    writer = SealedWriter(file, passphrase)
    writer.write(content)
    writer.finish()
    return file.getvalue()


def opened(file: bytes, passphrase: str = PASSPHRASE) -> bytes:
    return SealedReader(io.BytesIO(file), passphrase).read()


@pytest.fixture(scope="module")
def whole() -> bytes:
    return sealed(THREE_CHUNKS)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_what_goes_in_comes_out(size: int) -> None:
    assert opened(sealed(THREE_CHUNKS[:size])) == THREE_CHUNKS[:size]


def test_it_may_be_written_and_read_in_pieces_of_any_size() -> None:
    file = io.BytesIO()
    writer = SealedWriter(file, PASSPHRASE)
    for start in range(0, len(THREE_CHUNKS), 1000):
        writer.write(THREE_CHUNKS[start : start + 1000])
    writer.finish()
    reader = SealedReader(io.BytesIO(file.getvalue()), PASSPHRASE)
    assert b"".join(iter(lambda: reader.read(777), b"")) == THREE_CHUNKS


def test_nothing_of_the_content_can_be_seen() -> None:
    assert b"refresh-token" not in sealed(b"refresh-token" * 100)


def test_two_files_of_the_same_content_have_nothing_in_common() -> None:
    assert sealed(b"the same")[len(MAGIC) :][:SALT_BYTES] != sealed(b"the same")[len(MAGIC) :][:SALT_BYTES]


def test_a_wrong_passphrase_is_told_as_such(whole: bytes) -> None:
    with pytest.raises(WrongPassphrase):
        opened(whole, "another passphrase")


def test_the_same_word_typed_on_another_machine_opens_it() -> None:
    composed, decomposed = "sch\u00f6nes Wetter heute", "scho\u0308nes Wetter heute"
    assert opened(sealed(b"here", composed), decomposed) == b"here"


@pytest.mark.parametrize("file", [b"", b"PK\x03\x04 a zip", MAGIC[:-1]])
def test_another_file_is_told_as_such(file: bytes) -> None:
    with pytest.raises(NotSealed):
        opened(file)


@pytest.mark.parametrize(
    "left",
    [
        len(MAGIC),
        HEADER_BYTES - 1,
        HEADER_BYTES,
        HEADER_BYTES + 1,
        HEADER_BYTES + SEALED_CHUNK,
        HEADER_BYTES + 2 * SEALED_CHUNK,
        HEADER_BYTES + 2 * SEALED_CHUNK + 5,
        HEADER_BYTES + 3 * SEALED_CHUNK - 1,
    ],
)
def test_a_file_that_is_cut_off_anywhere_is_not_taken_for_whole(whole: bytes, left: int) -> None:
    with pytest.raises(Damaged, match="cut off"):
        opened(whole[:left])


@pytest.mark.parametrize("place", [HEADER_BYTES, HEADER_BYTES + SEALED_CHUNK + 7, -1])
def test_a_changed_byte_is_seen(whole: bytes, place: int) -> None:
    changed = bytearray(whole)
    changed[place] ^= 1
    with pytest.raises(Damaged):
        opened(bytes(changed))


def test_chunks_that_change_places_are_seen(whole: bytes) -> None:
    head, body = whole[:HEADER_BYTES], whole[HEADER_BYTES:]
    first, second, rest = body[:SEALED_CHUNK], body[SEALED_CHUNK : 2 * SEALED_CHUNK], body[2 * SEALED_CHUNK :]
    with pytest.raises(Damaged):
        opened(head + second + first + rest)


def test_what_is_added_at_the_end_is_seen(whole: bytes) -> None:
    with pytest.raises(Damaged):
        opened(whole + b"more")
