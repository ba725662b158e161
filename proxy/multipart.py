"""Pure: bodies of multipart/form-data, read and written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message
from email.utils import collapse_rfc2231_value
from secrets import token_hex

from proxy.errors import BadRequest

PARTS = 64
_HEADERS_LIMIT = 8 * 1024
# What would end a quoted text in a header, or the header itself.
_UNQUOTABLE = re.compile(r'[\x00-\x1f\x7f"\\]')


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; `filename` is None for a plain one."""

    name: str
    content: bytes
    filename: str | None = None
    content_type: str = ""

    def text(self) -> str:
        """Raises BadRequest."""
        try:
            return self.content.decode()
        except UnicodeDecodeError:
            raise BadRequest(f"{self.name}: must be a text.", param=self.name) from None


def read_multipart(body: bytes, content_type: str) -> list[Part]:
    """Raises BadRequest."""
    kind = Message()
    kind["content-type"] = _one_line(content_type)
    boundary = _parameter(kind, "boundary", "content-type")
    if kind.get_content_type() != "multipart/form-data" or not boundary:
        raise BadRequest("Send the fields as multipart/form-data, with its boundary in Content-Type.")
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("utf-8", "replace"), PARTS + 2)
    if len(pieces) > PARTS + 2:
        raise BadRequest(f"The form has more than {PARTS} fields.")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise BadRequest("The form is not complete: its closing boundary is missing.")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> Part:
    # The rest of the boundary's line, then headers, an empty line, and the content.
    _, _, after = piece.partition(b"\r\n")
    head, separator, content = (b"\r\n" + after).partition(b"\r\n\r\n")
    if not separator or len(head) > _HEADERS_LIMIT:
        raise BadRequest("The form has a field whose headers cannot be read.")
    headers = Message()
    for line in head.decode("utf-8", "replace").split("\r\n"):
        kind, colon, value = line.partition(":")
        if colon and kind.strip().lower() in ("content-disposition", "content-type"):
            headers[kind.strip().lower()] = _one_line(value)
    name = _parameter(headers, "name", "content-disposition")
    if not name:
        raise BadRequest("The form has a field without a name.")
    filename = _parameter(headers, "filename", "content-disposition")
    return Part(name, content, filename, headers.get("content-type", "").partition(";")[0].strip())


def _one_line(value: str) -> str:
    return " ".join(value.split())


def _parameter(headers: Message, name: str, header: str) -> str | None:
    found = headers.get_param(name, header=header)
    return None if found is None else collapse_rfc2231_value(found)


def written_multipart(parts: Iterable[Part]) -> tuple[bytes, bytes]:
    """The body, and its Content-Type."""
    boundary = token_hex(16).encode()
    body = bytearray()
    for part in parts:
        disposition = f'form-data; name="{_quotable(part.name)}"'
        if part.filename is not None:
            disposition += f'; filename="{_quotable(part.filename)}"'
        body += b"--" + boundary + b"\r\nContent-Disposition: " + disposition.encode() + b"\r\n"
        if part.content_type:
            body += b"Content-Type: " + part.content_type.encode() + b"\r\n"
        body += b"\r\n" + part.content + b"\r\n"
    body += b"--" + boundary + b"--\r\n"
    return bytes(body), b"multipart/form-data; boundary=" + boundary


def _quotable(value: str) -> str:
    return _UNQUOTABLE.sub("_", value)
