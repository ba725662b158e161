from __future__ import annotations

import socket
import subprocess
import sys

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


def test_a_port_that_cannot_be_is_said_plainly() -> None:
    with pytest.raises(CannotListen, match="70000 is not a port"):
        bind("127.0.0.1", 70000)


DYING_WORKERS = """
import sys
from codexproxy import supervisor
supervisor.RESTART_PAUSE_S = 0.01
def work():
    raise RuntimeError("the cause")
sys.exit(supervisor.Supervisor(2, supervisor.bind("127.0.0.1", 0), work).run())
"""


def test_workers_that_die_at_once_are_given_up_with_their_cause() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", DYING_WORKERS], capture_output=True, text=True, timeout=20, check=False
    )
    assert ended.returncode == 1
    assert "workers end as soon as they start" in ended.stderr
    assert "the cause" in ended.stderr


def test_ipv6_can_be_bound() -> None:
    try:
        listening = bind("::1", 0)
    except CannotListen:
        pytest.skip("this machine has no IPv6")
    assert listening.family == socket.AF_INET6
    listening.close()
