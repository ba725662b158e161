"""The backend's answers about models, usage and accounts."""

from __future__ import annotations

from typing import Any

from .catalogue import etag_of
from .exchange import Exchange, identify
from .replies import Fail
from .state import SimAccount
from .windows import usage_answer


async def models(exchange: Exchange, _body: Any) -> None:
    sim = exchange.sim
    account = identify(sim, exchange.received)
    if isinstance(account, Fail):
        return await exchange.fail(account, [])
    if sim.models_status is not None:
        return await exchange.json(sim.models_status, {"detail": "Simulated failure"})
    if "client_version" not in exchange.received.query:
        return await exchange.json(400, {"detail": "client_version is required"})
    await exchange.json(200, {"models": sim.models}, [("etag", etag_of(sim.models))])


async def usage(exchange: Exchange, _body: Any) -> None:
    sim = exchange.sim
    account = identify(sim, exchange.received)
    if isinstance(account, Fail):
        return await exchange.fail(account, [])
    if sim.usage_status is not None:
        return await exchange.json(sim.usage_status, {"detail": "Simulated failure"})
    identity = {
        "user_id": account.user_id,
        "account_id": account.chatgpt_account_id,
        "email": account.email,
    }
    await exchange.json(200, identity | usage_answer(account.windows, account.plan, sim.clock()))


CONTROL = (
    ("GET", "/backend-api/codex/thread/goal/get"),
    ("POST", "/backend-api/codex/thread/goal/get"),
    ("POST", "/backend-api/codex/thread/goal/set"),
    ("POST", "/backend-api/codex/thread/goal/clear"),
    ("POST", "/backend-api/codex/memories/trace_summarize"),
    ("POST", "/backend-api/codex/safety/arc"),
    ("POST", "/backend-api/codex/alpha/search"),
    ("GET", "/backend-api/codex/agent-identities/jwks"),
    ("GET", "/backend-api/wham/agent-identities/jwks"),
)


async def control(exchange: Exchange, body: Any) -> None:
    """What these answer is not known; here they say what they were asked."""
    account = identify(exchange.sim, exchange.received)
    if isinstance(account, Fail):
        return await exchange.fail(account, [])
    reply = account.next_reply()
    if isinstance(reply, Fail):
        return await exchange.fail(reply, [])
    asked = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    await exchange.json(200, {"account": account.id, "asked": asked})


async def accounts_check(exchange: Exchange, _body: Any) -> None:
    account = identify(exchange.sim, exchange.received)
    if isinstance(account, Fail):
        return await exchange.fail(account, [])
    await exchange.json(200, accounts_answer(account))


def accounts_answer(account: SimAccount) -> dict[str, Any]:
    account_id = account.chatgpt_account_id
    entry = {
        "id": account_id,
        "account_user_id": f"{account.user_id}__{account_id}",
        "account_user_role": "standard-user",
        "structure": "workspace" if account.workspace else "personal",
        "plan_type": account.plan,
        "name": None,
        "profile_picture_url": None,
        "is_zdr": False,
        "is_openai_internal": False,
        "workspace_backend_origin": "NO_CONSTRAINT",
        "account_routing_override": "NO_CONSTRAINT",
    }
    return {"accounts": [entry], "default_account_id": account_id, "account_ordering": [account_id]}
