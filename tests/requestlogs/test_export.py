"""The request log as a file."""

from __future__ import annotations

import csv
from decimal import Decimal
from ipaddress import ip_network
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient

from requestlogs.export import COLUMNS, cell
from requestlogs.models import RequestRecord

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.asyncio
async def test_what_the_list_shows_is_downloaded_newest_first(settings: Any) -> None:
    # What the client names itself, and where it comes from.
    settings.NAMED_HOSTS, settings.DASHBOARD_NETWORKS = ["testserver"], (ip_network("127.0.0.0/8"),)
    for number, status in enumerate(("success", "error", "error")):
        await RequestRecord.objects.acreate(
            request_id=f"r{number}", status=status, cost_usd=Decimal("0.5"), client='a "client", quoted'
        )
    url = "/admin/requestlogs/requestrecord/export/?outcome=failed"
    response = await AsyncClient().get(url)
    assert response.status_code == 200
    assert response.headers["Content-Disposition"] == 'attachment; filename="requests.csv"'
    text = b"".join([part async for part in response.streaming_content]).decode()
    # Those of the thread that the view has run in: PostgreSQL keeps a database that is still used.
    await sync_to_async(connections.close_all)()
    heading, *rows = csv.reader(text.splitlines())
    assert heading == list(COLUMNS)
    assert [row[1] for row in rows] == ["r2", "r1"]
    assert dict(zip(heading, rows[0], strict=True))["client"] == 'a "client", quoted'


@pytest.mark.parametrize(
    ("value", "written"), [("=1+1", "'=1+1"), ("@x", "'@x"), (-5, "-5"), (None, ""), ("plain", "plain")]
)
def test_no_text_begins_a_formula(value: object, written: str) -> None:
    assert cell(value) == written
