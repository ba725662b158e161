"""Looks the install over and says what is wrong and how it is put right."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection
from django.utils import timezone

from codexproxy import doctor
from codexproxy.doctor import Finding
from codexproxy.proxy_doctor import check_proxy
from codexproxy.proxy_probe import make_token
from proxy.settings_services import settings_get
from requestlogs.rollups import rollups_rebuild

_SIGNS = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}


class Command(BaseCommand):
    help = "Check the folder, database, key, accounts, jobs, notices, sums, clock, upstream, reverse proxy."
    # What the system checks refuse to start with is what this is for.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--offline", action="store_true", help="ask neither the upstream hosts nor the public address"
        )
        parser.add_argument(
            "--url",
            default="",
            help="the public address to check the reverse proxy through, instead of the setting's",
        )
        parser.add_argument(
            "--silence",
            type=float,
            default=0.0,
            metavar="SECONDS",
            help="see whether the reverse proxy waits so long for an answer (75 shows a limit of a minute)",
        )
        parser.add_argument(
            "--recount", action="store_true", help="first write wrong hourly sums of the last week anew"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["recount"]:
            mended = rollups_rebuild(**doctor.recount_span(timezone.now()))
            self.stdout.write(f"{mended} hourly sums were wrong and have been counted anew.")
        problems = 0
        for finding in self._findings(options):
            self.stdout.write(f"{_SIGNS[finding.level]}  {finding.about}: {finding.found}")
            if finding.fix:
                self.stdout.write(f"         → {finding.fix}")
            problems += finding.level == "problem"
        if problems:
            sys.exit(1)

    def _findings(self, options: dict[str, Any]) -> Iterator[Finding]:
        yield from doctor.check_folder(settings.DATA_DIR)
        is_sqlite = connection.vendor == "sqlite"
        file = Path(str(settings.DATABASES["default"]["NAME"])) if is_sqlite else None
        database = list(doctor.check_database(file))
        yield from database
        is_readable = not any(finding.level == "problem" for finding in database)
        if is_readable:
            yield from self._rows()
        if not options["offline"]:
            addresses = {"upstream": settings.UPSTREAM_BASE_URL, "sign-in": settings.AUTH_BASE_URL}
            yield from doctor.check_hosts(addresses)
            public = options["url"] or (settings_get().public_base_url if is_readable else "")
            if public:
                yield from check_proxy(public, make_token(), silence_s=options["silence"])

    def _rows(self) -> Iterator[Finding]:
        try:
            yield from doctor.check_key()
            yield from doctor.check_accounts()
            yield from doctor.check_jobs(timezone.now())
            yield from doctor.check_notices()
            yield from doctor.check_sums(timezone.now())
        except DatabaseError as error:
            yield Finding(
                "problem", "database", f"its tables cannot be read: {error}", "See the lines above."
            )
