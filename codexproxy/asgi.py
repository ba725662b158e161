"""The map of all ways in: clients to the data plane, everything else to Django."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "codexproxy.settings")
django_application = get_asgi_application()

# Django must be set up before anything below is imported.
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import re_path  # noqa: E402

from codexproxy import health  # noqa: E402
from proxy.endpoint import proxy_http  # noqa: E402
from proxy.runtime import runtime, stop_runtime  # noqa: E402
from proxy.websocket import proxy_websocket  # noqa: E402

_CLIENT_PATHS = r"^(?:v1|backend-api)(?:/|$)"

application = ProtocolTypeRouter(
    {
        "http": URLRouter([re_path(_CLIENT_PATHS, proxy_http), re_path(r"", django_application)]),
        "websocket": URLRouter([re_path(r"", proxy_websocket)]),
    }
)


async def startup(background: bool = True) -> None:
    """Before the first request: accounts loaded, writer running; with `background` the jobs too."""
    await runtime()


async def shutdown() -> None:
    """After the last request: everything learned is written."""
    await stop_runtime()


def begin_drain() -> None:
    health.begin_drain()
