"""Records are written in groups, a database that is away loses none, and a bad row only itself."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, OperationalError, connection

from codexproxy.db import DatabaseThread
from requestlogs import writer as module
from requestlogs.models import RequestRecord
from requestlogs.records import AttemptRecord, Record, Split, TokenCounts
from requestlogs.writer import RecordWriter
from tests.builders import NOW
from usage.pricing import OwnPrice, PriceBook

pytestmark = pytest.mark.django_db(transaction=True)

Store = Callable[[list[Record]], None]


def record(number: int = 1, **fields: Any) -> Record:
    return Record(f"req-{number}", NOW, **fields)


def records(count: int, **fields: Any) -> list[Record]:
    return [record(number, **fields) for number in range(count)]


class Time:
    """A clock that only a pause moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def thread() -> Iterator[DatabaseThread]:
    thread = DatabaseThread("test")
    yield thread
    thread.close()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the groups that were tried."""
    sizes: list[int] = []
    store = module.records_store

    def noted(group: list[Record], prices: PriceBook) -> None:
        sizes.append(len(group))
        store(group, prices)

    monkeypatch.setattr(module, "records_store", noted)
    return sizes


def failing(monkeypatch: pytest.MonkeyPatch, times: int, error: Exception) -> None:
    """The database fails so many times, then works."""
    store, left = module.records_store, [error] * times

    def broken(group: list[Record], prices: PriceBook) -> None:
        if left:
            raise left.pop()
        store(group, prices)

    monkeypatch.setattr(module, "records_store", broken)


def write(
    thread: DatabaseThread, given: list[Record], time: Time | None = None, **options: Any
) -> RecordWriter:
    """Everything that happens between a start and a stop."""

    async def run() -> RecordWriter:
        if time is not None:
            options.update(clock=time, sleep=time.sleep)
        writer = RecordWriter(thread, **options)
        await writer.start()
        for each in given:
            writer.put(each)
        await writer.stop()
        return writer

    return asyncio.run(run())


def test_a_record_is_priced_as_the_operator_says_from_then_on(thread: DatabaseThread) -> None:
    async def run() -> None:
        writer = RecordWriter(thread)
        await writer.start()
        writer.prices = PriceBook([OwnPrice("house-model", "standard", Decimal(2), None, Decimal(4))])
        writer.put(record(model="house-model", tokens=TokenCounts(1_000_000, 0, 500_000)))
        await writer.stop()

    asyncio.run(run())
    assert RequestRecord.objects.get().cost_usd == Decimal(4)


def test_a_record_becomes_a_row_with_its_cost(thread: DatabaseThread) -> None:
    given = record(
        account_id="acc-1",
        model="gpt-5.5",
        status="success",
        status_code=200,
        tokens=TokenCounts(1200, 1000, 50, 10),
        latency_ms=900,
        first_token_ms=90,
        attempts=[AttemptRecord("acc-1", 3, "success", 200)],
        routing={"why": "the only one"},
        split=Split(queue_ms=0.314, own_ms=0.5),
    )
    write(thread, [given])
    row = RequestRecord.objects.get()
    assert (row.request_id, row.requested_at, row.account_id) == ("req-1", NOW, "acc-1")
    assert (row.status, row.status_code, row.cost_usd) == ("success", 200, Decimal("0.003000"))
    assert (row.input_tokens, row.cached_input_tokens, row.output_tokens, row.reasoning_tokens) == (
        1200,
        1000,
        50,
        10,
    )
    assert (row.latency_ms, row.first_token_ms, row.routing) == (900, 90, {"why": "the only one"})
    assert row.attempts[0]["account_id"] == "acc-1"
    assert row.attempts[0]["started_ms"] == 3
    assert row.split == {"queue": 0.31, "choose": 0.0, "connect": 0.0, "upstream": 0.0, "own": 0.5}


def test_what_waits_is_written_in_groups(thread: DatabaseThread, groups: list[int]) -> None:
    writer = write(thread, records(1200))
    assert groups == [500, 500, 200]
    assert (writer.written, writer.pending, writer.dropped, writer.failed) == (1200, 0, 0, 0)
    assert list(RequestRecord.objects.order_by("pk").values_list("request_id", flat=True)) == [
        f"req-{number}" for number in range(1200)
    ]


def test_a_record_does_not_wait_for_a_group_to_fill(thread: DatabaseThread) -> None:
    async def run() -> int:
        writer = RecordWriter(thread)
        await writer.start()
        writer.put(record())
        async with asyncio.timeout(5):
            while writer.pending:
                await asyncio.sleep(0.001)
        written = writer.written
        await writer.stop()
        return written

    assert asyncio.run(run()) == 1


def test_over_capacity_records_are_counted_and_said_once_a_minute(
    thread: DatabaseThread, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    writer = RecordWriter(thread, capacity=10, clock=time)
    for each in records(25):
        writer.put(each)
    assert (writer.pending, writer.dropped) == (10, 15)
    assert len(caplog.records) == 1
    time.now += 60
    writer.put(record())
    assert [entry.message for entry in caplog.records][-1].startswith("16 request records were dropped")


def test_putting_never_waits_for_the_database(
    thread: DatabaseThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_locked = threading.Event()
    store = module.records_store

    def locked(group: list[Record], prices: PriceBook) -> None:
        is_locked.wait(10)
        store(group, prices)

    monkeypatch.setattr(module, "records_store", locked)

    async def run() -> RecordWriter:
        writer = RecordWriter(thread)
        await writer.start()
        writer.put(record(1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        writer.put(record(2))
        assert (writer.written, writer.pending) == (0, 2)
        is_locked.set()
        await writer.stop()
        return writer

    assert asyncio.run(run()).written == 2


def test_a_locked_table_loses_nothing(
    thread: DatabaseThread, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, 12, OperationalError("database is locked"))

    async def run() -> RecordWriter:
        writer = RecordWriter(thread, clock=time, sleep=time.sleep)
        await writer.start()
        for each in records(5):
            writer.put(each)
        async with asyncio.timeout(10):
            while writer.pending:
                await asyncio.sleep(0)
        await writer.stop()
        return writer

    writer = asyncio.run(run())
    assert (writer.written, writer.failed) == (5, 0)
    assert time.pauses[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert max(time.pauses) == 5.0
    assert RequestRecord.objects.count() == 5


def test_a_stop_waits_for_a_database_that_comes_back(
    thread: DatabaseThread, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, 5, OperationalError("database is locked"))
    writer = write(thread, records(5), time)
    assert (writer.written, writer.failed) == (5, 0)


def test_a_stop_does_not_wait_for_ever(
    thread: DatabaseThread, time: Time, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing(monkeypatch, 1000, OperationalError("database is locked"))
    writer = write(thread, records(1200), time)
    assert (writer.written, writer.failed, writer.pending) == (0, 1200, 0)
    assert 10 <= time.now <= 15
    assert "1200 request records are lost" in caplog.text


@pytest.mark.parametrize("error", [IntegrityError("check failed"), OverflowError("too large")])
def test_a_row_that_is_refused_loses_only_itself(
    thread: DatabaseThread,
    time: Time,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = module.records_store

    def picky(group: list[Record], prices: PriceBook) -> None:
        if any(each.request_id == "req-3" for each in group):
            raise error
        store(group, prices)

    monkeypatch.setattr(module, "records_store", picky)
    writer = write(thread, records(6), time)
    assert (writer.written, writer.failed, writer.pending) == (5, 1, 0)
    assert not RequestRecord.objects.filter(request_id="req-3").exists()
    assert "the record of request req-3 is lost" in caplog.text
    assert time.pauses == []


def test_a_lock_while_rows_are_written_alone_loses_nothing(
    thread: DatabaseThread, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = module.records_store
    errors: list[Exception] = [IntegrityError("no"), OperationalError("locked"), OperationalError("locked")]

    def broken(group: list[Record], prices: PriceBook) -> None:
        if errors:
            raise errors.pop(0)
        store(group, prices)

    monkeypatch.setattr(module, "records_store", broken)
    writer = write(thread, records(3), time)
    assert (writer.written, writer.failed) == (3, 0)


def test_the_writer_goes_on_after_a_bad_row(thread: DatabaseThread) -> None:
    unserialisable = record(2, routing={"why": object()})
    writer = write(thread, [record(1), unserialisable, record(3)], group=1)
    assert (writer.written, writer.failed) == (2, 1)


def test_after_the_stop_a_record_is_counted_as_dropped(thread: DatabaseThread) -> None:
    writer = write(thread, [])
    writer.put(record())
    assert (writer.dropped, writer.pending) == (1, 0)


def test_texts_are_cut_and_cleaned(thread: DatabaseThread) -> None:
    odd = "a\x00b\ud800c" + "d" * 3000
    given = record(
        client=odd,
        model=odd,
        path=odd,
        conversation=odd,
        error_code=odd,
        error_message=odd,
        reasoning_effort=odd,
        service_tier=odd,
        attempts=[AttemptRecord("acc-1", 1, message="x\x00y\ud800")],
        routing={"w\x00hy": ["\ud800", {"deep": "\x00"}], "number": 1},
    )
    writer = write(thread, [given])
    assert writer.failed == 0
    row = RequestRecord.objects.get()
    assert row.model == ("ab?c" + "d" * 3000)[:120]
    assert len(row.error_message) == 2000
    assert row.attempts[0]["message"] == "xy?"
    assert row.routing == {"why": ["?", {"deep": ""}], "number": 1}
    row.full_clean()


@pytest.mark.parametrize("odd", [-1, 10**30])
def test_a_number_that_its_column_cannot_hold_is_unknown(thread: DatabaseThread, odd: int) -> None:
    given = record(
        model="gpt-5.5",
        status_code=odd,
        latency_ms=odd,
        first_token_ms=odd,
        tokens=TokenCounts(odd, odd, odd, odd),
    )
    assert write(thread, [given]).written == 1
    row = RequestRecord.objects.get()
    assert (row.status_code, row.latency_ms, row.first_token_ms, row.cost_usd) == (None, None, None, None)
    assert (row.input_tokens, row.cached_input_tokens, row.output_tokens, row.reasoning_tokens) == (None,) * 4


def test_a_database_error_of_another_kind_is_not_waited_for(
    thread: DatabaseThread, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, 1, DatabaseError("odd"))
    assert write(thread, records(2), time).written == 2
    assert time.pauses == []


def test_a_real_lock_is_waited_for(thread: DatabaseThread) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("this lock is SQLite's")
    other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    async def unlock(seconds: float) -> None:
        other.execute("ROLLBACK")

    def hurry() -> None:
        connection.cursor().execute("PRAGMA busy_timeout = 1")

    async def run() -> RecordWriter:
        await thread.run(hurry)
        writer = RecordWriter(thread, sleep=unlock)
        await writer.start()
        for each in records(3):
            writer.put(each)
        await writer.stop()
        return writer

    try:
        assert asyncio.run(run()).written == 3
    finally:
        other.close()
    assert RequestRecord.objects.count() == 3
