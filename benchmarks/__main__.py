"""One command: python -m benchmarks. Measures direct, bare and codexproxy side by side, in rounds."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.workloads import BURST, SINGLE, WORKLOADS, Workload

ROOT = Path(__file__).resolve().parent.parent
PATH = "/backend-api/codex/responses"


@dataclass(slots=True)
class Target:
    name: str
    base_url: str
    pid: int | None = None
    headers: tuple[str, ...] = ()
    rates: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    firsts_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


# codexproxy again, asked with an API key that has limits; and over a database that is full of requests.
KEYED = "with a key"
FILLED = "filled"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pinned(core: int, command: list[str]) -> list[str]:
    """On a core of its own, so that the load never takes time from the server."""
    cores = os.cpu_count() or 1
    return (
        ["taskset", "-c", str(core % cores), *command] if shutil.which("taskset") and cores > 1 else command
    )


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    try:
        wait_for(port, process)
        yield process
    finally:
        process.terminate()
        process.wait(40)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} does not listen on {port}")


def cpu_s(pid: int | None) -> float:
    """User and system time of a process so far."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(target: Target, workload: Workload, scale: float) -> None:
    before = cpu_s(target.pid)
    command = [
        sys.executable,
        "-m",
        "benchmarks.load",
        "--url",
        target.base_url + (workload.path or PATH),
        "--workload",
        workload.name,
        "--scale",
        str(scale),
        *(part for header in target.headers for part in ("--header", header)),
    ]
    output = subprocess.run(pinned(1, command), cwd=ROOT, check=True, capture_output=True).stdout
    result = json.loads(output)
    requests = len(result["first_s"])
    if result["failed"]:
        raise SystemExit(f"{target.name}: {result['failed']} of {requests} answers were incomplete")
    target.rates[workload.name].append(requests / result["elapsed_s"])
    target.firsts_ms[workload.name].append(1000 * statistics.median(result["first_s"]))
    target.cpu_ms[workload.name].append(1000 * (cpu_s(target.pid) - before) / requests)


def import_account(environment: dict[str, str], folder: Path) -> None:
    """An account of the simulator's making, whose token does not expire while we measure."""
    from proxy.simulator import Simulator

    account = Simulator().add_account("acct-bench", email="bench@example.com", plan="pro")
    file = folder / "auth.json"
    file.write_text(json.dumps(account.auth_json(expires_at=time.time() + 86_400)))
    for command in (["migrate", "-v0"], ["import_accounts", "--no-verify", str(file)]):
        subprocess.run(
            [sys.executable, "manage.py", *command], cwd=ROOT, env={**os.environ, **environment}, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip


def limited_key(base_url: str) -> str:
    """A key with room for everything, whose limits are counted all the same; and a list that admits us."""

    def post(path: str, payload: dict[str, object]) -> dict[str, str]:
        request = urllib.request.Request(
            base_url + path, json.dumps(payload).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, str] = json.load(answer)
            return found

    post("/api/firewall/ips", {"ipAddress": "127.0.0.0/8"})
    kinds = ("requests", "total_tokens", "cost_usd")
    limits = [{"limitType": kind, "limitWindow": "daily", "maxValue": 10**15} for kind in kinds]
    key = post("/api/api-keys/", {"name": "bench", "limits": limits})["key"]
    # Every process knows a new key within two seconds.
    time.sleep(2)
    return key


def report(targets: list[Target], workloads: list[Workload]) -> None:
    bare = next(target for target in targets if target.name == "bare")
    titles = ("workload", "target", "requests/s", "of bare", "first byte ms", "over bare", "CPU ms/request")
    print(("{:10}{:12}" + "{:>15}" * 5).format(*titles), "(chat: of codexproxy's own burst)")
    for workload in workloads:
        for target in targets:
            if not target.rates[workload.name]:
                continue
            rate = statistics.median(target.rates[workload.name])
            first = statistics.median(target.firsts_ms[workload.name])
            cpu = statistics.median(target.cpu_ms[workload.name])
            reference = bare.rates[workload.name] or target.rates[BURST.name]
            of_bare = rate / statistics.median(reference)
            over = first - statistics.median(bare.firsts_ms[workload.name] or target.firsts_ms[BURST.name])
            figures = (f"{rate:.1f}", f"{of_bare:.2f}", f"{first:.2f}", f"{over:+.2f}", f"{cpu:.2f}")
            print(("{:10}{:12}" + "{:>15}" * 5).format(workload.name, target.name, *figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of each workload's requests")
    names = [each.name for each in WORKLOADS]
    parser.add_argument(
        "--only", nargs="*", choices=names, help="these workloads, and the one they are compared with"
    )
    parser.add_argument(
        "--filled",
        type=Path,
        help="a data folder that benchmarks.rows has filled: one more codexproxy, over it",
    )
    options = parser.parse_args()
    wanted = {BURST.name, *(options.only or names)}
    workloads = [each for each in WORKLOADS if each.name in wanted]
    upstream, bare, ours = free_port(), free_port(), free_port()
    base = f"http://127.0.0.1:{upstream}/backend-api"
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        environment = {
            "CODEXPROXY_DATA_DIR": folder,
            "CODEXPROXY_UPSTREAM_BASE_URL": base,
            "CODEXPROXY_AUTH_BASE_URL": f"http://127.0.0.1:{upstream}",
            "CODEXPROXY_USAGE_REFRESH_INTERVAL_S": "0",
            "BENCH_UPSTREAM": base,
        }
        import_account(environment, Path(folder))
        python = sys.executable
        upstream_command = [python, "-m", "benchmarks.upstream", "--port", str(upstream)]
        bare_command = [python, "-m", "daphne", "-p", str(bare), "-v", "0", "benchmarks.bare:application"]
        ours_command = [python, "manage.py", "serve", "--port", str(ours)]
        stack.enter_context(running(pinned(1, upstream_command), environment, upstream))
        bare_process = stack.enter_context(running(pinned(0, bare_command), environment, bare))
        ours_process = stack.enter_context(running(pinned(0, ours_command), environment, ours))
        targets = [
            Target("direct", f"http://127.0.0.1:{upstream}"),
            Target("bare", f"http://127.0.0.1:{bare}", bare_process.pid),
            Target("codexproxy", f"http://127.0.0.1:{ours}", ours_process.pid),
        ]
        key = limited_key(targets[-1].base_url)
        targets.append(Target(KEYED, targets[-1].base_url, ours_process.pid, headers=(f"x-api-key: {key}",)))
        if options.filled is not None:
            filled = free_port()
            over = {**environment, "CODEXPROXY_DATA_DIR": str(options.filled)}
            import_account(over, options.filled)
            command = [python, "manage.py", "serve", "--port", str(filled)]
            process = stack.enter_context(running(pinned(0, command), over, filled))
            targets.append(Target(FILLED, f"http://127.0.0.1:{filled}", process.pid))
        for target in targets:
            measure(target, SINGLE, 0.2)
            target.rates.clear(), target.firsts_ms.clear(), target.cpu_ms.clear()
        for _ in range(options.rounds):
            for workload in workloads:
                for target in targets:
                    if workload.is_native or target.name == "codexproxy":
                        measure(target, workload, options.scale)
        report(targets, workloads)


if __name__ == "__main__":
    main()
