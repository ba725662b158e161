from __future__ import annotations

import socket

import pytest

from codexproxy.supervisor import CannotListen, bind


def test_a_port_in_use_is_said_plainly() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(CannotListen, match="is in use"):
            bind("127.0.0.1", other.getsockname()[1])


def test_an_address_that_is_not_ours_is_said_plainly() -> None:
    with pytest.raises(CannotListen, match="cannot be listened on"):
        bind("203.0.113.1", 2455)


def test_ipv6_can_be_bound() -> None:
    try:
        listening = bind("::1", 0)
    except CannotListen:
        pytest.skip("this machine has no IPv6")
    assert listening.family == socket.AF_INET6
    listening.close()
