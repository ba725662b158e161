"""`serve --demo`: a complete proxy in front of a simulated upstream, with accounts and history to look at.

`prepare` runs before the settings are read and therefore touches nothing of Django; `seed` and `announce`
run after the migrations. Started as a program, this module is the simulated upstream of its parent.
"""

from __future__ import annotations

import atexit
import http.client
import json
import os
import random
import select
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from codexproxy import env

if TYPE_CHECKING:
    from requestlogs.models import RequestRecord

_CONTRADICTIONS = (
    "UPSTREAM_BASE_URL",
    "AUTH_BASE_URL",
    "DATABASE_URL",
    "ENCRYPTION_KEY",
    "ENCRYPTION_KEY_FILE",
)
# Set here, and inherited by worker processes: they share the simulator that their parent started.
_SIMULATOR = env.PREFIX + "DEMO_SIMULATOR"
_START_TIMEOUT_S = 20.0
HISTORY_DAYS = 7
HISTORY_ROWS = 300

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
    _seed_history(now)


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


def _seed_history(now: datetime) -> None:
    """The same rows on every machine, and only once."""
    from accounts.models import Account
    from requestlogs.models import RequestRecord

    if RequestRecord.objects.exists():
        return
    chance = random.Random(7)
    account_ids = list(Account.objects.order_by("pk").values_list("pk", flat=True))
    ages = sorted((chance.random() * HISTORY_DAYS * 86400 for _ in range(HISTORY_ROWS)), reverse=True)
    rows = [
        _past_request(chance, number, now - timedelta(seconds=age), account_ids)
        for number, age in enumerate(ages)
    ]
    RequestRecord.objects.bulk_create(rows)


def _past_request(chance: random.Random, number: int, at: datetime, account_ids: list[str]) -> RequestRecord:
    from requestlogs.models import RequestRecord

    account_id = chance.choice(account_ids)
    input_tokens, output_tokens = chance.randint(2_000, 60_000), chance.randint(50, 3_000)
    cached_tokens = int(input_tokens * chance.choice([0, 0.5, 0.8, 0.9]))
    first_ms = chance.randint(350, 2_500)
    last_ms = first_ms + output_tokens * 8
    record = RequestRecord(
        request_id=f"demo-{number:04}",
        requested_at=at,
        account_id=account_id,
        client="codex_cli_rs (demo)",
        client_address="127.0.0.1",
        path="/backend-api/codex/responses",
        conversation=f"demo-conversation-{number // 8}",
        model=chance.choice(["gpt-5.5", "gpt-5.5", "gpt-5.4-mini"]),
        reasoning_effort=chance.choice(["low", "medium", "high"]),
        status="success",
        status_code=200,
        latency_ms=last_ms,
        routing={"why": "a row of the demo's invented history"},
    )
    attempt = {"account_id": account_id, "outcome": "ok", "status": 200, "code": None, "started_ms": 2}
    if chance.random() < 0.06:
        record.status, record.status_code, record.error_code = "error", 503, "upstream_unavailable"
        attempt |= {"outcome": "server_error", "status": 503, "code": "server_error"}
    else:
        record.input_tokens, record.cached_input_tokens = input_tokens, cached_tokens
        record.output_tokens, record.first_token_ms = output_tokens, first_ms
        record.cost_usd = Decimal(input_tokens - cached_tokens) / 800_000 + Decimal(output_tokens) / 100_000
    record.attempts = [{**attempt, "first_event_ms": record.first_token_ms, "ended_ms": last_ms}]
    return record


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
