"""Reads a backup, line by line, and believes nothing of it before its seal is whole."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import msgspec
import zstandard

from codexproxy.backup import FORMAT
from codexproxy.sealed import Damaged, SealedReader

T = TypeVar("T")

# One row is a line; the longest are catalogues of models.
LONGEST_LINE_BYTES = 64 * 1024 * 1024


class Manifest(msgspec.Struct, frozen=True):
    backup: int
    version: str
    made_at: str
    database: str
    requests: bool
    migrations: list[tuple[str, str]]


class Table(msgspec.Struct, frozen=True):
    table: str
    columns: list[str]


class OtherFormat(Exception):
    """The seal is whole, and what is under it is nothing that this version knows."""


class BackupFile:
    """The manifest at once; then the tables, in order, each with its rows read before the next one."""

    def __init__(self, file: BinaryIO, passphrase: str) -> None:
        self._sealed = SealedReader(file, passphrase)
        decompressor = zstandard.ZstdDecompressor()
        self._lines = io.BufferedReader(
            decompressor.stream_reader(cast(BinaryIO, self._sealed), closefd=False)
        )
        first = self._line()
        if not isinstance(first, dict) or first.get("backup") != FORMAT:
            raise OtherFormat("This backup was made by another version of codexproxy.")
        self.manifest = _as(Manifest, first)

    def tables(self) -> Iterator[tuple[Table, Iterator[list[Any]]]]:
        """Raises Damaged when less is there than was written."""
        total = 0

        def rows() -> Iterator[list[Any]]:
            nonlocal total
            number = 0
            while isinstance(line := self._line(), list):
                number += 1
                yield line
            if line != {"rows": number}:
                raise Damaged("The file is damaged: a table is not complete.")
            total += number

        while isinstance(line := self._line(), dict) and "table" in line:
            yield _as(Table, line), rows()
        if line != {"end": total}:
            raise Damaged("The file is damaged: it is not complete.")
        # The rest of the seal: behind the last line nothing may be missing either.
        while self._lines.read(1 << 16) or self._sealed.read(1 << 16):
            pass

    def _line(self) -> Any:
        try:
            text = self._lines.readline(LONGEST_LINE_BYTES)
            return msgspec.json.decode(text)
        except (zstandard.ZstdError, msgspec.DecodeError):
            raise OtherFormat("What is in this backup cannot be read by this version.") from None


@contextmanager
def opened(path: Path, passphrase: str) -> Iterator[BackupFile]:
    """Raises OSError, SealError and OtherFormat."""
    with path.open("rb") as file:
        yield BackupFile(file, passphrase)


def verify(path: Path, passphrase: str) -> Manifest:
    """Read it to its end and keep nothing. Raises what opening and reading do."""
    with opened(path, passphrase) as backup:
        for _, rows in backup.tables():
            for _ in rows:
                pass
        return backup.manifest


def _as(kind: type[T], line: object) -> T:
    try:
        return msgspec.convert(line, kind)
    except msgspec.ValidationError as error:
        raise OtherFormat(f"What is in this backup cannot be read by this version: {error}.") from None
