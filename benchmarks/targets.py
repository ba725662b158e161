"""What is measured side by side: each target is a server on loopback that answers the same requests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import ROOT, free_port, pinned, running
from benchmarks.workloads import BURST, SINGLE, Workload

PATH = "/backend-api/codex/responses"
BARE, OURS, KEYED, TWO, FILLED = "bare", "codexproxy", "with a key", "two workers", "filled"
TWO_BARE = "two bare"
_SERVER, _LOAD = 0, 1

_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    client_body_buffer_size 1m;
    upstream canned {{ server 127.0.0.1:{upstream}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://canned; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""

# It streams only for models that it knows: the request's own one, which sets the pace, never comes through.
_LITELLM = """
model_list:
  - model_name: gpt-5.5
    litellm_params: {{model: openai/gpt-4o, api_base: "http://127.0.0.1:{upstream}/v1", api_key: sk-bench}}
litellm_settings: {{telemetry: false}}
"""


@dataclass(slots=True)
class Target:
    """A server; without `pid` it is the upstream itself."""

    name: str
    base_url: str
    pid: int | None = None
    path: str = PATH
    headers: tuple[str, ...] = ()

    def takes(self, workload: Workload) -> bool:
        if self.name == OURS:
            return True
        if self.name == "litellm":
            return workload in (SINGLE, BURST)
        # nginx passes no socket on as it is set up here.
        return workload.is_native and not (workload.is_websocket and self.name == "nginx")

    def url(self, workload: Workload) -> str:
        return self.base_url + (workload.path or self.path)


@dataclass(frozen=True, slots=True)
class Extras:
    """The targets that not every run has."""

    filled: Path | None = None
    litellm: Path | None = None


@contextmanager
def all_targets(folder: Path, extras: Extras) -> Iterator[list[Target]]:
    """Started, with an account and a key; ended afterwards."""
    port = free_port()
    base = f"http://127.0.0.1:{port}/backend-api"
    environment = {
        "CODEXPROXY_UPSTREAM_BASE_URL": base,
        "CODEXPROXY_AUTH_BASE_URL": f"http://127.0.0.1:{port}",
        "CODEXPROXY_USAGE_REFRESH_INTERVAL_S": "0",
        "BENCH_UPSTREAM": base,
    }
    with ExitStack() as stack:
        command = [sys.executable, "-m", "benchmarks.upstream", "--port", str(port)]
        stack.enter_context(running(pinned(command, _LOAD), environment, port))
        targets = [Target("direct", f"http://127.0.0.1:{port}")]
        if (nginx := _nginx(stack, folder, port)) is not None:
            targets.append(nginx)
        targets.append(_bare(stack, environment))
        ours = _codexproxy(stack, OURS, folder / "one", environment)
        key = _limited_key(ours.base_url)
        targets += [ours, Target(KEYED, ours.base_url, ours.pid, headers=(f"x-api-key: {key}",))]
        targets.append(_codexproxy(stack, TWO, folder / "two", environment, workers=2))
        targets.append(_two_bare(stack, environment))
        if extras.filled is not None:
            targets.append(_codexproxy(stack, FILLED, extras.filled, environment))
        if extras.litellm is not None:
            targets.append(_litellm(stack, folder, extras.litellm, port))
        yield targets


def _bare(stack: ExitStack, environment: dict[str, str]) -> Target:
    port = free_port()
    command = [sys.executable, "-m", "daphne", "-p", str(port), "-v", "0", "benchmarks.bare:application"]
    pid = stack.enter_context(running(pinned(command, _SERVER), environment, port))
    return Target(BARE, f"http://127.0.0.1:{port}", pid)


def _two_bare(stack: ExitStack, environment: dict[str, str]) -> Target:
    """What it costs two processes to share a core, or a socket, whatever they do."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.pair", "--port", str(port)]
    pid = stack.enter_context(running(pinned(command, *_cores_of_two()), environment, port))
    return Target(TWO_BARE, f"http://127.0.0.1:{port}", pid)


def _cores_of_two() -> tuple[int, ...]:
    """Where four cores are free, two processes have one each, and the load still its own."""
    return (_SERVER, 2) if (os.cpu_count() or 1) >= 4 else (_SERVER,)


def _codexproxy(
    stack: ExitStack, name: str, folder: Path, environment: dict[str, str], *, workers: int = 1
) -> Target:
    port = free_port()
    folder.mkdir(exist_ok=True)
    over = {**environment, "CODEXPROXY_DATA_DIR": str(folder)}
    _import_account(over, folder)
    command = [sys.executable, "manage.py", "serve", "--port", str(port), "--workers", str(workers)]
    cores = _cores_of_two() if workers > 1 else (_SERVER,)
    pid = stack.enter_context(running(pinned(command, *cores), over, port))
    return Target(name, f"http://127.0.0.1:{port}", pid)


def _import_account(environment: dict[str, str], folder: Path) -> None:
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


def _limited_key(base_url: str) -> str:
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


def _nginx(stack: ExitStack, folder: Path, upstream: int) -> Target | None:
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        return None
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(folder=folder, upstream=upstream, port=port))
    command = [program, "-c", str(file), "-p", str(folder)]
    pid = stack.enter_context(running(pinned(command, _SERVER), {}, port))
    return Target("nginx", f"http://127.0.0.1:{port}", pid)


def _litellm(stack: ExitStack, folder: Path, program: Path, upstream: int) -> Target:
    port = free_port()
    file = folder / "litellm.yaml"
    file.write_text(_LITELLM.format(upstream=upstream))
    command = [str(program), "--host", "127.0.0.1", "--port", str(port), "--config", str(file)]
    pid = stack.enter_context(
        running(pinned(command, _SERVER), {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}, port)
    )
    return Target("litellm", f"http://127.0.0.1:{port}", pid, path="/v1/responses")
