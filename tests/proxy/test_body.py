from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
import zstandard

from proxy.body import ClientGone, decoded, read_body
from proxy.errors import BadRequest, TooLarge

BODY = b'{"model":"gpt-5.5"}' * 50


def raw_deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-15)
    return machine.compress(data) + machine.flush()


@pytest.mark.parametrize(
    ("encoding", "compressed"),
    [
        ("", BODY),
        ("identity", BODY),
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("GZIP", gzip.compress(BODY, mtime=0)),
        ("gzip", gzip.compress(BODY[:40], mtime=0) + gzip.compress(BODY[40:], mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw_deflate(BODY)),
        ("zstd", zstandard.compress(BODY)),
        ("br", brotli.compress(BODY)),
        ("gzip, zstd", zstandard.compress(gzip.compress(BODY, mtime=0))),
    ],
)
def test_every_encoding_is_undone(encoding: str, compressed: bytes) -> None:
    assert decoded(compressed, encoding, 10_000) == BODY


@pytest.mark.parametrize(
    ("encoding", "compressed"),
    [
        ("gzip", gzip.compress(bytes(1_000_000), mtime=0)),
        ("deflate", zlib.compress(bytes(1_000_000))),
        ("zstd", zstandard.compress(bytes(1_000_000))),
        ("br", brotli.compress(bytes(1_000_000))),
    ],
)
def test_a_bomb_is_refused(encoding: str, compressed: bytes) -> None:
    with pytest.raises(TooLarge):
        decoded(compressed, encoding, 10_000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "br"])
@pytest.mark.parametrize("broken", [b"not compressed", b"\x00"])
def test_a_broken_body_is_the_clients_mistake(encoding: str, broken: bytes) -> None:
    with pytest.raises(BadRequest):
        decoded(broken, encoding, 10_000)


@pytest.mark.parametrize(
    ("encoding", "compressed"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("zstd", zstandard.compress(BODY)),
        ("br", brotli.compress(BODY)),
    ],
)
def test_a_truncated_body_is_the_clients_mistake(encoding: str, compressed: bytes) -> None:
    with pytest.raises(BadRequest):
        decoded(compressed[:-3], encoding, 10_000)


def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(BadRequest, match="snappy"):
        decoded(BODY, "snappy", 10_000)


async def read(*messages: dict, limit: int = 10) -> bytes:
    waiting = list(messages)

    async def receive() -> dict:
        return waiting.pop(0)

    return await read_body(receive, limit)


@pytest.mark.asyncio
async def test_a_body_in_pieces_is_put_together() -> None:
    assert await read(
        {"type": "http.request", "body": b"ab", "more_body": True}, {"type": "http.request", "body": b"c"}
    ) == (b"abc")


@pytest.mark.asyncio
async def test_a_body_over_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge):
        await read({"type": "http.request", "body": b"x" * 11})


@pytest.mark.asyncio
async def test_a_client_that_leaves_is_noticed() -> None:
    with pytest.raises(ClientGone):
        await read({"type": "http.request", "body": b"ab", "more_body": True}, {"type": "http.disconnect"})
