from __future__ import annotations

from email.parser import BytesParser
from email.policy import HTTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BadRequest
from proxy.multipart import PARTS, Part, read_multipart, written_multipart

KIND = "multipart/form-data; boundary=xx"
PLAIN = b'--xx\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--xx--\r\n'


def test_it_works() -> None:
    body = (
        b'--xx\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o-transcribe\r\n'
        b'--xx\r\ncontent-type: audio/wav\r\nContent-Disposition: form-data; name="file"; filename="a.wav"'
        b"\r\n\r\n\x00\r\n\xff\r\n--xx--\r\n"
    )
    assert read_multipart(body, KIND) == [
        Part("model", b"gpt-4o-transcribe"),
        Part("file", b"\x00\r\n\xff", "a.wav", "audio/wav"),
    ]


@pytest.mark.parametrize("kind", ['multipart/form-data; boundary="xx"', "Multipart/Form-Data;boundary=xx"])
def test_the_boundary_is_found(kind: str) -> None:
    assert read_multipart(PLAIN, kind) == [Part("model", b"m")]


def test_what_stands_around_the_form_is_ignored() -> None:
    assert read_multipart(b"preamble\r\n" + PLAIN + b"epilogue", KIND) == [Part("model", b"m")]


def test_names_may_hold_any_letters() -> None:
    body = PLAIN.replace(b'name="model"', 'name="file"; filename="Größe \\"1\\".wav"'.encode())
    assert read_multipart(body, KIND)[0].filename == 'Größe "1".wav'


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (PLAIN, ""),
        (PLAIN, "application/json"),
        (PLAIN, "multipart/form-data"),
        (PLAIN, "multipart/form-data; boundary="),
        (PLAIN, "multipart/form-data; boundary=yy"),
        (b"", KIND),
        (b"{}", KIND),
        (PLAIN[:-6], KIND),
        (b"--xx\r\nno headers\r\n--xx--\r\n", KIND),
        (b"--xx\r\nContent-Disposition: form-data\r\n\r\nx\r\n--xx--\r\n", KIND),
        (b"--xx\r\nContent-Disposition: form-data; name=" + b"x" * 9000 + b"\r\n\r\nx\r\n--xx--\r\n", KIND),
        (PLAIN[:-8] * (PARTS + 1) + b"\r\n--xx--\r\n", KIND),
        (b"\r\n--xx" * 5000, KIND),
    ],
)
def test_what_is_no_form_is_refused(body: bytes, kind: str) -> None:
    with pytest.raises(BadRequest):
        read_multipart(body, kind)


def test_a_text_that_is_none_names_its_field() -> None:
    with pytest.raises(BadRequest) as caught:
        Part("prompt", b"\xff").text()
    assert caught.value.param == "prompt"


_names = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=20)


@given(st.lists(st.tuples(_names, st.binary(max_size=200), _names), min_size=1, max_size=5))
def test_what_is_written_is_read(fields: list[tuple[str, bytes, str]]) -> None:
    parts = [Part(name, content, filename, "audio/wav") for name, content, filename in fields]
    body, kind = written_multipart(parts)
    assert read_multipart(body, kind.decode()) == parts


@given(st.binary(max_size=300))
def test_any_bytes_are_a_form_or_a_mistake(body: bytes) -> None:
    try:
        read_multipart(body.replace(b"\n", b"\r\n--xx"), KIND)
    except BadRequest:
        return


def test_a_name_cannot_write_headers() -> None:
    body, kind = written_multipart([Part("file", b"x", 'a"\r\nX-Evil: 1\r\n\r\n.wav')])
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind + b"\r\n\r\n" + body)
    (part,) = message.iter_parts()
    assert part.keys() == ["Content-Disposition"]
    assert part.get_payload(decode=True) == b"x"
