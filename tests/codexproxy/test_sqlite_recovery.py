from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from codexproxy.sqlite_recovery import (
    ALWAYS_CHECKED_BYTES,
    NotWritten,
    copy_readable,
    damage,
    is_copy_of,
    is_open_elsewhere,
    is_worth_checking,
)

PAGE = 4096
TABLES = """
CREATE TABLE owner (id integer PRIMARY KEY, name text);
CREATE TABLE thing (id integer PRIMARY KEY, owner_id integer REFERENCES owner (id), body text);
"""


def made(path: Path, owners: int = 3, things: int = 400) -> Path:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(TABLES)
        database.executemany("INSERT INTO owner VALUES (?, ?)", [(n, f"owner {n}") for n in range(owners)])
        rows = [(n + 1, n % owners, "x" * 300) for n in range(things)]
        database.executemany("INSERT INTO thing VALUES (?, ?, ?)", rows)
        database.commit()
    return path


def empty(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(TABLES)
    return path


def spoil(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(b"\xff" * PAGE)


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_a_sound_file_has_no_damage(tmp_path: Path) -> None:
    assert damage(made(tmp_path / "db")) == ""


@pytest.mark.parametrize("name", ["a#1", "a?b=c", "100%41"])
def test_a_folder_s_name_may_hold_what_an_address_may_not(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    path = made(folder / "db")
    assert damage(path) == ""
    assert {copied.rows for copied in copy_readable(path, empty(folder / "new"))} == {3, 400}
    spoil(path, 10)
    assert damage(path) != ""


def test_a_spoilt_page_is_damage(tmp_path: Path) -> None:
    path = made(tmp_path / "db")
    spoil(path, 10)
    assert damage(path) != ""


def test_a_file_that_is_no_database_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "db"
    path.write_bytes(b"garbage" * 1000)
    assert damage(path) == "file is not a database"


def test_a_large_file_is_looked_through_after_an_unclean_stop_only(tmp_path: Path) -> None:
    path = tmp_path / "db"
    assert not is_worth_checking(path)
    with path.open("wb") as file:
        file.truncate(ALWAYS_CHECKED_BYTES)
    assert not is_worth_checking(path)
    (tmp_path / "db-wal").touch()
    assert is_worth_checking(path)


def test_a_sound_file_is_copied_whole(tmp_path: Path) -> None:
    source, target = made(tmp_path / "db"), empty(tmp_path / "new")
    results = {copied.table: copied for copied in copy_readable(source, target)}
    assert (results["owner"].rows, results["thing"].rows) == (3, 400)
    assert (count(target, "owner"), count(target, "thing")) == (3, 400)


def test_only_what_stands_on_a_spoilt_page_is_lost(tmp_path: Path) -> None:
    source, target = made(tmp_path / "db"), empty(tmp_path / "new")
    spoil(source, 10)
    results = {copied.table: copied for copied in copy_readable(source, target)}
    assert results["owner"].failures == 0
    assert results["thing"].failures > 0
    # A page of 4 KiB holds about a dozen of these rows.
    assert 380 <= count(target, "thing") < 400
    assert damage(target) == ""


def test_rows_whose_owner_is_lost_are_left_out(tmp_path: Path) -> None:
    source, target = made(tmp_path / "db"), empty(tmp_path / "new")
    with closing(sqlite3.connect(source)) as database:
        database.execute("DELETE FROM owner WHERE id = 0")
        database.commit()
    results = {copied.table: copied for copied in copy_readable(source, target)}
    assert results["thing"].orphans == 134
    assert count(target, "thing") == 266


def test_a_file_whose_tables_are_unknown_cannot_be_copied(tmp_path: Path) -> None:
    source, target = made(tmp_path / "db"), empty(tmp_path / "new")
    spoil(source, 0)
    with pytest.raises(sqlite3.DatabaseError):
        copy_readable(source, target)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may be larger than this; to SQLite it is a disk that does not take more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * PAGE, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_is_told_from_a_file_that_cannot_be_read(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source, target = made(tmp_path / "db"), empty(tmp_path / "new")
    request.getfixturevalue("small_files")
    with pytest.raises(NotWritten):
        copy_readable(source, target)


def made_after(path: Path, other: Path) -> Path:
    """A copy whose time does not hang on how fast the clock of this disk is."""
    copied = empty(path)
    later = other.stat().st_mtime_ns + 1_000_000_000
    os.utime(copied, ns=(later, later))
    return copied


def test_a_sound_copy_that_is_newer_may_take_the_place(tmp_path: Path) -> None:
    source = made(tmp_path / "db")
    assert is_copy_of(made_after(tmp_path / "new", source), source)


def test_what_was_changed_since_has_no_copy(tmp_path: Path) -> None:
    source = made(tmp_path / "db")
    copied = made_after(tmp_path / "new", source)
    later = copied.stat().st_mtime_ns + 1_000_000_000
    log = tmp_path / "db-wal"
    log.write_bytes(b"")
    os.utime(log, ns=(later, later))
    assert is_copy_of(copied, source), "nothing was written there"
    os.utime(source, ns=(later, later))
    assert not is_copy_of(copied, source)


def test_a_damaged_file_is_no_copy(tmp_path: Path) -> None:
    source = made(tmp_path / "db")
    copied = made(tmp_path / "new")
    spoil(copied, 10)
    later = source.stat().st_mtime_ns + 1_000_000_000
    os.utime(copied, ns=(later, later))
    assert not is_copy_of(copied, source)


def test_another_database_is_no_copy(tmp_path: Path) -> None:
    source = made(tmp_path / "db")
    other = tmp_path / "other"
    other.touch()
    later = source.stat().st_mtime_ns + 1_000_000_000
    os.utime(other, ns=(later, later))
    assert not is_copy_of(other, source)


def test_a_file_that_nobody_has_open_is_free(tmp_path: Path) -> None:
    assert not is_open_elsewhere(made(tmp_path / "db"))
