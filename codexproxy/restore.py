"""Puts a backup into this install: all of it, or nothing.

A backup of an older version is loaded into the tables as they were then, and migrated from there, so that
each migration of data since then sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import DatabaseError, connection, models, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from accounts import audit, changes
from accounts.encryption_check import verify_key
from codexproxy.backup import Made, carried
from codexproxy.backup_file import BackupFile, Manifest, Table, opened, verify

Node = tuple[str, str]

_ROWS_AT_ONCE = 500
# What a start makes by itself, and what says only that there was one.
_OF_A_FRESH_INSTALL = frozenset(
    {
        "accounts.auditevent",
        "auth.user",
        "proxy.modelcatalogue",
        "proxy.settings",
        "proxy.firewallrefusal",
    }
)
# Not replaced: migrate keeps the first two, and the key is this install's own.
_KEPT = frozenset({"contenttypes.contenttype", "auth.permission", "accounts.encryptionkeyfingerprint"})


class RestoreRefused(Exception):
    """Nothing was changed; the message says why, for an operator."""


def restore(path: Path, *, passphrase: str, replace: bool = False) -> Made:
    """Raises RestoreRefused, OSError, SealError, OtherFormat and EncryptionKeyError."""
    # The whole file first: a broken one must not cost what is here.
    manifest = verify(path, passphrase)
    call_command("migrate", verbosity=0)
    # Before anything is written: with a wrong key nothing that is restored could be read.
    verify_key()
    if not replace and (held := first_held()):
        raise RestoreRefused(
            f"This install is not empty: it has {held}. Restore into a fresh data folder or database, or "
            "with --replace, which removes everything that is here."
        )
    targets = _targets(manifest)
    is_older = bool(MigrationExecutor(connection).migration_plan(targets))
    if is_older and first_held():
        raise RestoreRefused(
            f"The backup is of the older version {manifest.version}: it can only be restored into an empty "
            "install, and is brought up to date there."
        )
    if is_older:
        _migrate_to(targets)
    with opened(path, passphrase) as backup:
        made = _load(backup, targets, finish=_note if not is_older else _do_nothing)
    if is_older:
        call_command("migrate", verbosity=0)
        _note(made)
    return made


def first_held() -> str:
    """What of an operator's is here, in words; "" when the install is as after its first start."""
    # What an operator knows by name comes first.
    for model in sorted(carried(), key=lambda model: not model.__module__.startswith("accounts.models")):
        if model._meta.label_lower not in _OF_A_FRESH_INSTALL and (number := model._base_manager.count()):
            return f"{number} {model._meta.verbose_name_plural if number > 1 else model._meta.verbose_name}"
    locked = User.objects.exclude(password__startswith="!").exists()  # noqa: S106 - how Django marks one that opens nothing
    return "a password" if locked else ""


def _targets(manifest: Manifest) -> list[Node]:
    """The last migration of each app that the backup's install had. Raises RestoreRefused."""
    loader = MigrationLoader(connection)
    had = set(manifest.migrations)
    if unknown := sorted(had - set(loader.graph.nodes)):
        app, name = unknown[0]
        raise RestoreRefused(
            f"The backup is of codexproxy {manifest.version}, which knows more than this version ({app} "
            f"{name}). Install that version or a newer one."
        )
    return sorted(
        node
        for node in had
        if not any(
            child.key in had and child.key[0] == node[0] for child in loader.graph.node_map[node].children
        )
    )


def _migrate_to(targets: list[Node]) -> None:
    try:
        MigrationExecutor(connection).migrate(targets)
    except DatabaseError as error:
        raise RestoreRefused(f"The tables cannot be made as they were then: {error}") from None


def _load(backup: BackupFile, targets: list[Node], finish: Callable[[Made], None]) -> Made:
    """In one transaction, so that whoever looks sees the former rows or all the new ones."""
    known = MigrationLoader(connection).project_state(targets).apps
    expected = {model._meta.label_lower: model for model in carried(known)}
    tables = rows = 0
    try:
        with transaction.atomic():
            _remove_everything(known)
            for table, found in backup.tables():
                if table.table not in expected:
                    raise RestoreRefused(f"The backup has a table that is not known here: {table.table}.")
                rows += _load_table(expected[table.table], table, found)
                tables += 1
            # What was held for requests that ran then; nobody would give it back.
            known.get_model("proxy", "ApiKeyLimit")._base_manager.update(reserved=0)
            _set_sequences(expected.values())
            made = Made(tables, rows)
            finish(made)
    except (DatabaseError, ValidationError) as error:
        raise RestoreRefused(f"Nothing was restored: a row does not fit. {error}") from error
    return made


def _remove_everything(known: Any) -> None:
    tables = [
        model._meta.db_table
        for model in known.get_models(include_auto_created=True)
        if not model._meta.proxy and model._meta.label_lower not in _KEPT
    ]
    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), tables, reset_sequences=True))


def _load_table(model: type[models.Model], table: Table, rows: Iterator[list[Any]]) -> int:
    fields = {field.attname: field for field in model._meta.local_concrete_fields}
    if unknown := sorted(set(table.columns) - set(fields)):
        raise RestoreRefused(f"The backup has a column that is not known here: {table.table}.{unknown[0]}.")
    for field in fields.values():
        # Of this state's own copies of the fields: a restored row keeps its times.
        if isinstance(field, models.DateField):
            field.auto_now = field.auto_now_add = False
    readers = [(name, _reader(fields[name])) for name in table.columns]
    made = (
        model(**{name: read(value) for (name, read), value in zip(readers, row, strict=True)}) for row in rows
    )
    number = 0
    while batch := list(islice(made, _ROWS_AT_ONCE)):
        model._base_manager.bulk_create(batch)
        number += len(batch)
    return number


def _reader(field: models.Field[Any, Any]) -> Callable[[Any], Any]:
    return field.target_field.to_python if isinstance(field, models.ForeignKey) else field.to_python


def _set_sequences(loaded: Any) -> None:
    """PostgreSQL hands out numbers without a look at the rows that came with theirs."""
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), list(loaded)):
            cursor.execute(statement)


def _note(made: Made) -> None:
    changes.bump()
    audit.record("install_restored", detail=f"{made.rows} rows")


def _do_nothing(made: Made) -> None:
    return
