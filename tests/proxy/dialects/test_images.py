from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.images import host_model, read_edit, read_generation
from proxy.errors import BadRequest
from proxy.multipart import Part, written_multipart

PNG = b"\x89PNG\r\n\x1a\n"
URL = "data:image/png;base64,iVBORw0KGgo="
IMAGE = Part("image", PNG, "a.png", "image/png")


def generation(**fields: Any) -> Any:
    return read_generation(json.dumps({"prompt": "a cat", **fields}).encode(), "gpt-5.5")


def edit(*parts: Part, **fields: str) -> Any:
    plain = [Part(name, value.encode()) for name, value in {"prompt": "a cat", **fields}.items()]
    body, kind = written_multipart([*plain, *parts])
    return read_edit(body, kind.decode(), "gpt-5.5")


def edit_json(**fields: Any) -> Any:
    body = {"images": [{"image_url": URL}], "prompt": "a hat", **fields}
    return read_edit(json.dumps(body).encode(), "application/json; charset=utf-8", "gpt-5.5")


def sent(request: Any) -> Any:
    return json.loads(request.upstream.body)


def test_it_works() -> None:
    request = generation()
    body = sent(request)
    assert (body["model"], body["store"], body["stream"]) == ("gpt-5.5", False, True)
    assert body["input"][0]["content"] == [{"type": "input_text", "text": "a cat"}]
    assert body["tools"] == [{"type": "image_generation", "model": "gpt-image-2"}]
    assert body["tool_choice"] == {"type": "image_generation"}
    assert (request.kind, request.model, request.is_stream) == ("image_generation", "gpt-image-2", False)
    assert request.upstream.known_as == "gpt-image-2"


def test_the_tool_is_told_what_the_client_wants() -> None:
    options = {
        "size": "2048x1152",
        "quality": "high",
        "background": "transparent",
        "output_format": "webp",
        "output_compression": 0,
        "moderation": "low",
        "partial_images": 3,
    }
    request = generation(stream=True, user="me", n=1, response_format="b64_json", **options)
    assert sent(request)["tools"] == [{"type": "image_generation", "model": "gpt-image-2", **options}]
    assert request.is_stream and request.dropped == ()


def test_what_upstream_does_not_know_is_named() -> None:
    assert generation(style="vivid", **{"a\r\nb": 1}).dropped == ("style",)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"model": "dall-e-3"}, "model"),
        ({"model": 5}, "model"),
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"n": "1"}, "n"),
        ({"response_format": "url"}, "response_format"),
        ({"stream": "yes"}, "stream"),
        ({"partial_images": 2}, "partial_images"),
        ({"partial_images": 4, "stream": True}, "partial_images"),
        ({"partial_images": "1", "stream": True}, "partial_images"),
        ({"output_compression": 101}, "output_compression"),
        ({"output_compression": -1}, "output_compression"),
        ({"quality": "hd"}, "quality"),
        ({"background": []}, "background"),
        ({"output_format": "bmp"}, "output_format"),
        ({"moderation": None, "complexity": "huge"}, "complexity"),
        ({"size": 5}, "size"),
        ({"size": "large"}, "size"),
        ({"size": "1024x1000"}, "size"),
        ({"size": "4096x2048"}, "size"),
        ({"size": "3840x1024"}, "size"),
        ({"size": "512x512"}, "size"),
        ({"size": "3840x3840"}, "size"),
        ({"size": "1024x1024\n"}, "size"),
        ({"size": "2048x1152", "model": "gpt-image-1"}, "size"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        generation(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("gpt-image-2", "auto"),
        ("gpt-image-2", "3840x2160"),
        ("gpt-image-2.5-flare", "1024x3072"),
        ("gpt-image-1.5", "1536x1024"),
        ("chatgpt-image-latest", "1024x1024"),
    ],
)
def test_each_model_has_its_sizes(model: str, size: str) -> None:
    assert sent(generation(model=model, size=size))["tools"][0]["size"] == size


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"prompt": "x"'])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_generation(body, "gpt-5.5")


