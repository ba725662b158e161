"""Saves what can be read of a damaged SQLite database."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, connections

from codexproxy.sqlite_recovery import (
    Copied,
    NotWritten,
    copy_readable,
    damage,
    is_copy_of,
    is_open_elsewhere,
)


class Command(BaseCommand):
    help = "Copy what can be read of a damaged SQLite database into a new file. Stop the server first."
    # A damaged database must not keep its own rescue from starting.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--to", type=Path, help="the new file (beside the old one, with -recovered)")
        parser.add_argument(
            "--replace", action="store_true", help="put the new file in the old one's place and keep both"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        damaged = database_file()
        fresh = options["to"] or damaged.with_name(f"{damaged.stem}-recovered{damaged.suffix}")
        if not fresh.parent.is_dir():
            raise CommandError(f"{fresh.parent} is no folder.")
        if options["replace"]:
            _refuse_to_replace(damaged, fresh)
        if not fresh.exists():
            self._copy(damaged, fresh)
        elif options["replace"] and is_copy_of(fresh, damaged):
            self.stdout.write(f"{fresh} was written after the last change of {damaged}: it is taken.")
        else:
            raise CommandError(f"{fresh} exists already: move it away, or name another file with --to.")
        if options["replace"]:
            self._replace(damaged, fresh)
        else:
            again = f"--to {options['to']} --replace" if options["to"] else "--replace"
            self.stdout.write(f"Written to {fresh}. Run again with {again} to put it in place.")

    def _copy(self, damaged: Path, fresh: Path) -> None:
        found = damage(damaged)
        self.stdout.write(f"{damaged}: {found or 'no damage was found; it is copied all the same.'}")
        # Only a copy that is finished gets its name.
        with tempfile.TemporaryDirectory(prefix="recover-", dir=fresh.parent) as folder:
            begun = Path(folder) / fresh.name
            _make_tables(begun)
            try:
                results = copy_readable(damaged, begun)
            except sqlite3.DatabaseError as error:
                raise CommandError(f"Nothing can be read: {error}. Restore a backup.") from None
            except NotWritten as error:
                raise CommandError(
                    f"The copy could not be written: {error}. Make room, or name a file on another disk "
                    "with --to."
                ) from None
            begun.rename(fresh)
        self._report(results)

    def _report(self, results: list[Copied]) -> None:
        for copied in results:
            lost = "; some rows could not be read" if copied.failures else ""
            orphans = f"; {copied.orphans} left out, as what they refer to is lost" if copied.orphans else ""
            if copied.rows or copied.failures:
                self.stdout.write(f"  {copied.table}: {copied.rows} rows{orphans}{lost}")

    def _replace(self, damaged: Path, fresh: Path) -> None:
        aside = damaged.with_name(f"{damaged.name}.damaged-{datetime.now():%Y%m%d-%H%M%S}")
        for suffix in ("", "-wal", "-shm"):
            part = damaged.with_name(damaged.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        fresh.rename(damaged)
        self.stdout.write(f"{damaged} is the new file; the old one is {aside}.")


def _refuse_to_replace(damaged: Path, fresh: Path) -> None:
    """Before anything is copied or moved."""
    if is_open_elsewhere(damaged):
        raise CommandError(f"{damaged} is in use: stop the server first.")
    if fresh.parent.stat().st_dev != damaged.parent.stat().st_dev:
        raise CommandError(
            f"{fresh} is on another disk than {damaged}: run without --replace, move the old file (and those "
            "beside it that begin with its name) away and copy the new one into its place."
        )


def database_file() -> Path:
    """Raises CommandError where there is no SQLite file."""
    if connection.vendor != "sqlite":
        raise CommandError("PostgreSQL is restored with its own tools (pg_dump, pg_restore).")
    path = Path(str(settings.DATABASES["default"]["NAME"]))
    connections.close_all()
    if not path.is_file():
        raise CommandError(f"{path} does not exist.")
    return path


def _make_tables(fresh: Path) -> None:
    """In a process of its own: this one's settings name the damaged file."""
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=settings.BASE_DIR,
        env={**os.environ, "CODEXPROXY_DATABASE_URL": f"sqlite:///{quote(str(fresh.absolute()))}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CommandError(f"{fresh} could not be made: {done.stderr.strip()}")
    with sqlite3.connect(fresh) as database:
        # One file, so that moving it moves everything.
        database.execute("PRAGMA journal_mode=DELETE")
