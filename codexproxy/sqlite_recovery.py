"""Finds damage in an SQLite file, and copies what can still be read into a new one."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

# A larger file is only looked through when the last stop was no clean one: it takes seconds.
ALWAYS_CHECKED_BYTES = 64 * 1024 * 1024
# So many reads of one table may fail before the rest of it is given up.
FAILURES = 20_000
_OPEN_BYTE = 128
# Only the new file's own tables say what belongs in it.
_NOT_COPIED = ("sqlite_%", "django_migrations")


class NotWritten(Exception):
    """The copy could not be written, whatever can be read: the disk is full, most of all."""


@dataclass(slots=True)
class Copied:
    """One table: how many rows came over, and whether something of it could not be read."""

    table: str
    rows: int = 0
    failures: int = 0
    orphans: int = 0


def damage(path: Path) -> str:
    """What is wrong with the file, in SQLite's words; "" when nothing is."""
    try:
        with closing(_opened_to_read(path)) as database:
            found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else str(found)


def _opened_to_read(path: Path) -> sqlite3.Connection:
    # Quoted: with a `#`, `?` or `%` in its name another file would be opened.
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def is_worth_checking(path: Path) -> bool:
    """Whether to look for damage before a start."""
    if not path.is_file():
        return False
    return path.stat().st_size < ALWAYS_CHECKED_BYTES or path.with_name(path.name + "-wal").exists()


def is_open_elsewhere(path: Path) -> bool:
    """Whether another process has the database open; nothing is written to find out."""
    try:
        with open(path.with_name(path.name + "-shm"), "rb+") as shared:
            # Every connection of a WAL database holds this byte (SQLite, "WAL-mode File Format", 2.3.1).
            fcntl.lockf(shared, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _OPEN_BYTE)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def copy_readable(damaged: Path, fresh: Path) -> list[Copied]:
    """Copy row by row into a file that has the tables already; what cannot be read stays behind.

    Raises sqlite3.DatabaseError when not even the list of tables can be read, and NotWritten.
    """
    with (
        closing(_opened_to_read(damaged)) as source,
        closing(sqlite3.connect(fresh)) as target,
    ):
        there = {table: _columns(source, table) for table in _tables(source)}
        try:
            target.execute("PRAGMA foreign_keys=OFF")
            results = [
                _copy_table(source, target, table, there[table])
                for table in _tables(target)
                if table in there
            ]
            _drop_orphans(target, results)
            target.commit()
        except sqlite3.DatabaseError as error:
            # What cannot be read of a table was counted where it was read.
            raise NotWritten(str(error)) from error
    return results


def is_copy_of(fresh: Path, damaged: Path) -> bool:
    """Whether `fresh` is sound, has tables of `damaged`, and was written after its last change."""
    log = damaged.with_name(damaged.name + "-wal")
    parts = [damaged, log] if log.is_file() and log.stat().st_size else [damaged]
    if fresh.stat().st_mtime_ns <= max(part.stat().st_mtime_ns for part in parts) or damage(fresh):
        return False
    with closing(_opened_to_read(damaged)) as source, closing(_opened_to_read(fresh)) as copy:
        try:
            had = set(_tables(source))
        except sqlite3.DatabaseError:
            return False
        # Not all of them: an older version may have had some that this one has not.
        return not had.isdisjoint(_tables(copy))


def _tables(database: sqlite3.Connection) -> list[str]:
    excluded = " AND ".join("name NOT LIKE ?" for _ in _NOT_COPIED)
    query = f"SELECT name FROM sqlite_master WHERE type = 'table' AND {excluded} ORDER BY name"  # noqa: S608
    return [name for (name,) in database.execute(query, _NOT_COPIED)]


def _columns(database: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]


def _copy_table(
    source: sqlite3.Connection, target: sqlite3.Connection, table: str, known: list[str]
) -> Copied:
    columns = ", ".join(f'"{name}"' for name in _columns(target, table) if name in known)
    places = ", ".join("?" * (columns.count(",") + 1))
    read = f'SELECT {columns} FROM "{table}" WHERE rowid BETWEEN ? AND ?'  # noqa: S608
    # What the new file's migrations have put there gives way to what was there before.
    write = f'INSERT OR REPLACE INTO "{table}" ({columns}) VALUES ({places})'  # noqa: S608
    copied = Copied(table)
    for rows in _ranges(source, read, copied, _last_row(source, table)):
        target.executemany(write, rows)
        copied.rows += len(rows)
    return copied


def _last_row(source: sqlite3.Connection, table: str) -> int:
    try:
        found = source.execute(f'SELECT max(rowid) FROM "{table}"').fetchone()[0]  # noqa: S608
    except sqlite3.DatabaseError:
        # The end of the table is what is damaged: look as far as a large install may have come.
        return 1 << 24
    return found or 0


def _ranges(
    source: sqlite3.Connection, read: str, copied: Copied, last: int
) -> Iterator[list[tuple[object, ...]]]:
    """The rows in pieces; a piece that cannot be read is halved until the unreadable rows are alone."""
    size = 4096
    waiting = [(first, min(first + size - 1, last)) for first in range(0, last + 1, size)][::-1]
    while waiting and copied.failures < FAILURES:
        first, until = waiting.pop()
        try:
            rows = source.execute(read, (first, until)).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            copied.failures += 1
            if first < until:
                middle = (first + until) // 2
                waiting += [(middle + 1, until), (first, middle)]
            continue
        if rows:
            yield rows


def _drop_orphans(target: sqlite3.Connection, results: list[Copied]) -> None:
    """Rows that refer to one that could not be read are of no use, and would break later writes."""
    by_table = {copied.table: copied for copied in results}
    while found := target.execute("PRAGMA foreign_key_check").fetchall():
        for table, row, *_ in found:
            target.execute(f'DELETE FROM "{table}" WHERE rowid = ?', (row,))  # noqa: S608
            if table in by_table:
                by_table[table].orphans += 1
