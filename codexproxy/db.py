"""The boundary between asyncio and the ORM: database work runs in threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import DatabaseError, connections

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseThread:
    """One thread for one kind of database work, so that a locked table never stalls the others.

    Calls run one after another, in the order in which they were made.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: _run(function, *args, **kwargs))

    def close(self) -> None:
        """Wait for what is running, close the thread's connections and end it."""
        self._executor.submit(connections.close_all)
        self._executor.shutdown(wait=True)


def _run(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    connection = connections["default"]
    try:
        result = function(*args, **kwargs)
    except DatabaseError:
        connection.close()
        raise
    if connection.vendor != "sqlite":
        # Back to the pool: a thread that waits must not hold a server connection.
        connection.close()
    return result
