"""`serve --demo`: a complete proxy in front of a simulated upstream, with accounts and history to look at.

`prepare` runs before the settings are read and therefore touches nothing of Django; `seed` and `announce`
run after the migrations. Started as a program, this module is the simulated upstream of its parent.
"""

from __future__ import annotations

import atexit
import http.client
import json
import os
import select
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from codexproxy import env

_CONTRADICTIONS = (
    "UPSTREAM_BASE_URL",
    "AUTH_BASE_URL",
    "DATABASE_URL",
    "DATABASE_URL_FILE",
    "ENCRYPTION_KEY",
    "ENCRYPTION_KEY_FILE",
)
# Set here, and inherited by worker processes: they share the simulator that their parent started.
_SIMULATOR = env.PREFIX + "DEMO_SIMULATOR"
_START_TIMEOUT_S = 20.0

_LIMIT = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class DemoAccount:
    name: str
    plan: str
    five_hours_used_percent: int
    week_used_percent: int

    @property
    def is_limited(self) -> bool:
        return self.five_hours_used_percent >= 100


ACCOUNTS = (
    DemoAccount("demo-plus", "plus", 35, 20),
    DemoAccount("demo-pro", "pro", 8, 55),
    DemoAccount("demo-team", "team", 100, 70),
)


def prepare() -> None:
    """Point the environment at a data folder of the demo's own and at a simulator that is started here."""
    if os.environ.get(_SIMULATOR):
        return
    for name in _CONTRADICTIONS:
        if os.environ.get(env.PREFIX + name):
            raise SystemExit(
                "--demo has its own upstream, database and key: "
                f"unset {env.PREFIX}{name}, or start without --demo."
            )
    folder = env.data_dir() / "demo"
    folder.mkdir(mode=0o700, exist_ok=True)
    base_url = _start_simulator()
    os.environ[_SIMULATOR] = base_url
    os.environ[env.PREFIX + "DATA_DIR"] = str(folder)
    os.environ[env.PREFIX + "UPSTREAM_BASE_URL"] = f"{base_url}/backend-api"
    os.environ[env.PREFIX + "AUTH_BASE_URL"] = base_url
    os.environ.setdefault(env.PREFIX + "USAGE_REFRESH_INTERVAL_S", "15")


def is_running() -> bool:
    """Whether this process belongs to a demo."""
    return bool(os.environ.get(_SIMULATOR))


def _start_simulator() -> str:
    """Start the child and return its address. It ends when this process does, however it does."""
    root = str(Path(__file__).resolve().parent.parent)
    child = subprocess.Popen(  # noqa: S603  (our own module)
        [sys.executable, "-m", "codexproxy.demo", "--host", "127.0.0.1", "--port", "0", "--accounts", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
        # Ctrl-C goes to the whole process group; the simulator must outlive the drain.
        start_new_session=True,
    )
    owner = os.getpid()

    def end() -> None:
        if os.getpid() == owner and child.poll() is None:
            child.terminate()
            child.wait(5)

    atexit.register(end)
    if child.stdout is None:
        raise SystemExit("the simulated upstream has no output")
    return _announced_address(child.stdout)


def _announced_address(output: IO[bytes]) -> str:
    readable, _, _ = select.select([output], [], [], _START_TIMEOUT_S)
    line = output.readline() if readable else b""
    if not line:
        raise SystemExit("the simulated upstream did not start; `python -m proxy.simulator` shows why")
    return str(json.loads(line)["base_url"])


def seed() -> None:
    """Import the demo's accounts and write some history. May be called at every start."""
    from django.utils import timezone

    from accounts import auth_file, services
    from codexproxy import demo_history

    now = timezone.now()
    for demo in ACCOUNTS:
        auth = auth_file.parse(json.dumps(_simulated_account(demo, now)))
        account = services.account_import(auth=auth, source="demo").account
        _record_windows(account.pk, demo, now)
        if demo.is_limited:
            services.account_block(
                account_id=account.pk,
                status=account.Status.RATE_LIMITED,
                reason="The 5-hour limit is reached.",
                blocked_at=now,
                reset_at=now + _LIMIT,
                window_reset_at=now + _LIMIT,
            )
    demo_history.seed(now)


def _simulated_account(demo: DemoAccount, now: datetime) -> dict[str, Any]:
    """Make the account in the simulator; returns its auth.json."""
    body: dict[str, Any] = {
        "email": f"{demo.name}@demo.example",
        "plan": demo.plan,
        "windows": {
            "primary": _window(demo.five_hours_used_percent, 300, now + _LIMIT),
            "secondary": _window(demo.week_used_percent, 10_080, now + timedelta(days=4)),
        },
        "default": {"kind": "ok", "text": f"Hello from the simulated upstream ({demo.plan} account)."},
    }
    if demo.is_limited:
        body["default"] = {"kind": "usage_limit", "resets_at": int((now + _LIMIT).timestamp())}
    return _simulator("PUT", f"/__sim__/accounts/{demo.name}", body)


def _record_windows(account_id: str, demo: DemoAccount, now: datetime) -> None:
    """What the first reading of the simulator will say, so that the first page has figures already."""
    from usage.models import CurrentWindow

    readings = (
        ("primary", demo.five_hours_used_percent, 300, now + _LIMIT),
        ("secondary", demo.week_used_percent, 10_080, now + timedelta(days=4)),
    )
    for window, used_percent, minutes, reset_at in readings:
        CurrentWindow.objects.update_or_create(
            account_id=account_id,
            window=window,
            defaults={
                "used_percent": used_percent,
                "reset_at": reset_at,
                "window_minutes": minutes,
                "recorded_at": now,
            },
        )


def _window(used_percent: float, minutes: int, reset_at: datetime) -> dict[str, Any]:
    return {"used_percent": used_percent, "window_minutes": minutes, "reset_at": int(reset_at.timestamp())}


def _simulator(method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    connection = http.client.HTTPConnection(urlsplit(os.environ[_SIMULATOR]).netloc, timeout=10)
    try:
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise RuntimeError(f"the simulated upstream answered {response.status} to {path}: {answer[:200]!r}")
    found: dict[str, Any] = json.loads(answer)
    return found


def announce(host: str, port: int) -> None:
    """Print what to try next."""
    shown = f"[{host}]" if ":" in host else host
    base_url = f"http://{shown}:{port}"
    body = '{"model":"gpt-5.5","input":[],"stream":true,"store":false}'
    print(
        f"""
codexproxy demo: nothing here reaches the internet, and no account is real.

  Dashboard  {base_url}/admin/

  Try        curl -N {base_url}/backend-api/codex/responses -d '{body}'

  Codex CLI  ~/.codex/config.toml:
             model_provider = "codexproxy"

             [model_providers.codexproxy]
             name = "codexproxy"
             base_url = "{base_url}/backend-api/codex"
             wire_api = "responses"
""",
        flush=True,
    )


def _end_with_parent() -> None:
    """Standard input is a pipe from the parent: it ends when the parent does, even by SIGKILL."""
    sys.stdin.buffer.read()
    os._exit(0)


def _run_simulator() -> int:
    from proxy.simulator.__main__ import main

    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    return main(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(_run_simulator())
