"""The control surface with which another process scripts and reads the simulator."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .exchange import Exchange
from .replies import Fail, refresh_reply_from, reply_from
from .state import SimAccount, Simulator
from .windows import Window

SWITCHES = (
    "any_auth",
    "websocket_status",
    "compact_status",
    "models_status",
    "usage_status",
    "device_code_status",
    "exchange_status",
    "device_refusal",
    "foreign_content_code",
    "late_error_status",
    "auto_approve",
)


async def journal(exchange: Exchange, _body: Any) -> None:
    """Summaries; `?full=1` adds headers and bodies."""
    full = exchange.received.query.get("full") == "1"
    entries = []
    for received in exchange.sim.journal:
        entry = received.summary()
        if full:
            body = received.body
            shown = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
            entry |= {"headers": received.headers, "body": shown}
        entries.append(entry)
    await exchange.json(200, entries)


async def violations(exchange: Exchange, _body: Any) -> None:
    await exchange.json(200, exchange.sim.violations)


async def refreshes(exchange: Exchange, _body: Any) -> None:
    await exchange.json(200, [asdict(call) for call in exchange.sim.refreshes])


async def reset(exchange: Exchange, _body: Any) -> None:
    exchange.sim.clear()
    await exchange.json(200, {})


async def list_accounts(exchange: Exchange, _body: Any) -> None:
    await exchange.json(200, {name: account.auth_json() for name, account in exchange.sim.accounts.items()})


async def set_switches(exchange: Exchange, body: Any) -> None:
    fields = body if isinstance(body, dict) else {}
    unknown = [name for name in fields if name not in SWITCHES]
    if unknown:
        return await exchange.json(400, {"detail": f"unknown: {', '.join(unknown)}"})
    for name, value in fields.items():
        setattr(exchange.sim, name, value)
    await exchange.json(200, {})


async def set_account(exchange: Exchange, body: Any) -> None:
    """Changes an account, and adds it when it is new; answers its auth.json."""
    account_id = exchange.received.path.rsplit("/", 1)[1]
    fields = body if isinstance(body, dict) else {}
    account = _account(exchange.sim, account_id, fields)
    try:
        apply(account, fields)
    except (KeyError, TypeError) as error:
        return await exchange.json(400, {"detail": f"{type(error).__name__}: {error}"})
    await exchange.json(200, account.auth_json(expires_at=fields.get("access_expires_at")))


def _account(sim: Simulator, account_id: str, fields: dict[str, Any]) -> SimAccount:
    if account_id in sim.accounts:
        return sim.accounts[account_id]
    given = {name: fields[name] for name in ("email", "plan", "workspace", "person") if name in fields}
    return sim.add_account(account_id, **given)


def apply(account: SimAccount, fields: dict[str, Any]) -> None:
    """Raises KeyError or TypeError for a reply that cannot be read; `script` replaces the former one."""
    if "default" in fields:
        account.default = reply_from(fields["default"])
    if "script" in fields:
        replies = [reply_from(spec) for spec in fields["script"]]
        account.replies.clear()
        account.script(*replies)
    if "refresh_script" in fields:
        refresh_replies = [refresh_reply_from(spec) for spec in fields["refresh_script"]]
        account.refresh_replies.clear()
        account.script_refresh(*refresh_replies)
    if "handshake" in fields:
        refusal = None if fields["handshake"] is None else reply_from(fields["handshake"])
        if refusal is not None and not isinstance(refusal, Fail):
            raise TypeError("a handshake is refused with a failure")
        account.handshake = refusal
    for name in ("primary", "secondary"):
        if name in fields.get("windows", {}):
            spec = fields["windows"][name]
            setattr(account.windows, name, None if spec is None else Window(**spec))
    if fields.get("end_access"):
        account.end_access()
        account.issue_access_token()
