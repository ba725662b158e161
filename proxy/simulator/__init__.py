"""A simulated ChatGPT backend: an ASGI application, scripted per account, strict about its contract."""

from __future__ import annotations

from .catalogue import model_entry
from .replies import (
    Cut,
    Disconnect,
    EndOfStream,
    Fail,
    FailEvent,
    Incomplete,
    Ok,
    Refreshed,
    RefreshRefused,
    RefreshReply,
    Reply,
    Silence,
    ToolCall,
    Usage,
    refresh_reply_from,
    reply_from,
)
from .state import CLIENT_ID, Received, RefreshCall, SimAccount, Simulator
from .thread import Served, running
from .tokens import claims_of, encrypted_content, encrypted_owner, unsigned_jwt
from .windows import Credits, Window, Windows

__all__ = [
    "CLIENT_ID",
    "Credits",
    "Cut",
    "Disconnect",
    "EndOfStream",
    "Fail",
    "FailEvent",
    "Incomplete",
    "Ok",
    "Received",
    "RefreshCall",
    "RefreshRefused",
    "RefreshReply",
    "Refreshed",
    "Reply",
    "Served",
    "Silence",
    "SimAccount",
    "Simulator",
    "ToolCall",
    "Usage",
    "Window",
    "Windows",
    "claims_of",
    "encrypted_content",
    "encrypted_owner",
    "model_entry",
    "refresh_reply_from",
    "reply_from",
    "running",
    "unsigned_jwt",
]
