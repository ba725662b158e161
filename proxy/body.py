"""Reads a request body: collects it under its limit and undoes its compression under the same limit."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

import brotli
import zstandard

from proxy.errors import BadRequest, TooLarge

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

T = TypeVar("T", bytes, bytearray)

_PIECE = 1024 * 1024


class ClientGone(Exception):
    """The client left before its request was complete."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """The body as it came. Raises TooLarge and ClientGone."""
    first = await receive()
    if first["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = first.get("body", b"")
    if not first.get("more_body", False):
        return _checked(body, limit)
    parts = bytearray(body)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts += message.get("body", b"")
        _checked(parts, limit)
        if not message.get("more_body", False):
            return bytes(parts)


def _checked(body: T, limit: int) -> T:
    if len(body) > limit:
        raise TooLarge(limit)
    return body


def decoded(body: bytes, content_encoding: str, limit: int) -> bytes:
    """Undo the encodings from right to left. Raises BadRequest (unknown or broken) and TooLarge (bombs)."""
    for name in reversed([part.strip().lower() for part in content_encoding.split(",") if part.strip()]):
        if name == "identity":
            continue
        decode = _DECODERS.get(name)
        if decode is None:
            raise BadRequest(f"Unsupported Content-Encoding {name!r}: use zstd, gzip, deflate or br.")
        try:
            body = decode(body, limit)
        except (zlib.error, zstandard.ZstdError, brotli.error, EOFError):
            raise BadRequest(
                f"The request body says that it is compressed with {name}, but it could not be decompressed."
            ) from None
    return body


def _zlib(body: bytes, limit: int, window_bits: int) -> bytes:
    out = bytearray()
    while body:
        machine = zlib.decompressobj(window_bits)
        out += machine.decompress(body, limit + 1 - len(out))
        _checked(out, limit)
        if not machine.eof:
            raise EOFError
        body = machine.unused_data if window_bits > 15 else b""
    return bytes(out)


def _gzip(body: bytes, limit: int) -> bytes:
    return _zlib(body, limit, 31)


def _deflate(body: bytes, limit: int) -> bytes:
    # Some clients send the raw stream without zlib's header.
    try:
        return _zlib(body, limit, 15)
    except zlib.error:
        return _zlib(body, limit, -15)


def _zstd(body: bytes, limit: int) -> bytes:
    out = bytearray()
    while body:
        machine = zstandard.ZstdDecompressor(max_window_size=128 * 1024 * 1024).decompressobj()
        for start in range(0, len(body), 8192):
            # In small steps, so that a bomb is noticed before it is unpacked.
            out += machine.decompress(body[start : start + 8192])
            _checked(out, limit)
            if machine.eof:
                body = machine.unused_data + body[start + 8192 :]
                break
        else:
            raise EOFError
    return bytes(out)


def _brotli(body: bytes, limit: int) -> bytes:
    machine = brotli.Decompressor()
    out = bytearray(machine.process(body, output_buffer_limit=_PIECE))
    while not machine.is_finished():
        _checked(out, limit)
        if machine.can_accept_more_data():
            raise EOFError
        out += machine.process(b"", output_buffer_limit=_PIECE)
    return bytes(_checked(out, limit))


_DECODERS = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "zstd": _zstd, "br": _brotli}
