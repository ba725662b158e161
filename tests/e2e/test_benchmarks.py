"""The benchmarks run: what they measure is for a quiet machine and for docs/performance.md."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from benchmarks.__main__ import Figures, note
from benchmarks.processes import free_port, running
from benchmarks.targets import Target
from benchmarks.workloads import SCALES
from tests.conftest import ROOT, missing

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
TARGETS = ("direct", "nginx", "bare", "codexproxy", "with a key", "two workers", "filled")


def measured(*arguments: str) -> tuple[str, list[list[str]]]:
    """What the benchmarks say, and the rows of their table."""
    # The tests' own settings are not for a server.
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--scale", "0.05", *arguments]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert ended.returncode == 0, ended.stderr
    table = [line.strip("| ").split(" | ") for line in ended.stdout.splitlines() if line.startswith("| ")]
    return ended.stdout, table[2:]


def test_what_is_measured_stands_in_a_table_beside_bare() -> None:
    _, rows = measured("--targets", "codexproxy", "--only", "single", "chat")
    assert [(row[0], row[1]) for row in rows] == [
        *((workload, target) for workload in ("single", "burst") for target in ("bare", "codexproxy")),
        ("chat", "codexproxy"),
    ]


@pytest.mark.full
@pytest.mark.timeout(420)
def test_every_workload_reaches_every_target_that_takes_it() -> None:
    told, rows = measured(
        "--growth", "500", "--targets", *TARGETS, "--only", "single", "steady", "chat", "sockets"
    )
    # Filling a database has its own words, before the table.
    assert "500 requests stored" in told
    over_http = [target for target in TARGETS if target != "nginx" or NGINX]
    assert [(row[0], row[1]) for row in rows] == [
        *((workload, target) for workload in ("single", "burst", "steady") for target in over_http),
        ("chat", "codexproxy"),
        *(("sockets", target) for target in TARGETS if target != "nginx"),
    ]
    late = [float(row[7]) for row in rows if row[0] == "steady"]
    assert len(late) == len(over_http)
    if not NGINX:
        missing("nginx")


@pytest.mark.full
def test_of_streams_that_are_open_at_once_it_is_measured_what_each_takes() -> None:
    """Of the upstream alone: an answer takes thirteen seconds, for each target."""
    port, figures = free_port(), Figures()
    command = [sys.executable, "-m", "benchmarks.upstream", "--port", str(port)]
    with running(command, {}, port) as pid:
        note(figures, Target("direct", f"http://127.0.0.1:{port}", pid), SCALES[0], 1.0)
    assert SCALES[0].name == "open 50"
    assert [rate < 50 / 12 for rate in figures.rate] == [True]
    assert len(figures.late_p99_ms) == 1
    assert [grown_kb >= 0 for grown_kb in figures.stream_kb] == [True]
