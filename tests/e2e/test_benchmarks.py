"""The benchmarks run: what they measure is for a quiet machine and for docs/performance.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_every_workload_reaches_every_target_that_takes_it() -> None:
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--scale", "0.05"]
    # The tests' own settings are not for a server.
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    ended = subprocess.run(
        [*command, "--targets", "with a key", "--only", "single", "steady", "chat", "sockets"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    rows = [line.split(" | ") for line in ended.stdout.splitlines()[2:]]
    own = ["bare", "codexproxy", "with a key"]
    assert [(row[0].removeprefix("| "), row[1]) for row in rows] == [
        *((workload, target) for workload in ("single", "burst", "steady") for target in own),
        ("chat", "codexproxy"),
        *(("sockets", target) for target in own),
    ]
    late = [float(row[7]) for row in rows if row[0] == "| steady"]
    assert len(late) == len(own)
