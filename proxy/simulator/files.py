"""Files and audio at the simulated upstream."""

from __future__ import annotations

from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from .exchange import Exchange, account_headers, identify
from .replies import Fail
from .state import SimAccount

TRANSCRIBED = "Hello from the recording."
_FIELDS = {"file", "prompt"}


async def _account(exchange: Exchange) -> SimAccount | None:
    """Who asks; None when a refusal was answered."""
    account = identify(exchange.sim, exchange.received)
    if isinstance(account, Fail):
        await exchange.fail(account, [])
        return None
    reply = account.next_reply()
    if isinstance(reply, Fail):
        await exchange.fail(reply, account_headers(account))
        return None
    return account


async def create(exchange: Exchange, body: Any) -> None:
    account = await _account(exchange)
    if account is None:
        return
    if not isinstance(body, dict) or not body.get("file_name") or not body.get("file_size"):
        return await exchange.json(422, {"detail": "file_name and file_size are required"})
    file_id = f"file_{exchange.sim.serial()}"
    exchange.sim.files[file_id] = account.chatgpt_account_id
    url = f"https://files.example/{file_id}"
    await exchange.json(200, {"status": "success", "file_id": file_id, "upload_url": url})


async def uploaded(exchange: Exchange, _body: Any) -> None:
    account = await _account(exchange)
    if account is None:
        return
    file_id = exchange.received.path.split("/")[-2]
    if exchange.sim.files.get(file_id) != account.chatgpt_account_id:
        return await exchange.json(404, {"detail": "File not found"})
    await exchange.json(200, {"status": "success", "file_id": file_id, "file_name": "a.txt"})


async def transcribe(exchange: Exchange, body: Any) -> None:
    account = await _account(exchange)
    if account is None:
        return
    fields = form_fields(exchange.received.headers.get("content-type", ""), body)
    if not fields.get("file") or fields.keys() - _FIELDS:
        exchange.violation(f"a form with {sorted(fields)} to be transcribed")
        return await exchange.json(400, {"detail": "Unsupported form"})
    await exchange.json(200, {"text": TRANSCRIBED}, account_headers(account))


def form_fields(content_type: str, body: Any) -> dict[str, bytes]:
    """A form by the standard library's reader of mail, which is nobody else's here."""
    if not isinstance(body, bytes):
        return {}
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body
    )
    fields = {}
    for part in message.walk():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            fields[name] = content
    return fields
