"""The sign-in service: authorization code with PKCE, device code, refresh with rotation."""

from __future__ import annotations

import base64
import hashlib
import html
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from .exchange import Exchange
from .replies import Refreshed, RefreshRefused
from .state import CLIENT_ID, RefreshCall, SignIn, SimAccount, Simulator

DEVICE_POLL_INTERVAL_S = "1"
# In place of an account: the person says no.
DENIED = "denied"


async def token(exchange: Exchange, body: Any) -> None:
    """Takes JSON and forms alike, as the refresh grant comes as JSON and the code grant as a form."""
    fields = body if isinstance(body, dict) else _form(body)
    if fields.get("client_id") != CLIENT_ID:
        return await _refuse(exchange, 400, "invalid_client", "Unknown client.")
    if fields.get("grant_type") == "refresh_token":
        return await _refresh(exchange, fields)
    if fields.get("grant_type") == "authorization_code":
        if isinstance(body, dict):
            exchange.violation("a code was sent as JSON, where the service takes a form")
            return await _refuse(exchange, 400, "invalid_request", "Send a form.")
        return await _exchange_code(exchange, fields)
    await _refuse(exchange, 400, "unsupported_grant_type", "Unknown grant type.")


def _form(body: Any) -> dict[str, Any]:
    return dict(parse_qsl(body.decode("utf-8", "replace"))) if isinstance(body, bytes) else {}


async def _refuse(exchange: Exchange, status: int, code: str | None, message: str) -> None:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    await exchange.json(status, {"error": error})


async def _refresh(exchange: Exchange, fields: dict[str, Any]) -> None:
    sim, spent = exchange.sim, str(fields.get("refresh_token"))
    account = sim.refresh_tokens.get(spent)
    call = RefreshCall(account.id if account else None, spent, fields.get("refresh_reason"), sim.clock())
    sim.refreshes.append(call)
    exchange.received.account_id = call.account_id
    if account is None:
        call.status = 401
        refused = RefreshRefused.invalidated()
        return await _refuse(exchange, 401, refused.code, refused.message)
    if spent in sim.spent_refresh_tokens or spent != account.refresh_token:
        call.status = 401
        exchange.violation(f"a spent refresh token of {account.id} was used again")
        reused = RefreshRefused.reused()
        return await _refuse(exchange, 401, reused.code, reused.message)
    reply = account.next_refresh_reply()
    if isinstance(reply, RefreshRefused):
        call.status = reply.status
        await exchange.client.pause(reply.delay_s)
        return await _refuse(exchange, reply.status, reply.code, reply.message)
    # Spent before the pause: a second call while this one is slow is the mistake to catch.
    sim.spent_refresh_tokens.add(spent)
    if await exchange.client.pause(reply.delay_s):
        exchange.mark_left()
    await exchange.json(200, _rotated(account, reply))


def _rotated(account: SimAccount, reply: Refreshed) -> dict[str, Any]:
    if account.refresh_ends_access:
        account.end_access()
    answer = {
        "access_token": account.issue_access_token(account.simulator.clock() + reply.expires_in_s),
        "refresh_token": account.issue_refresh_token(),
        "token_type": "Bearer",
        "expires_in": int(reply.expires_in_s),
    }
    return answer | ({"id_token": account.id_token()} if reply.id_token else {})


async def _exchange_code(exchange: Exchange, fields: dict[str, Any]) -> None:
    sim = exchange.sim
    if sim.exchange_status is not None:
        return await _refuse(exchange, sim.exchange_status, "server_error", "Not now.")
    granted = sim.codes.pop(str(fields.get("code")), None)
    if granted is None or granted.account_id is None:
        return await _refuse(exchange, 400, "invalid_grant", "The code is unknown or was used.")
    if granted.redirect_uri is not None and fields.get("redirect_uri") != granted.redirect_uri:
        return await _refuse(exchange, 400, "invalid_grant", "The redirect_uri differs.")
    if challenge_of(str(fields.get("code_verifier", ""))) != granted.challenge:
        return await _refuse(exchange, 400, "invalid_grant", "The code_verifier does not fit.")
    exchange.received.account_id = granted.account_id
    await exchange.json(200, _rotated(sim.accounts[granted.account_id], Refreshed()))


