"""What is concluded from what has arrived behind a reverse proxy. The proxies themselves: tests/e2e."""

from __future__ import annotations

from typing import Any

import pytest

from codexproxy.proxy_doctor import FORGED_ADDRESS, check_proxy, judge_arrivals, judge_facts
from codexproxy.proxy_probe import EVENTS
from tests.e2e.server import free_port

URL = "https://codex.example.com"
WELL: dict[str, Any] = {
    "peer": "10.0.0.2",
    "peer_is_trusted": True,
    "host": "codex.example.com",
    "forwarded_for": ["198.51.100.7"],
    "forwarded_proto": "https",
    "client": "198.51.100.7",
    "has_underscore_header": True,
}


def problems(url: str = URL, **seen: Any) -> list[str]:
    return [finding.found for finding in judge_facts({**WELL, **seen}, url) if finding.level == "problem"]


def test_a_proxy_that_passes_everything_on_is_well() -> None:
    assert problems() == []
    assert problems("http://codex.example.com", forwarded_proto="") == []
    assert problems("https://codex.example.com:443/", host="codex.example.com") == []


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        ({"has_underscore_header": False}, "headers with underscores are dropped"),
        ({"host": "127.0.0.1:2455"}, "the host arrives as '127.0.0.1:2455'"),
        ({"host": "codex.example.com:8443"}, "the host arrives as"),
        ({"forwarded_for": [FORGED_ADDRESS]}, "as the client wrote it"),
        ({"forwarded_for": []}, "every client looks like 10.0.0.2"),
        ({"peer_is_trusted": False}, "10.0.0.2 is not named as a proxy"),
        (
            {"forwarded_for": [FORGED_ADDRESS, "198.51.100.7"], "client": FORGED_ADDRESS},
            "the address that a client claims is believed",
        ),
        ({"forwarded_proto": ""}, "X-Forwarded-Proto does not arrive"),
        ({"forwarded_proto": "http"}, "X-Forwarded-Proto arrives as 'http'"),
    ],
)
def test_each_trap_is_one_finding_of_its_own(seen: dict[str, Any], found: str) -> None:
    (problem,) = problems(**seen)
    assert found in problem


def test_a_forged_address_that_the_proxy_adds_to_is_no_harm() -> None:
    assert problems(forwarded_for=[FORGED_ADDRESS, "198.51.100.7"]) == []


def test_every_problem_says_what_to_do() -> None:
    worst = {"has_underscore_header": False, "host": "x", "forwarded_for": [], "forwarded_proto": ""}
    found = [finding for finding in judge_facts({**WELL, **worst}, URL) if finding.level == "problem"]
    assert len(found) == 4 and all(finding.fix for finding in found)


@pytest.mark.parametrize(
    ("came", "level"),
    [([0.0, 0.5, 1.0], "ok"), ([1.0, 1.001, 1.002], "problem"), ([0.0, 0.5], "problem"), ([], "problem")],
)
def test_events_that_come_together_were_kept_back(came: list[float], level: str) -> None:
    assert EVENTS == 3
    assert judge_arrivals(came).level == level


def test_an_address_that_nobody_answers_at_is_one_finding() -> None:
    (finding,) = check_proxy(f"http://127.0.0.1:{free_port()}", "token")
    assert (finding.level, finding.about) == ("problem", "public address")
    assert "cannot be asked from here" in finding.found
