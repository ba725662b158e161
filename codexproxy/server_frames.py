"""Many text frames of a websocket in one message of the application: an extension of ASGI of our own.

A message for each frame, and a write for each message, is most of what a fast stream of events costs. Any
other ASGI server announces no such extension, and is given a `websocket.send` for each frame.
"""

from __future__ import annotations

# The name of the extension and of its message: {"type": TEXT_FRAMES, "frames": [b"...", ...]}, UTF-8 each.
TEXT_FRAMES = "codexproxy.text_frames"
_FINAL_TEXT = b"\x81"


def text_frame(payload: bytes) -> bytes:
    """A server's frame, unmasked, of a payload of up to 65,535 bytes (RFC 6455, section 5.2)."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return _FINAL_TEXT + length + payload
