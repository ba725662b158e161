"""The newest records, page by page."""

from __future__ import annotations

import pytest

from requestlogs.models import RequestRecord
from requestlogs.selectors import records_newest

pytestmark = pytest.mark.django_db


def test_pages_follow_each_other_without_gap_or_repetition_while_records_come_in() -> None:
    for number in range(5):
        RequestRecord.objects.create(request_id=str(number), status="success")
    first = records_newest(limit=2)
    RequestRecord.objects.create(request_id="new", status="success")
    second = records_newest(limit=2, before_id=first[-1].pk)
    third = records_newest(limit=2, before_id=second[-1].pk)
    assert [[row.request_id for row in page] for page in (first, second, third)] == [
        ["4", "3"],
        ["2", "1"],
        ["0"],
    ]


def test_the_first_page_begins_with_the_newest() -> None:
    for number in range(3):
        RequestRecord.objects.create(request_id=str(number), status="success")
    assert [row.request_id for row in records_newest()] == ["2", "1", "0"]
