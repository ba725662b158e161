"""One run of the load generator against one target."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.load import Measured
from benchmarks.processes import ROOT, MemoryWatch, cpu_s, pinned
from benchmarks.targets import Target
from benchmarks.workloads import Workload


def measure(target: Target, workload: Workload, scale: float) -> tuple[Measured, float, float]:
    """The load generator's figures, the server's CPU seconds, and what its memory grew by in KB."""
    before = cpu_s(target.pid)
    command = [
        sys.executable, "-m", "benchmarks.load", "--url", target.url(workload),
        "--workload", workload.name, "--scale", str(scale),
        *(part for header in target.headers for part in ("--header", header)),
    ]  # fmt: skip
    with MemoryWatch(target.pid) as memory:
        output = subprocess.run(pinned(command, 1), cwd=ROOT, check=True, capture_output=True).stdout
    found = Measured(**json.loads(output))
    if found.failed:
        raise SystemExit(f"{target.name}: {found.failed} of {len(found.first_s)} answers were incomplete")
    return found, cpu_s(target.pid) - before, memory.grown_kib * 1.024
