"""Pure: requests about files, and the file that an answer names."""

from __future__ import annotations

import re

import msgspec

from proxy.dialects.checks import decoded_object, name, wrong

FILE_SIZE_LIMIT = 512 * 1024 * 1024
_ID = re.compile(r"[\w-]{1,200}", re.A)


def check_file_request(body: bytes) -> None:
    """Of a file that is to be uploaded. Raises BadRequest."""
    payload = decoded_object(body)
    name(payload.get("file_name"), "file_name")
    size = payload.get("file_size")
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= FILE_SIZE_LIMIT:
        wrong("file_size", f"must be a number of bytes from 1 to {FILE_SIZE_LIMIT}.")
    name(payload.get("use_case", "codex"), "use_case")


def checked_file_id(given: str) -> str:
    """Raises BadRequest."""
    if not _ID.fullmatch(given):
        wrong("file_id", "must be letters, digits, _ and - only.")
    return given


def named_file(answer: bytes) -> str | None:
    """The id of the file that upstream has made room for."""
    try:
        payload = msgspec.json.decode(answer)
    except msgspec.MsgspecError:
        return None
    found = payload.get("file_id") if isinstance(payload, dict) else None
    return found if isinstance(found, str) and _ID.fullmatch(found) else None
