"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.db.models.signals import post_migrate

ROOT = Path(__file__).resolve().parent.parent
# Their tests start servers, on whichever database is configured.
_WITH_SERVERS = frozenset({"e2e", "faults", "register"})


def missing(what: str) -> None:
    """A program that a test needs is not here: a skip for a person, a failure in CI."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{what} is missing", pytrace=False)
    pytest.skip(f"{what} is missing")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What uses the configured database is marked, so that a run on another one can do without the rest."""
    for item in items:
        uses_it = item.get_closest_marker("django_db") is not None
        if uses_it or item.path.parent.name in _WITH_SERVERS:
            item.add_marker("database")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> None:
    """After each test that commits, Django would write all model permissions anew, which nobody reads."""
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
