"""The items of the review's backlog."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError

from accounts.models import Account
from codexproxy.db import DatabaseThread
from codexproxy.locality import Network, facts_from_pairs, resolve_client
from proxy.simulator import Ok, Usage
from requestlogs.models import RequestRecord
from requestlogs.records import Record, TokenCounts
from requestlogs.writer import records_store
from tests.builders import NOW, make_account
from tests.codexproxy.browsing import browser
from tests.e2e.server import Server
from tests.register.pool import REVERSE_PROXY, Pool
from tests.usage.test_refresh import Backend, Refresher, World
from usage.models import CurrentWindow, WindowSample
from usage.pricing import OwnPrice, PriceBook, cost_usd
from usage.quota import Known, Standing, status_after
from usage.services import sample_store
from usage.windows import ModelLimit, Sample, WindowReading

AT = 1_700_000_000.0
ACCOUNT = "acc-1_00000001"
LISTED = "198.51.100.10"
MODELS = "/v1/models"

# --- B1: only a trusted proxy says who the client is ----------------------------------------------


@pytest.fixture
def listed(pool: Pool) -> Iterator[None]:
    """Only this address may come in."""
    assert pool.send("POST", "/api/firewall/ips", {"ipAddress": LISTED}).status == 200
    pool.until_models(403)
    yield
    assert pool.send("DELETE", f"/api/firewall/ips/{LISTED}").status == 200
    pool.until_models(200)


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    ("source", "forwarded", "status"),
    [
        (REVERSE_PROXY, LISTED, 200),
        (REVERSE_PROXY, f"203.0.113.20, {LISTED}", 200),
        # The client put the listed address there itself, in front of what the proxy saw.
        (REVERSE_PROXY, f"{LISTED}, 203.0.113.20", 403),
        (REVERSE_PROXY, "garbage", 403),
        (REVERSE_PROXY, None, 403),
        ("127.0.0.1", LISTED, 403),
        ("127.0.0.5", LISTED, 403),
    ],
)
def test_b1_only_a_trusted_proxy_names_the_client(
    pool: Pool, source: str, forwarded: str | None, status: int
) -> None:
    headers = {} if forwarded is None else {"X_Forwarded_For": forwarded}
    assert pool.send("GET", MODELS, source=source, **headers).status == status


def test_b1_addresses_are_written_in_one_way_and_once(pool: Pool) -> None:
    path = "/api/firewall/ips"
    added = pool.send("POST", path, {"ipAddress": "2001:DB8:0:0::1"})
    try:
        assert (added.status, added.json()["ipAddress"]) == (200, "2001:db8::1")
        again = pool.send("POST", path, {"ipAddress": "2001:db8::0:1"})
        assert (again.status, again.json()["error"]["code"]) == (409, "ip_exists")
        bad = pool.send("POST", path, {"ipAddress": "1.2.3"})
        assert (bad.status, bad.json()["error"]["code"]) == (400, "invalid_ip")
    finally:
        assert pool.send("DELETE", f"{path}/2001:db8::1").status == 200
        pool.until_models(200)


def test_b1_the_same_address_many_times_at_once_is_added_once(pool: Pool) -> None:
    path = "/api/firewall/ips"
    try:
        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(lambda _: pool.send("POST", path, {"ipAddress": LISTED}), range(6)))
        assert sorted(answer.status for answer in answers) == [200] + [409] * 5
        refused = [answer.json()["error"]["code"] for answer in answers if answer.status == 409]
        assert refused == ["ip_exists"] * 5
    finally:
        assert pool.send("DELETE", f"{path}/{LISTED}").status == 200
        pool.until_models(200)


def networks(*given: str) -> tuple[Network, ...]:
    return tuple(ip_network(network) for network in given)


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        ((), "127.0.0.1", LISTED, "127.0.0.1"),
        (("127.0.0.1/32",), "127.0.0.1", LISTED, LISTED),
        (("127.0.0.1/32",), "::ffff:127.0.0.1", LISTED, LISTED),
        (("127.0.0.1/32",), "198.51.100.25", LISTED, "198.51.100.25"),
        (("127.0.0.1/32",), "127.0.0.1", "garbage", None),
        # A socket that has no address: a list that is not empty denies it.
        (("127.0.0.1/32",), None, LISTED, None),
    ],
)
def test_b1_who_the_client_is(
    trusted: tuple[str, ...], peer: str | None, forwarded: str, client: str | None
) -> None:
    facts = facts_from_pairs(peer, [("x-forwarded-for", forwarded)])
    found = resolve_client(facts, networks(*trusted))
    assert (None if found is None else str(found)) == client


def test_b1_a_network_that_is_none_stops_the_start(tmp_path: Path) -> None:
    server = Server(tmp_path / "served", {"CODEXPROXY_TRUSTED_PROXIES": "10.0.0.0/99"})
    done = server.manage("check")
    assert done.returncode != 0
    assert "10.0.0.0/99" in done.stdout + done.stderr


# --- B2: a limit without an end lasts until the window's reset ------------------------------------


def after(
    *, used: float = 50.0, runtime: float | None = None, primary: float | None = None, minutes: int = 300
) -> Standing:
    """Moments are seconds from now."""
    ends_at = None if primary is None else AT + primary
    return status_after(
        status="rate_limited",
        primary=Known(used, ends_at, minutes),
        secondary=Known(),
        runtime_reset_at=None if runtime is None else AT + runtime,
        now=AT,
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"primary": 600}, Standing("rate_limited", 50.0, AT + 600)),
        ({"runtime": 3600}, Standing("rate_limited", 50.0, AT + 3600)),
        ({"runtime": -3600}, Standing("active", 50.0, None)),
        ({"primary": -1}, Standing("active", 50.0, None)),
        # An account that has served its limit is not limited again by the next window.
        ({"runtime": -3600, "primary": 600}, Standing("active", 50.0, None)),
        ({"used": 100.0, "minutes": 1}, Standing("rate_limited", 100.0, AT + 60)),
    ],
)
def test_b2_a_limit_stays_until_its_boundary(given: dict[str, Any], expected: Standing) -> None:
    assert after(**given) == expected


@pytest.mark.django_db
def test_b2_a_reading_below_the_limit_keeps_it_until_the_window_s_reset() -> None:
    make_account(ACCOUNT, status=Account.Status.RATE_LIMITED, blocked_at=NOW, reset_at=None)
    ends_at = NOW.timestamp() + 600
    reading = WindowReading("primary", 50.0, ends_at, 300)
    sample_store(account_id=ACCOUNT, sample=Sample((reading,), NOW.timestamp() + 1, "usage", is_whole=True))
    account = Account.objects.get()
    assert (account.status, account.reset_at and account.reset_at.timestamp()) == ("rate_limited", ends_at)


# --- B3: both windows of a reading are stored, or neither -----------------------------------------


def reading_of(*names: str) -> Sample:
    at = NOW.timestamp()
    return Sample(tuple(WindowReading(name, 12.0, at + 600, 300) for name in names), at, "usage")


@pytest.mark.django_db
@pytest.mark.parametrize("names", [("primary", "secondary"), ("primary",), ()])
def test_b3_a_reading_is_stored_whole_with_one_moment(names: tuple[str, ...]) -> None:
    make_account(ACCOUNT)
    sample_store(account_id=ACCOUNT, sample=reading_of(*names))
    for rows in (WindowSample.objects.order_by("window"), CurrentWindow.objects.order_by("window")):
        assert [(row.window, row.recorded_at) for row in rows] == [(name, NOW) for name in names]


@pytest.mark.django_db(transaction=True)
def test_b3_when_the_second_window_cannot_be_stored_neither_is() -> None:
    make_account(ACCOUNT)
    at = NOW.timestamp()
    # Longer than its column can hold, in either database.
    windows = (WindowReading("primary", 12.0, at + 600, 300), WindowReading("secondary", 1.0, None, 10**30))
    with pytest.raises((DatabaseError, OverflowError)):
        sample_store(account_id=ACCOUNT, sample=Sample(windows, at, "usage"))
    assert (WindowSample.objects.count(), CurrentWindow.objects.count()) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_b3_what_fails_last_takes_back_what_was_written_before_it() -> None:
    make_account(ACCOUNT)
    at = NOW.timestamp()
    windows = (WindowReading("primary", 12.0, at + 600, 300), WindowReading("secondary", 1.0, None, 10_080))
    # Stored after the windows, and longer than its column can hold.
    limit = ModelLimit("spark", "a model", (WindowReading("primary", 1.0, None, 10**30),))
    with pytest.raises((DatabaseError, OverflowError)):
        sample_store(account_id=ACCOUNT, sample=Sample(windows, at, "usage", model_limits=(limit,)))
    assert (WindowSample.objects.count(), CurrentWindow.objects.count()) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_b3_who_is_paused_or_deactivated_is_not_asked() -> None:
    make_account(ACCOUNT, access_token="serving")
    make_account("acc-2_00000001", status=Account.Status.PAUSED)
    make_account("acc-3_00000001", status=Account.Status.DEACTIVATED)
    with closing(DatabaseThread("test")) as thread:
        world = World(thread, Backend(), Refresher())
        world.run()
    assert world.backend.tokens == ["Bearer serving"]


# --- B4: counts that cannot be have no cost -------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # Cached tokens are part of the input: all 80 of them at the price of cached ones.
        (TokenCounts(80, 999, 10), Decimal("0.000110")),
        (TokenCounts(80, -5, 10), Decimal("0.000200")),
        (TokenCounts(-100, 0, 10), None),
        (TokenCounts(100, 0, -10), None),
        (TokenCounts(True, 0, 10), None),
        (TokenCounts(float("nan"), 0, 10), None),  # type: ignore[arg-type]
        (TokenCounts(float("inf"), 0, 10), None),  # type: ignore[arg-type]
    ],
)
def test_b4_counts_are_clamped_or_have_no_cost(counts: TokenCounts, expected: Decimal | None) -> None:
    assert cost_usd("gpt-5.1", counts) == expected


def test_b4_more_cached_than_read_costs_no_more_than_what_was_read() -> None:
    prices = PriceBook([OwnPrice("a-model", "standard", Decimal("2.0"), Decimal("0.5"), Decimal("4.0"))])
    counts = TokenCounts(input=100, cached_input=999, output=10)
    assert prices.cost_usd("a-model", counts) == Decimal("0.00009")


def test_b4_a_request_s_cost_is_that_of_its_clamped_counts(pool: Pool) -> None:
    clamped = pool.account(Ok(usage=Usage(80, 999, 10)))
    assert clamped.respond(model="gpt-5.1").status == 200
    assert Decimal(str(clamped.record("cost_usd"))) == Decimal("0.00011")
    negative = pool.account(Ok(usage=Usage(-100, 0, 10)))
    assert negative.respond(model="gpt-5.1").status == 200
    assert negative.record("cost_usd") is None
    assert RequestRecord._meta.get_field("cost_usd").null


@pytest.mark.django_db
def test_b4_the_log_and_the_totals_show_clamped_counts() -> None:
    for counts in (TokenCounts(80, 999, 10), TokenCounts(-100, 0, 10)):
        fields = {"account_id": "a", "model": "gpt-5.1", "status": "success", "tokens": counts}
        records_store([Record("rid", datetime.now(UTC), **fields)])  # type: ignore[arg-type]
    overview = browser().get("/api/dashboard/overview").json()
    impossible, clamped = overview["requestLogs"]
    assert (clamped["cachedInputTokens"], clamped["costUsd"]) == (80, 0.00011)
    assert impossible["costUsd"] is None
    assert overview["summary"]["cost"]["totalUsd7d"] == 0.00011
    assert overview["summary"]["metrics"]["cachedTokensSecondaryWindow"] == 80
