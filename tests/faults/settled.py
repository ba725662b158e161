"""What is right afterwards: nothing of any request is left, each is on record, no account is out."""

from __future__ import annotations

from tests.e2e.server import Server, until
from tests.faults.load import metric, recorded
from tests.faults.upstreams import RawUpstream

# A bound for what hangs; a busy machine may take its time.
SETTLED_WITHIN_S = 30.0


def assert_settled(server: Server, upstream: RawUpstream | None = None) -> None:
    """Of a server that still runs, and has run since its database was empty."""
    until(lambda: metric(server, "codexproxy_open_requests") == 0, SETTLED_WITHIN_S, "no request is open")
    if upstream is not None:
        until(lambda: upstream.open_connections == 0, SETTLED_WITHIN_S, "no connection to upstream is held")
    assert_all_on_record(server)
    assert_states(server)
    assert "Traceback" not in server.log, server.log


def assert_all_on_record(server: Server) -> None:
    """Each request that has ended, as the server itself has counted them, and each once."""
    ended = int(metric(server, "codexproxy_requests_total"))
    until(lambda: recorded(server).total() >= ended, SETTLED_WITHIN_S, f"{ended} requests are on record")
    records = recorded(server)
    assert set(records.values()) == {1} and records.total() == ended, (records, ended)


def assert_states(server: Server, *, limited: tuple[str, ...] = ()) -> None:
    """As the database has them, whether or not the server runs: every account may be asked, but these."""
    states = dict(server.query("SELECT email, status FROM accounts_account"))
    expected = {email: "rate_limited" if email in limited else "active" for email in states}
    assert states and states == expected, states
