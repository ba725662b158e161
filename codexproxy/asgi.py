"""The map of all ways in: clients to the data plane, everything else to Django."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "codexproxy.settings")
django_application = get_asgi_application()

# Django must be set up before anything below is imported.
from channels.routing import ProtocolTypeRouter  # noqa: E402

from codexproxy import health, proxy_probe  # noqa: E402
from codexproxy.background import jobs, run_jobs  # noqa: E402
from codexproxy.db import DatabaseThread  # noqa: E402
from codexproxy.locality import facts_from_scope  # noqa: E402
from codexproxy.tasks import spawn  # noqa: E402
from proxy.endpoint import proxy_http  # noqa: E402
from proxy.runtime import Runtime, drain_sockets, runtime, stop_runtime  # noqa: E402
from proxy.websocket import proxy_websocket  # noqa: E402

logger = logging.getLogger(__name__)

JOBS_END_S = 4.0
_CLIENT_PATHS = re.compile(r"/(?:(?:v1|backend-api)(?:/|$)|api/codex/usage/?$)")


async def _by_path(scope: Any, receive: Any, send: Any) -> None:
    # Channels' URLRouter copies the scope for each request, and its match costs as much as all of ours does.
    if scope["path"] == proxy_probe.PATH and await _may_probe(scope):
        await proxy_probe.probe(scope, receive, send)
        return
    if _CLIENT_PATHS.match(scope["path"]) is not None:
        await proxy_http(scope, receive, send)
        return
    # SECURITY: Daphne lets every client say below which path this is mounted (`Daphne-Root-Path`). The gate
    # would then judge another address than the one that is served, so nobody's word for it counts.
    scope["root_path"] = ""
    await django_application(scope, receive, send)


async def _socket_by_path(scope: Any, receive: Any, send: Any) -> None:
    is_probe = scope["path"] == proxy_probe.PATH and await _may_probe(scope)
    await (proxy_probe.probe if is_probe else proxy_websocket)(scope, receive, send)


async def _may_probe(scope: Any) -> bool:
    """SECURITY: a doctor of this install always; to others it is one more path that the firewall covers, and
    whom that shuts out the data plane refuses, and counts.
    """
    return proxy_probe.is_doctors(scope["headers"]) or not (await runtime()).gatekeeper.shuts_out(
        facts_from_scope(scope)
    )


application = ProtocolTypeRouter({"http": _by_path, "websocket": _socket_by_path})


class _Jobs:
    """The background jobs of this process, while they run."""

    def __init__(self, running: Runtime) -> None:
        self._stop = asyncio.Event()
        self._thread = DatabaseThread("jobs")
        found = jobs(running, self._thread, self._stop)
        self._task = spawn(run_jobs(found, self._thread, self._stop), name="jobs")

    async def end(self) -> None:
        """A job that waits for the database is not waited for long: what requests left is worth more."""
        self._stop.set()
        _, running = await asyncio.wait({self._task}, timeout=JOBS_END_S)
        if running:
            logger.warning("a job is still running; its lease ends by itself")
            self._task.cancel()
            return
        await asyncio.to_thread(self._thread.close)


_jobs: list[_Jobs] = []


async def startup(background: bool = True) -> None:
    """Before the first request: accounts loaded, writer running; with `background` the jobs too."""
    running = await runtime()
    if not background:
        return
    try:
        _jobs.append(_Jobs(running))
    except BaseException:
        await shutdown()
        raise


async def shutdown() -> bool:
    """After the last request: the running job ends, and everything learned is written.

    Returns False when the database did not take it.
    """
    try:
        while _jobs:
            await _jobs.pop().end()
    finally:
        all_is_written = await stop_runtime()
    return all_is_written


def begin_drain() -> None:
    health.begin_drain()
    drain_sockets()
