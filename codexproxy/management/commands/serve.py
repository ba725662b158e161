"""The server command: migrate, bind, serve with Daphne, drain on SIGTERM."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, connections

from accounts.encryption_check import verify_key
from accounts.models import EncryptionKeyFingerprint
from codexproxy import checks, demo, exposure, processes
from codexproxy.crypto import EncryptionKeyError
from codexproxy.sqlite_recovery import damage, is_worth_checking
from codexproxy.supervisor import CannotListen, Supervisor, bind, raise_file_limit
from proxy import limits, metrics


class Command(BaseCommand):
    help = "Serve clients and the dashboard."
    # The checks run with the migration; a second run would only delay the start.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
        parser.add_argument("--port", type=int, default=2455, help="port to listen on (%(default)s)")
        parser.add_argument("--workers", type=int, default=1, help="processes on the same port (%(default)s)")
        parser.add_argument("--no-migrate", action="store_true", help="leave the database as it is")
        parser.add_argument(
            "--demo", action="store_true", help="simulated accounts in a data folder of their own"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        host, port, workers = options["host"], options["port"], options["workers"]
        if workers < 1:
            raise CommandError("--workers must be at least 1")
        raise_file_limit()
        try:
            listening = bind(host, port)
            prepare(migrate=not options["no_migrate"])
        except (CannotListen, EncryptionKeyError) as error:
            raise CommandError(str(error)) from None
        exposure.listening_on(host)
        for warning in checks.check_open_dashboard(None):
            self.stderr.write(f"Warning: {warning.msg} {warning.hint}")
        address = (host, listening.getsockname()[1])
        if workers == 1:
            if (code := work(listening, address)) != 0:
                _leave(code)
            return
        announce(*address)
        processes.served_by(workers)
        with tempfile.TemporaryDirectory(prefix="codexproxy-metrics-") as folder:
            metrics.share_between_processes(Path(folder))
            supervisor = Supervisor(workers, listening, lambda: work(listening, None), metrics.forget_process)
            sys.exit(supervisor.run())


def prepare(*, migrate: bool) -> None:
    """The database as this version needs it.

    Raises EncryptionKeyError, and CommandError for a damaged file, before anything is overwritten.
    """
    with _alone():
        refuse_damage()
        if EncryptionKeyFingerprint._meta.db_table in connection.introspection.table_names():
            verify_key()
        if migrate:
            call_command("migrate", verbosity=0)
        verify_key()
        if demo.is_running():
            demo.seed()
    # Nothing of the database may be shared with a worker.
    connections.close_all()
    if connection.vendor == "postgresql":
        connection.close_pool()  # type: ignore[attr-defined]


def refuse_damage() -> None:
    """A damaged SQLite file gets worse with every write. Raises CommandError."""
    if connection.vendor != "sqlite":
        return
    path = Path(str(settings.DATABASES["default"]["NAME"]))
    if is_worth_checking(path) and (found := damage(path)):
        raise CommandError(
            f"The database {path} is damaged ({found}). Nothing was changed. Restore a backup, or run "
            "`manage.py recover --replace`, which copies what can be read into a new file."
        )


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One process at a time prepares the data of this folder, and a database that replicas share."""
    with open(settings.DATA_DIR / "prepare.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with _alone_on_postgresql() if connection.vendor == "postgresql" else contextlib.nullcontext():
            yield


@contextlib.contextmanager
def _alone_on_postgresql() -> Iterator[None]:
    """Not on Django's connection, which what is done meanwhile may close, and the lock with it."""
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as own:
        # Another replica's migrations may take longer than anything else may wait for a lock.
        own.execute("SET lock_timeout = 0")
        own.execute("SELECT pg_advisory_lock(hashtext('codexproxy serve: prepare'))")
        yield


def work(listening: socket.socket, address: tuple[str, int] | None) -> int:
    """Serve in this process; returns its exit code: 1 when something learned could not be written.

    Twisted is imported here: its reactor must not exist before a fork.
    """
    from codexproxy import asgi, proxy_probe
    from codexproxy.server import Lifespan, ServerOptions, serve
    from codexproxy.server_bodies import Heading, Refusal
    from proxy.doorstep import refusal_before_body

    def refused(heading: Heading) -> Refusal | None:
        # A doctor sends a large body on purpose; anybody else is judged there as everywhere.
        if heading.path == proxy_probe.PATH and proxy_probe.is_doctors(heading.headers):
            return None
        return refusal_before_body(heading)

    options = ServerOptions(
        body_limit=limits.body_limit,
        bodies_in_flight_limit=limits.BODIES_IN_FLIGHT_LIMIT,
        busy_retry_after_s=limits.BUSY_RETRY_AFTER_S,
        is_apart=limits.is_dashboards,
        bodies_apart_limit=limits.DASHBOARD_BODIES_IN_FLIGHT_LIMIT,
        admit=refused,
        admit_unseen=limits.BODY_READ_UNSEEN,
    )
    lifespan = Lifespan(
        startup=asgi.startup,
        shutdown=asgi.shutdown,
        begin_drain=asgi.begin_drain,
        ready=(lambda: announce(*address)) if address else (lambda: None),
    )
    return 0 if serve(asgi.application, listening, options, lifespan) else 1


def _leave(code: int) -> NoReturn:
    """At once: an ordinary exit would wait for the threads that wait for the database."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def announce(host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    print(f"codexproxy is ready at http://{shown}:{port}/ (data in {settings.DATA_DIR})", flush=True)
    if demo.is_running():
        demo.announce(host, port)
