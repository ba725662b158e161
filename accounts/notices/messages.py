"""Pure: no I/O. What a notice looks like on its way: JSON with its signature, or an e-mail."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

SUBJECT_LENGTH = 150


class DeliveryFailed(Exception):
    """It did not arrive; the message says why, without any secret."""


@dataclass(frozen=True, slots=True)
class Message:
    """`link` leads to the dashboard; empty where its address is not known."""

    id: str
    kind: str
    at: datetime
    title: str
    text: str
    account_id: str = ""
    account_name: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    link: str = ""


def payload(message: Message) -> bytes:
    """The webhook's body, as docs/reference.md has it."""
    account = {"id": message.account_id, "name": message.account_name} if message.account_id else None
    fields = {
        "id": message.id,
        "kind": message.kind,
        "at": f"{message.at:%Y-%m-%dT%H:%M:%SZ}",
        "title": message.title,
        "text": message.text,
        "account": account,
        "data": dict(message.data),
        "link": message.link or None,
    }
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Over the time too, so that a request that was listened to cannot be sent again later."""
    mac = hmac.new(secret.encode("utf-8", "replace"), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"sha256={mac.hexdigest()}"


def subject(message: Message) -> str:
    # A line end would begin another header.
    return f"[codexproxy] {' '.join(message.title.split())}"[:SUBJECT_LENGTH]


def letter(message: Message) -> str:
    lines = [message.text, "", f"{message.at:%Y-%m-%d %H:%M:%S} UTC"]
    if message.link:
        lines += ["", message.link]
    return "\n".join([*lines, "", "-- ", "codexproxy sends this as its page Notices says.", ""])
