"""Tells every process that accounts, keys or settings have changed: a version that grows."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction
from django.db.models import F

from accounts.models import ConfigVersion

Listener = Callable[[], None]

_listeners: list[Listener] = []


@transaction.atomic
def bump() -> int:
    """Raise the version in the caller's transaction; returns the new one.

    Other processes see it when they next ask. The listeners of this one are called after the commit, each
    in the thread that has committed.
    """
    rows = ConfigVersion.objects.filter(pk=1)
    if not rows.update(version=F("version") + 1):
        ConfigVersion.objects.get_or_create(pk=1)
        rows.update(version=F("version") + 1)
    for listener in tuple(_listeners):
        # Robust: what was written is written, whatever a listener makes of it.
        transaction.on_commit(listener, robust=True)
    # The update holds the row until the commit, so nobody has raised it further.
    return rows.values_list("version", flat=True).get()


def current_version() -> int:
    """0 until something has changed."""
    return ConfigVersion.objects.filter(pk=1).values_list("version", flat=True).first() or 0


def subscribe(listener: Listener) -> None:
    _listeners.append(listener)


def unsubscribe(listener: Listener) -> None:
    """Does nothing for one that is not subscribed."""
    if listener in _listeners:
        _listeners.remove(listener)
