"""The benchmark of the dashboard's pages fills a database, and every page that it measures answers."""

from __future__ import annotations

import pytest

from benchmarks.rows import ACCOUNTS, PAGES, main
from requestlogs.models import RequestRecord
from usage.models import WindowSample


@pytest.mark.django_db
def test_every_page_answers_over_the_rows_that_are_stored(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--count", "60", "--days", "0.02", "--rounds", "1"])
    assert RequestRecord.objects.count() == 60
    # A reading a minute, of two windows.
    assert WindowSample.objects.count() == 29 * ACCOUNTS * 2
    shown = capsys.readouterr().out
    assert [name for name, _ in PAGES if name not in shown] == []
