"""How memory develops while conversations come and go: each request is one of its own."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from benchmarks.measuring import measure
from benchmarks.processes import resident_kib
from benchmarks.targets import OURS, Extras, all_targets
from benchmarks.workloads import BURST

_MINUTE_S = 60.0


def soak(folder: Path, minutes: int) -> None:
    """Prints a row a minute. The first ones fill what is filled once: caches, connections, the allocator."""
    with all_targets(folder, Extras()) as targets:
        target = next(each for each in targets if each.name == OURS)
        print("| minute | requests so far | MB |\n| --- | --- | --- |", flush=True)
        asked = 0
        for minute in range(1, minutes + 1):
            end = time.monotonic() + _MINUTE_S
            while time.monotonic() < end:
                own = replace(target, headers=(f"session-id: conversation-{asked}-{{n}}",))
                found, _, _ = measure(own, BURST, 5.0)
                asked += len(found.first_s)
            print(f"| {minute} | {asked:,} | {resident_kib(target.pid) * 1.024 / 1000:.0f} |", flush=True)
