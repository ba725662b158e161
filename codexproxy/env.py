"""Reads the environment: every variable begins with CODEXPROXY_ and is listed in docs/settings.md."""

from __future__ import annotations

import atexit
import ipaddress
import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

PREFIX = "CODEXPROXY_"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# PostgreSQL keeps so much of a name.
_NAME_BYTES = 63
# Set by this module itself, so that worker processes find the database that their parent made.
_MEMORY_DATABASE = PREFIX + "MEMORY_DATABASE_FILE"


class SettingError(ValueError):
    """A variable holds something that cannot be used; the message names it and says what is expected."""


def text(name: str, default: str = "") -> str:
    return os.environ.get(PREFIX + name, "").strip() or default


def number(name: str, default: float) -> float:
    value = text(name)
    if not value:
        return default
    try:
        return float(value)
    except ValueError:
        raise SettingError(f"{PREFIX}{name} must be a number, not {value!r}") from None


def choice(name: str, allowed: Sequence[str]) -> str:
    """One of `allowed`, of which the first is the default."""
    value = text(name, allowed[0])
    if value not in allowed:
        raise SettingError(f"{PREFIX}{name} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def names(name: str) -> list[str]:
    """A comma-separated list."""
    return [part.strip() for part in text(name).split(",") if part.strip()]


def networks(name: str, default: str = "") -> tuple[Network, ...]:
    """A comma-separated list of addresses and networks."""
    found = []
    for part in (text(name) or default).split(","):
        if not part.strip():
            continue
        try:
            found.append(ipaddress.ip_network(part.strip(), strict=False))
        except ValueError:
            raise SettingError(
                f"{PREFIX}{name}: {part.strip()!r} is neither an address nor a network such as 172.16.0.0/12"
            ) from None
    return tuple(found)


def base_url(name: str, default: str) -> str:
    value = text(name, default).rstrip("/")
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError(f"{PREFIX}{name} must be an http(s) address, not {value!r}")
    return value


def data_dir() -> Path:
    """The folder that holds the database and the key; made on first use, readable by its owner only."""
    path = Path(text("DATA_DIR", "~/.codexproxy")).expanduser()
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def secret(name: str, default_file: Path = Path(os.devnull)) -> tuple[str, Path]:
    """The value of NAME, else the content of the file that NAME_FILE (or the default) points to.

    Returns the secret ("" when there is none yet) and the file it is kept in.
    Raises SettingError when a file that was named cannot be read.
    """
    named = text(name + "_FILE")
    path = Path(named).expanduser() if named else default_file
    value = text(name)
    if value:
        return value, path
    try:
        return path.read_text().strip(), path
    except FileNotFoundError:
        if named:
            raise SettingError(f"{PREFIX}{name}_FILE: {path} does not exist") from None
        return "", path
    except OSError as error:
        raise SettingError(f"{PREFIX}{name}_FILE: {path} cannot be read: {error.strerror}") from None


SQLITE_OPTIONS: dict[str, Any] = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 5,
    "init_command": (
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON; "
        "PRAGMA mmap_size=134217728; PRAGMA journal_size_limit=27103364; PRAGMA cache_size=2000;"
    ),
}


# As with SQLite nothing waits for a lock for ever; and a server that has gone without a word is noticed.
POSTGRESQL_OPTIONS: dict[str, Any] = {
    "pool": {"min_size": 1, "max_size": 10, "timeout": 5},
    "options": "-c lock_timeout=5000",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


def database() -> dict[str, Any]:
    """Django's DATABASES["default"] from DATABASE_URL, or the file that DATABASE_URL_FILE names."""
    url, file = secret("DATABASE_URL")
    if not url and text("DATABASE_URL_FILE"):
        # Not SQLite instead: an install would begin anew, and its operator wonder.
        raise SettingError(f"{PREFIX}DATABASE_URL_FILE: {file} is empty")
    if not url:
        return _sqlite(str(data_dir() / "codexproxy.sqlite3"))
    parts = urlsplit(url)
    if parts.scheme in ("sqlite", "sqlite3"):
        path = unquote(url.split("://", 1)[1])
        if _is_in_memory(path):
            return _sqlite(_memory_database())
        # sqlite:///relative.db and sqlite:////absolute.db, as other tools write them
        return _sqlite(path[1:] if path.startswith("/") else path)
    if parts.scheme in ("postgresql", "postgres"):
        return _postgresql(
            parts.username, parts.password, parts.hostname, parts.port, parts.path, parts.query
        )
    # SECURITY: not more of it: what is no address may be the password alone.
    given = f", not {parts.scheme}" if parts.scheme else ""
    raise SettingError(f"{PREFIX}DATABASE_URL must begin with sqlite:// or postgresql://{given}")


def _is_in_memory(path: str) -> bool:
    """In each of SQLite's spellings: bare, with a query, as a `file:` address, or with no path at all."""
    return not path.strip("/") or ":memory:" in path or "mode=memory" in path


def _sqlite(name: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": name,
        "OPTIONS": SQLITE_OPTIONS,
        "CONN_MAX_AGE": 0,
    }


def _postgresql(
    user: str | None, password: str | None, host: str | None, port: int | None, path: str, query: str
) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(path.lstrip("/")),
        "USER": unquote(user or ""),
        "PASSWORD": unquote(password or ""),
        "HOST": host or "",
        "PORT": str(port or ""),
        "CONN_MAX_AGE": 0,
        # A connection out of the pool is tried first: after a restart of the server all of them are dead.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **POSTGRESQL_OPTIONS,
            **dict(parse_qsl(query)),
            # Tells whose a connection is, an operator and codexproxy/in_use.py alike.
            "application_name": f"codexproxy {os.getpid()} {socket.gethostname()}"[:_NAME_BYTES],
        },
    }


def _memory_database() -> str:
    """A private file that is gone at exit.

    SQLite's own in-memory database fails under threads even with a shared cache ("database table
    is locked"); a WAL file in memory-backed storage gives every thread, task and worker the same
    database and ordinary locking.
    """
    inherited = os.environ.get(_MEMORY_DATABASE)
    if inherited and Path(inherited).parent.is_dir():
        return inherited
    memory = "/dev/shm"  # noqa: S108 - a folder of our own is made inside
    parent = memory if os.access(memory, os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="codexproxy-", dir=parent)
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    os.environ[_MEMORY_DATABASE] = path = str(Path(folder) / "memory.sqlite3")
    return path
