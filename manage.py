#!/usr/bin/env python3
"""Django's command line: serve, background, import_accounts, migrate and the rest."""

from __future__ import annotations

import os
import sys


def main() -> None:
    if "--demo" in sys.argv:
        # Before the settings are read: the demo has its own data folder, key and upstream.
        from codexproxy import demo

        demo.prepare()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "codexproxy.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
