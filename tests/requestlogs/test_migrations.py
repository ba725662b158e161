"""Steps that change data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from requestlogs.rollups import rollups_differences
from tests.builders import NOW

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE = [("requestlogs", "0002_record_key_index")]


@pytest.fixture(autouse=True)
def newest() -> Iterator[None]:
    yield
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def test_what_is_there_already_is_counted() -> None:
    executor = MigrationExecutor(connection)
    rows = executor.migrate(BEFORE).apps.get_model("requestlogs", "RequestRecord").objects
    fields = {"requested_at": NOW, "account_id": "acc-1", "model": "gpt-5.1"}
    rows.create(status="success", input_tokens=100, cached_input_tokens=999, first_token_ms=300, **fields)
    rows.create(status="success", first_token_ms=250, **fields)
    rows.create(status="success", first_token_ms=99_000, **fields)
    rows.create(status="success", api_key_id=3, reasoning_tokens=7, cost_usd="0.5", **fields)
    rows.create(status="error", requested_at=NOW, model="asked", latency_ms=5)
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())
    day = timedelta(days=1)
    assert rollups_differences(since=NOW - day, until=NOW + day) == []
