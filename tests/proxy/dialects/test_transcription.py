from __future__ import annotations

import pytest

from proxy.dialects.transcription import read_transcription, read_v1_transcription, transcribed_text
from proxy.errors import BadRequest
from proxy.multipart import Part, read_multipart, written_multipart

FILE = Part("file", b"RIFF", "a.wav", "audio/wav")


def form(*parts: Part) -> tuple[bytes, str]:
    body, kind = written_multipart(parts)
    return body, kind.decode()


def fields(**values: str) -> list[Part]:
    return [Part(name, value.encode()) for name, value in {"model": "gpt-4o-transcribe", **values}.items()]


def test_codexs_own_form_goes_on_as_it_came() -> None:
    body, kind = form(FILE, Part("anything", b"x"))
    request = read_transcription(body, kind)
    assert (request.body, request.content_type) == (body, kind.encode())


def test_an_openai_clients_form_becomes_upstreams() -> None:
    request = read_v1_transcription(*form(FILE, *fields(prompt="names", language="en", temperature="0")))
    assert read_multipart(request.body, request.content_type.decode()) == [FILE, Part("prompt", b"names")]
    assert (request.wants_text, request.dropped) == (False, ("language", "temperature"))


def test_a_text_may_be_asked_for() -> None:
    assert read_v1_transcription(*form(FILE, *fields(response_format="text"))).wants_text
    assert transcribed_text(b'{"text": "hi"}') == b"hi\n"


def test_a_field_of_any_name_can_be_told_in_a_header() -> None:
    request = read_v1_transcription(*form(FILE, *fields(), Part("include[]", b"x"), Part("a b\u00e4", b"")))
    assert all(name.isascii() for name in request.dropped)


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"model": ""}, "model"),
        ({"model": "whisper-1"}, "model"),
        ({"response_format": "srt"}, "response_format"),
        ({"stream": "true"}, "stream"),
    ],
)
def test_a_wrong_field_is_named(values: dict[str, str], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_v1_transcription(*form(FILE, *fields(**values)))
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("read", [read_transcription, read_v1_transcription])
@pytest.mark.parametrize("parts", [[], [Part("file", b"x")], [Part("file", b"", "a.wav")]])
def test_a_form_without_a_file_is_refused(read: object, parts: list[Part]) -> None:
    with pytest.raises(BadRequest) as caught:
        read(*form(*fields(), *parts))  # type: ignore[operator]
    assert caught.value.param == "file"


@pytest.mark.parametrize("read", [read_transcription, read_v1_transcription])
def test_what_is_no_form_is_refused(read: object) -> None:
    with pytest.raises(BadRequest):
        read(b"{}", "application/json")  # type: ignore[operator]
