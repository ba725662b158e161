"""New tokens that the database has not taken yet: this process has the only copy, and goes on trying."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from django.core.exceptions import ValidationError
from django.db import DatabaseError, connections

from codexproxy.crypto import EncryptionKeyError

RETRY_S = 2.0

logger = logging.getLogger(__name__)


class Unsaved:
    """Writes that wait, each under a name. While there are any, a thread tries them again and again."""

    def __init__(self, retry_s: float = RETRY_S) -> None:
        self._retry_s = retry_s
        self._writes: dict[str, Callable[[], object]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._writes

    def keep(self, name: str, write: Callable[[], object]) -> None:
        """`write` may be called any number of times, from another thread."""
        with self._changed:
            self._writes[name] = write
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_on, name="unsaved tokens", daemon=True)
                self._thread.start()

    def end(self, timeout_s: float) -> bool:
        """Wait until all is written; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, timeout_s)

    def _write_on(self) -> None:
        while self._is_left():
            time.sleep(self._retry_s)
            for name, write in list(self._writes.items()):
                if _is_done(name, write):
                    with self._changed:
                        del self._writes[name]
            connections.close_all()

    def _is_left(self) -> bool:
        with self._changed:
            if not self._writes:
                self._thread = None
                self._changed.notify_all()
            return bool(self._writes)


def _is_done(name: str, write: Callable[[], object]) -> bool:
    try:
        write()
    except (DatabaseError, EncryptionKeyError):
        logger.warning("the new tokens of %s cannot be stored yet", name, exc_info=True)
        return False
    except ValidationError:
        logger.exception("the new tokens of %s can never be stored, and are lost", name)
    return True


# Whoever gets tokens in this process: what serves clients, a button, an import.
of_process = Unsaved()
