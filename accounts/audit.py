"""Writes down security-relevant acts: who, from where, what; never a secret.

Whoever serves a request says once who acts; the services that it calls only say what they did.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from django.contrib.admin.models import LogEntry

from accounts.models import AuditEvent


@dataclass(frozen=True, slots=True)
class Actor:
    name: str
    address: str = ""


COMMAND_LINE = Actor("command line")
_actor: ContextVar[Actor] = ContextVar("actor", default=COMMAND_LINE)


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def actor() -> str:
    """Who acts now."""
    return _storable(_actor.get().name, 150)


def record(action: str, *, subject: str = "", detail: str = "") -> AuditEvent:
    """In the caller's transaction: what was not done is not recorded."""
    actor = _actor.get()
    return AuditEvent.objects.create(
        actor=_storable(actor.name, 150),
        address=_storable(actor.address, 64),
        action=action,
        subject=_storable(subject, 250),
        detail=_storable(detail, 2000),
    )


def forget(*, before: datetime) -> int:
    deleted, _ = AuditEvent.objects.filter(at__lt=before).delete()
    return deleted


def history_forget(*, before: datetime) -> int:
    """Of the history that Django keeps of each object in the dashboard."""
    deleted, _ = LogEntry.objects.filter(action_time__lt=before).delete()
    return deleted


def _storable(text: str, length: int) -> str:
    # PostgreSQL refuses NUL.
    return text.replace("\x00", "")[:length]
