"""Steps that change data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE = [("accounts", "0001_initial")]
AFTER = [("accounts", "0002_normalize_plan_types")]


@pytest.fixture(autouse=True)
def newest() -> Iterator[None]:
    yield
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def migrated(targets: list[tuple[str, str]]) -> MigrationExecutor:
    executor = MigrationExecutor(connection)
    executor.migrate(targets)
    return MigrationExecutor(connection)


def test_plans_are_written_in_one_way_and_a_second_run_changes_nothing() -> None:
    accounts = migrated(BEFORE).loader.project_state(BEFORE).apps.get_model("accounts", "Account")
    plans = ["PRO", " Plus ", "", "education", "FooPlan"]
    for number, plan in enumerate(plans):
        accounts.objects.create(id=f"a{number}", email="a@example.com", plan_type=plan)
    expected = ["pro", "plus", "unknown", "education", "FooPlan"]
    for _ in range(2):
        migrated(AFTER)
        assert list(accounts.objects.order_by("id").values_list("plan_type", flat=True)) == expected
        migrated(BEFORE)
