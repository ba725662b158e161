"""One command: python -m benchmarks. Measures all targets side by side, in interleaved rounds."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measuring import measure
from benchmarks.processes import ROOT
from benchmarks.soak import soak
from benchmarks.targets import BARE, OURS, Extras, Target, all_targets
from benchmarks.workloads import BURST, EVENTS_OF_ANSWER, SCALES, SINGLE, WORKLOADS, Workload

_COLUMNS = (
    "workload", "target", "requests/s", "of bare", "first ms", "over bare", "first p99", "late p99",
    "CPU/1k events", "KB/stream",
)  # fmt: skip


@dataclass(slots=True)
class Figures:
    """Of one target at one workload, a value for each round."""

    rate: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    first_p99_ms: list[float] = field(default_factory=list)
    late_p99_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    stream_kb: list[float] = field(default_factory=list)


Results = dict[tuple[str, str], Figures]


def p99(values: Sequence[float]) -> float:
    return sorted(values)[max(0, -(-99 * len(values) // 100) - 1)]


def note(figures: Figures, target: Target, workload: Workload, scale: float) -> None:
    found, cpu, grown_kb = measure(target, workload, scale)
    requests = len(found.first_s)
    figures.rate.append(requests / found.elapsed_s)
    figures.first_ms.append(1000 * statistics.median(found.first_s))
    figures.first_p99_ms.append(1000 * p99(found.first_s))
    if found.late_s:
        figures.late_p99_ms.append(1000 * p99(found.late_s))
    figures.cpu_ms.append(1_000_000 * cpu / (requests * EVENTS_OF_ANSWER))
    if workload in SCALES:
        figures.stream_kb.append(grown_kb / workload.at_once)


def report(results: Results) -> None:
    print("| " + " | ".join(_COLUMNS) + " |")
    print("|" + " --- |" * len(_COLUMNS))
    for (workload, target), figures in results.items():
        # Only codexproxy speaks chat: it is compared with its own native burst.
        reference = results.get((workload, BARE)) or results[BURST.name, OURS]
        first = statistics.median(figures.first_ms)
        cells = (
            workload,
            target,
            f"{statistics.median(figures.rate):.1f}",
            f"{statistics.median(figures.rate) / statistics.median(reference.rate):.2f}",
            f"{first:.2f}",
            f"{first - statistics.median(reference.first_ms):+.2f}",
            *(f"{statistics.median(values):.1f}" if values else "" for values in
              (figures.first_p99_ms, figures.late_p99_ms, figures.cpu_ms)),
            # Later rounds take the memory that the first has left.
            f"{max(figures.stream_kb):.1f}" if figures.stream_kb else "",
        )  # fmt: skip
        print("| " + " | ".join(cells) + " |")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of each workload's requests")
    parser.add_argument(
        "--only", nargs="*", choices=[each.name for each in WORKLOADS], help="these workloads"
    )
    parser.add_argument("--targets", nargs="*", help="these targets, and bare")
    parser.add_argument(
        "--filled", type=Path, help="a data folder that benchmarks.rows has filled: one more target"
    )
    parser.add_argument(
        "--growth",
        type=int,
        metavar="ROWS",
        help="fill a folder with so many requests first (a million: 3 minutes)",
    )
    parser.add_argument("--litellm", type=Path, help="the program litellm of an install with its proxy")
    parser.add_argument(
        "--soak",
        type=int,
        metavar="MINUTES",
        help="instead: codexproxy's memory, minute by minute, while conversations come and go",
    )
    return parser.parse_args()


def filled(folder: Path, count: int) -> Path:
    environment = {**os.environ, "CODEXPROXY_DATA_DIR": str(folder)}
    folder.mkdir()
    command = [sys.executable, "-m", "benchmarks.rows", "--count", str(count)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return folder


def main() -> None:
    chosen = options()
    # The burst is what chat is compared with.
    names = {BURST.name, *chosen.only} if chosen.only else {each.name for each in WORKLOADS}
    workloads = [each for each in WORKLOADS if each.name in names]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if chosen.soak:
            soak(folder, chosen.soak)
            return
        over = filled(folder / "filled", chosen.growth) if chosen.growth else chosen.filled
        with all_targets(folder, Extras(over, chosen.litellm)) as targets:
            if chosen.targets:
                targets = [each for each in targets if each.name in {BARE, OURS, *chosen.targets}]
            for target in targets:
                measure(target, SINGLE, 0.2)
            results: Results = defaultdict(Figures)
            for number in range(chosen.rounds):
                for workload in workloads:
                    for target in targets:
                        if target.takes(workload):
                            note(results[workload.name, target.name], target, workload, chosen.scale)
                print(f"round {number + 1} of {chosen.rounds}", file=sys.stderr)
    report(results)


if __name__ == "__main__":
    main()
