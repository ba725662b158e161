"""The database of a server under test: a file in its data folder, or one on the PostgreSQL of this run."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

# scripts/postgres sets it.
POSTGRES_URL = os.environ.get("CODEXPROXY_DATABASE_URL", "")
IS_POSTGRES = POSTGRES_URL.startswith("postgres")
_numbers = count(1)


class SqliteDatabase:
    """Copied with the data folder that it lies in."""

    environment: dict[str, str] = {}

    def __init__(self, data_dir: Path, template: Path | None) -> None:
        self.file = data_dir / "codexproxy.sqlite3"

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.file, timeout=10)) as connection, connection:
            return connection.execute(sql, parameters).fetchall()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else can write."""
        with closing(sqlite3.connect(self.file, timeout=10, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield


class PostgresDatabase:
    """A database of its own on a shared server; its name is kept in the data folder."""

    def __init__(self, data_dir: Path, template: Path | None) -> None:
        name = f"e2e_{os.getpid()}_{next(_numbers)}"
        source = f' TEMPLATE "{_name_file(template).read_text()}"' if template is not None else ""
        with psycopg.connect(POSTGRES_URL, autocommit=True) as server:
            server.execute(f'CREATE DATABASE "{name}"{source}'.encode())
        _name_file(data_dir).write_text(name)
        self.url = urlsplit(POSTGRES_URL)._replace(path=f"/{name}").geturl()
        self.environment = {"CODEXPROXY_DATABASE_URL": self.url}

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            found = connection.execute(sql.replace("?", "%s").encode(), parameters)
            return found.fetchall() if found.description else []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else can write tokens."""
        with psycopg.connect(self.url) as connection:
            connection.execute("LOCK TABLE accounts_credential IN EXCLUSIVE MODE")
            yield


Database = SqliteDatabase | PostgresDatabase


def make_database(data_dir: Path, template: Path | None) -> Database:
    """The data folder with a database in it: an empty one, or a copy of the template's."""
    if template is None:
        data_dir.mkdir(parents=True)
    else:
        shutil.copytree(template, data_dir)
    return PostgresDatabase(data_dir, template) if IS_POSTGRES else SqliteDatabase(data_dir, template)


def _name_file(data_dir: Path) -> Path:
    return data_dir / "database-name"
