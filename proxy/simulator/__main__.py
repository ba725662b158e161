"""`python -m proxy.simulator`: serves a simulated upstream on loopback."""

from __future__ import annotations

import argparse
import ipaddress
import json
import socket
import sys
from pathlib import Path

from .replies import Ok
from .state import Simulator
from .thread import FRAME_LIMIT, websocket_support


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proxy.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=9100, help="0 takes a free one")
    parser.add_argument("--accounts", type=int, default=2, help="how many, named acct-A, acct-B, …")
    parser.add_argument("--plan", default="plus")
    parser.add_argument("--deltas", type=int, default=None, help="default: the words of a short sentence")
    parser.add_argument("--delta-bytes", type=int, default=0)
    parser.add_argument("--interval-ms", type=float, default=0.0)
    parser.add_argument("--burst", type=int, default=1, help="deltas per write")
    parser.add_argument("--server", choices=("daphne", "uvicorn"), default="daphne")
    parser.add_argument("--any-auth", action="store_true", help="take any bearer token")
    parser.add_argument("--auto-approve", metavar="ACCOUNT", help="sign this account in without a click")
    parser.add_argument("--light", action="store_true", help="keep no request bodies: for benchmarks")
    parser.add_argument("--write-auth", type=Path, metavar="DIR", help="write DIR/<account>/auth.json")
    return parser.parse_args(argv)


def account_name(number: int) -> str:
    """acct-A … acct-Z, then acct-27 and so on."""
    return f"acct-{chr(ord('A') + number)}" if number < 26 else f"acct-{number + 1}"


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def simulator_from(options: argparse.Namespace) -> Simulator:
    simulator = Simulator(any_auth=options.any_auth, keep_bodies=not options.light)
    simulator.auto_approve = options.auto_approve
    for number in range(options.accounts):
        account = simulator.add_account(account_name(number), plan=options.plan)
        account.default = Ok(
            deltas=options.deltas,
            delta_bytes=options.delta_bytes,
            interval_s=options.interval_ms / 1000,
            burst=options.burst,
        )
    return simulator


def write_auth(simulator: Simulator, folder: Path) -> None:
    for name, account in simulator.accounts.items():
        home = folder / name
        home.mkdir(parents=True, exist_ok=True)
        (home / "auth.json").write_text(json.dumps(account.auth_json(), indent=2))


def serve_daphne(simulator: Simulator, listener: socket.socket) -> None:
    # Daphne installs its reactor when it is imported.
    from daphne.server import Server

    endpoint = f"fd:fileno={listener.fileno()}"
    Server(
        simulator.app,
        endpoints=[endpoint],
        verbosity=0,
        ping_interval=3600,
        websocket_max_message_size=FRAME_LIMIT,
        websocket_max_frame_size=FRAME_LIMIT,
    ).run()


def serve_uvicorn(simulator: Simulator, listener: socket.socket) -> None:
    import uvicorn  # only tests have it

    config = uvicorn.Config(
        simulator.app,
        lifespan="off",
        log_level="critical",
        ws=websocket_support(),
        ws_max_size=FRAME_LIMIT,
    )
    uvicorn.Server(config).run(sockets=[listener])


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    # SECURITY: it gives tokens to whoever asks and takes commands from whoever reaches it.
    if not is_loopback(options.host):
        print("the simulator serves loopback addresses only", file=sys.stderr)
        return 2
    simulator = simulator_from(options)
    if options.write_auth is not None:
        write_auth(simulator, options.write_auth)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.create_server((options.host, options.port), family=family, backlog=2048)
    host = f"[{options.host}]" if ":" in options.host else options.host
    base_url = f"http://{host}:{listener.getsockname()[1]}"
    print(json.dumps({"base_url": base_url, "accounts": list(simulator.accounts)}), flush=True)
    serve = serve_daphne if options.server == "daphne" else serve_uvicorn
    serve(simulator, listener)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
