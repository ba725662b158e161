"""Old records go."""

from __future__ import annotations

from datetime import timedelta

import pytest

from requestlogs.models import RequestRecord
from requestlogs.services import records_trim
from tests.builders import NOW

pytestmark = pytest.mark.django_db


def make(days: int, count: int = 1) -> None:
    RequestRecord.objects.bulk_create(
        RequestRecord(
            request_id=f"{days}-{number}", requested_at=NOW - timedelta(days=days), status="success"
        )
        for number in range(count)
    )


@pytest.mark.parametrize("batch", [1, 3, 7, 5000])
def test_old_records_go_some_at_a_time_and_newer_ones_stay(batch: int) -> None:
    make(31, count=7)
    make(29, count=2)
    assert records_trim(before=NOW - timedelta(days=30), batch=batch) == 7
    assert set(RequestRecord.objects.values_list("request_id", flat=True)) == {"29-0", "29-1"}


def test_without_old_records_nothing_goes() -> None:
    make(1)
    assert records_trim(before=NOW - timedelta(days=30)) == 0
    assert RequestRecord.objects.count() == 1