def challenge_of(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


async def authorize(exchange: Exchange, _body: Any) -> None:
    """Lists the accounts; a click on one, `account=…` or `auto_approve` signs it in."""
    sim, query = exchange.sim, exchange.received.query
    redirect_uri, challenge = query.get("redirect_uri"), query.get("code_challenge")
    if query.get("client_id") != CLIENT_ID or not redirect_uri or not challenge:
        return await exchange.json(400, {"detail": "client_id, redirect_uri and code_challenge are needed"})
    if query.get("code_challenge_method") != "S256" or query.get("response_type") != "code":
        detail = "code_challenge_method must be S256 and response_type code"
        return await exchange.json(400, {"detail": detail})
    if not query.get("state") or "offline_access" not in query.get("scope", "").split():
        return await exchange.json(400, {"detail": "state and the scope offline_access are needed"})
    if urlsplit(redirect_uri).path != "/auth/callback":
        return await exchange.json(400, {"detail": "redirect_uri is not one of this client"})
    chosen = query.get("account") or sim.auto_approve
    if chosen == DENIED:
        return await _redirect(exchange, redirect_uri, {"error": "access_denied", "state": query["state"]})
    if chosen not in sim.accounts:
        return await exchange.html(_chooser(sim, "/oauth/authorize", query))
    code = f"ac_{sim.serial()}"
    sim.codes[code] = SignIn(chosen, challenge, redirect_uri)
    answer = {"code": code, "state": query["state"], "scope": query["scope"]}
    await _redirect(exchange, redirect_uri, answer)


async def _redirect(exchange: Exchange, redirect_uri: str, answer: dict[str, str]) -> None:
    separator = "&" if "?" in redirect_uri else "?"
    await exchange.answer(302, b"", [("location", f"{redirect_uri}{separator}{urlencode(answer)}")])


def _chooser(sim: Simulator, path: str, query: dict[str, str]) -> str:
    links = []
    for account in sim.accounts.values():
        target = f"{path}?{urlencode(query | {'account': account.id})}"
        place = f" in {html.escape(account.workspace)}" if account.workspace else ""
        words = f"Continue as {html.escape(account.email)}{place}"
        links.append(f'<li><a href="{html.escape(target)}">{words}</a></li>')
    return (
        "<!doctype html><html><head><title>Simulated sign-in</title></head><body>"
        f"<h1>Simulated sign-in</h1><ul>{''.join(links)}</ul></body></html>"
    )


async def device_user_code(exchange: Exchange, body: Any) -> None:
    sim = exchange.sim
    if not isinstance(body, dict) or body.get("client_id") != CLIENT_ID:
        return await _refuse(exchange, 400, "invalid_client", "Unknown client.")
    if sim.device_code_status is not None:
        return await exchange.json(sim.device_code_status, {"detail": "Not Found"})
    serial = sim.serial()
    user_code = f"SIM-{int(serial, 16):05d}"
    verifier = f"verifier-{serial}-{'v' * 40}"
    sim.devices[user_code] = SignIn(
        sim.auto_approve, challenge_of(verifier), None, verifier=verifier, code=f"ac_{serial}"
    )
    answer = {
        "device_auth_id": f"deviceauth_{user_code}",
        "user_code": user_code,
        "interval": DEVICE_POLL_INTERVAL_S,
    }
    await exchange.json(200, answer)


async def device_token(exchange: Exchange, body: Any) -> None:
    """403 while nobody has approved the code."""
    sim, fields = exchange.sim, body if isinstance(body, dict) else {}
    device = sim.devices.get(str(fields.get("user_code")))
    if device is None or fields.get("device_auth_id") != f"deviceauth_{fields.get('user_code')}":
        return await _refuse(exchange, 404, "not_found", "Unknown device code.")
    if sim.device_refusal is not None:
        return await _refuse(exchange, 400, sim.device_refusal, "Refused.")
    if device.account_id is None or device.code is None:
        return await _refuse(exchange, 403, "authorization_pending", "Not approved yet.")
    sim.codes[device.code] = device
    answer = {
        "authorization_code": device.code,
        "code_challenge": device.challenge,
        "code_verifier": device.verifier,
    }
    await exchange.json(200, answer)


async def device_page(exchange: Exchange, _body: Any) -> None:
    """Approves `user_code` for `account`; without both shows a form, then the accounts."""
    sim, query = exchange.sim, exchange.received.query
    user_code, chosen = query.get("user_code", ""), query.get("account", "")
    if user_code not in sim.devices:
        form = '<form><label>Code <input name="user_code"></label><button>Continue</button></form>'
        return await exchange.html(f"<!doctype html><html><body>{form}</body></html>")
    if chosen not in sim.accounts:
        return await exchange.html(_chooser(sim, "/codex/device", query))
    sim.approve_device(user_code, chosen)
    await exchange.html("<!doctype html><html><body><p>Approved. You may close this page.</p></body></html>")
