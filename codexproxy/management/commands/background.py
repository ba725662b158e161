"""Runs the background jobs beside a plain Daphne; `serve` runs them by itself."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from codexproxy.crypto import EncryptionKeyError


class Command(BaseCommand):
    help = "Run the background jobs until SIGTERM or Ctrl-C."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            asyncio.run(_run())
        except EncryptionKeyError as error:
            raise CommandError(str(error)) from None


async def _run() -> None:
    from codexproxy.asgi import shutdown, startup

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await startup(background=True)
    await ended.wait()
    await shutdown()
