"""Whose large body is not read."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from codexproxy.server_bodies import Heading
from proxy.access import AccessRules
from proxy.doorstep import refused
from proxy.gatekeeper import Gatekeeper
from requestlogs.records import Record
from tests.proxy.fakes import Clock

PATH = "/v1/responses"


def heading(peer: str, *headers: tuple[bytes, bytes], path: str = PATH) -> Heading:
    return Heading("POST", path, peer, ((b"host", b"localhost"), *headers))


@pytest.fixture
def running() -> Any:
    records: list[Record] = []
    return SimpleNamespace(
        gatekeeper=Gatekeeper(AccessRules(), Clock()),
        writer=SimpleNamespace(put=records.append),
        records=records,
    )


def test_a_stranger_is_refused_at_the_headers_and_it_is_on_record(running: Any) -> None:
    refusal = refused(heading("203.0.113.9", (b"user-agent", b"curl"), (b"x-request-id", b"mine")), running)
    assert refusal is not None and refusal.status == 401
    assert json.loads(refusal.body or b"")["error"]["type"] == "authentication_error"
    assert dict(refusal.headers)[b"x-request-id"] == b"mine"
    (record,) = running.records
    assert (record.status, record.status_code, record.client) == ("error", 401, "curl")
    assert (record.client_address, record.path, record.request_id) == ("203.0.113.9", PATH, "mine")


def test_a_client_may_name_its_request_with_the_other_header_too(running: Any) -> None:
    refusal = refused(heading("203.0.113.9", (b"request-id", b"mine")), running)
    assert refusal is not None and dict(refusal.headers)[b"x-request-id"] == b"mine"
    assert [record.request_id for record in running.records] == ["mine"]


def test_who_may_come_in_is_let_on_and_leaves_no_record_here(running: Any) -> None:
    assert refused(heading("127.0.0.1"), running) is None
    assert running.records == []