def test_an_edit_carries_its_pictures() -> None:
    webp = Part("image[]", b"RIFF\0\0\0\0WEBP", "b.webp")
    mask = Part("mask", PNG, "m.png")
    request = edit(IMAGE, webp, mask, model="gpt-image-1.5", input_fidelity="high", stream="true", n="1")
    body = sent(request)
    assert [part["type"] for part in body["input"][0]["content"]] == [
        "input_text",
        "input_image",
        "input_image",
    ]
    assert body["input"][0]["content"][1]["image_url"] == "data:image/png;base64,iVBORw0KGgo="
    assert body["tools"] == [
        {
            "type": "image_generation",
            "model": "gpt-image-1.5",
            "action": "edit",
            "input_fidelity": "high",
            "input_image_mask": {"image_url": "data:image/png;base64,iVBORw0KGgo="},
        }
    ]
    assert (request.kind, request.is_stream) == ("image_edit", True)


@pytest.mark.parametrize(
    ("parts", "fields", "param"),
    [
        ([], {}, "image"),
        ([IMAGE] * 17, {}, "image"),
        ([Part("image", b"GIF89a", "a.gif", "image/png")], {}, "image"),
        ([Part("image", PNG)], {}, "image"),
        ([IMAGE, Part("mask", b"x", "m.png")], {}, "mask"),
        ([IMAGE], {"prompt": ""}, "prompt"),
        ([IMAGE], {"input_fidelity": "high"}, "input_fidelity"),
        ([IMAGE], {"input_fidelity": "x", "model": "gpt-image-1"}, "input_fidelity"),
        ([IMAGE], {"n": "2"}, "n"),
        ([IMAGE], {"n": "9" * 5000}, "n"),
        ([IMAGE], {"stream": "maybe"}, "stream"),
        ([IMAGE], {"output_compression": "\u0663"}, "output_compression"),
        ([IMAGE, Part("quality", b"\xff")], {}, "quality"),
    ],
)
def test_a_wrong_edit_is_named(parts: list[Part], fields: dict[str, str], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        edit(*parts, **fields)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_an_edit_may_be_json_as_codex_sends_it() -> None:
    other = "data:image/webp;base64,UklGRg=="
    request = edit_json(
        images=[{"image_url": URL}, {"image_url": other}],
        background="opaque", model="gpt-image-1.5", n=1, quality="auto", size="auto",
    )  # fmt: skip
    body = sent(request)
    assert body["input"][0]["content"] == [
        {"type": "input_text", "text": "a hat"},
        {"type": "input_image", "image_url": URL},
        {"type": "input_image", "image_url": other},
    ]
    (tool,) = body["tools"]
    assert (tool["action"], tool["background"], tool["quality"]) == ("edit", "opaque", "auto")
    assert (request.kind, request.dropped) == ("image_edit", ())


def test_such_an_edit_may_have_a_mask() -> None:
    (tool,) = sent(edit_json(mask={"image_url": URL}))["tools"]
    assert tool["input_image_mask"] == {"image_url": URL}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"images": None}, "images"),
        ({"images": URL}, "images"),
        ({"images": []}, "images"),
        ({"images": [{"image_url": URL}] * 17}, "images"),
        ({"images": [{"image_url": URL}, URL]}, "images[1]"),
        ({"images": [{"file_id": "file_1"}]}, "images[0].image_url"),
        ({"images": [{"image_url": 5}]}, "images[0].image_url"),
        ({"images": [{"image_url": "https://example.com/a.png"}]}, "images[0].image_url"),
        ({"images": [{"image_url": "data:image/png;base64,"}]}, "images[0].image_url"),
        ({"images": [{"image_url": "data:image/gif;base64,R0lGODlh"}]}, "images[0].image_url"),
        ({"mask": {"image_url": "x"}}, "mask.image_url"),
        ({"prompt": 5}, "prompt"),
        ({"n": 2}, "n"),
    ],
)
def test_what_is_wrong_in_such_an_edit_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        edit_json(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_the_host_is_a_model_that_upstream_has() -> None:
    assert host_model(()) == "gpt-5.5"
    assert host_model({"gpt-5.4", "a"}) == "gpt-5.4"
    assert host_model({"gpt-9", "gpt-8"}) == "gpt-8"


_FIELDS = ["model", "n", "size", "quality", "stream", "partial_images", "output_compression", "style", "user"]
_values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "auto", "gpt-image-1", "1024x1024", "99999x1"])
    | st.lists(st.integers(), max_size=1)
)


@given(st.dictionaries(st.sampled_from(_FIELDS), _values))
def test_any_object_is_either_a_request_or_a_mistake(fields: dict[str, Any]) -> None:
    try:
        request = generation(**fields)
    except BadRequest:
        return
    assert sent(request)["tools"][0]["model"] == request.model
