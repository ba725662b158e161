from __future__ import annotations

from codexproxy.locality import parse_address
from proxy.throttle import FailureThrottle

ONE, TWO = parse_address("203.0.113.1"), parse_address("203.0.113.2")


def test_after_so_many_failures_an_address_waits() -> None:
    throttle = FailureThrottle(3, 60.0, 10)
    for moment in (0.0, 10.0, 20.0):
        assert throttle.wait_s(ONE, moment) == 0
        throttle.failed(ONE, moment)
    assert throttle.wait_s(ONE, 25.0) == 35.0
    assert throttle.wait_s(TWO, 25.0) == 0
    assert throttle.wait_s(ONE, 60.0) == 0


def test_an_ipv6_network_counts_as_one() -> None:
    throttle = FailureThrottle(1, 60.0, 10)
    throttle.failed(parse_address("2001:db8::1"), 0.0)
    assert throttle.wait_s(parse_address("2001:db8::2"), 1.0) == 59.0
    assert throttle.wait_s(parse_address("2001:db8:0:1::1"), 1.0) == 0


def test_it_remembers_only_so_many() -> None:
    throttle = FailureThrottle(1, 60.0, 1)
    throttle.failed(ONE, 0.0)
    throttle.failed(TWO, 0.0)
    assert throttle.wait_s(ONE, 1.0) == 0
    assert throttle.wait_s(TWO, 1.0) > 0


def test_unknown_addresses_share_one_count() -> None:
    throttle = FailureThrottle(1, 60.0, 10)
    throttle.failed(None, 0.0)
    assert throttle.wait_s(None, 1.0) == 59.0
