"""What our own server understands of an application's websocket beyond ASGI.

Many text frames in one message: a message for each frame, and a write for each message, is most of what a
fast stream of events costs. And that a message is answered, so that its bytes are no longer in flight.
Any other ASGI server announces no such extensions, and is sent neither.
"""

from __future__ import annotations

# The name of the extension and of its message: {"type": TEXT_FRAMES, "frames": [b"...", ...]}, UTF-8 each.
TEXT_FRAMES = "codexproxy.text_frames"
# The application is done with the oldest message that it was given: {"type": MESSAGE_DONE}.
MESSAGE_DONE = "codexproxy.message_done"
_FINAL_TEXT = b"\x81"


def text_frame(payload: bytes) -> bytes:
    """A server's frame, unmasked, of a payload of up to 65,535 bytes (RFC 6455, section 5.2)."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return _FINAL_TEXT + length + payload
