"""OpenAI's Images API with the real SDK."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import openai
import pytest

from proxy.simulator import Fail, FailEvent, Ok, Simulator
from proxy.simulator.events import IMAGE, IMAGE_USAGE
from tests.e2e.asking import multipart, send
from tests.e2e.conftest import Start

PNG = base64.b64decode(IMAGE)


def test_an_image_is_made(sim: Simulator, client: openai.OpenAI) -> None:
    made = client.images.generate(model="gpt-image-2", prompt="a cat", size="2048x1152", quality="high", n=1)
    assert made.data is not None and made.usage is not None
    assert made.data[0].b64_json == IMAGE
    assert (made.size, made.output_format) == ("2048x1152", "png")
    assert made.usage.to_dict() == IMAGE_USAGE
    (call,) = sim.responses()
    assert call.body["tools"] == [
        {"type": "image_generation", "model": "gpt-image-2", "quality": "high", "size": "2048x1152"}
    ]
    assert sim.violations == []


def test_an_image_is_streamed(sim: Simulator, client: openai.OpenAI) -> None:
    events = list(client.images.generate(prompt="a cat", stream=True, partial_images=2))
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert {event.b64_json for event in events} == {IMAGE}
    assert sim.violations == []


def test_images_are_edited(sim: Simulator, client: openai.OpenAI) -> None:
    given = [("a.png", PNG), ("b.png", PNG)]
    made = client.images.edit(image=given, mask=("m.png", PNG), prompt="a hat", output_format="webp")
    assert made.data is not None and made.data[0].b64_json == IMAGE
    (event,) = client.images.edit(image=("a.png", PNG), prompt="a hat", stream=True)
    assert event.type == "image_edit.completed"
    first = sim.responses()[0].body
    assert [part["type"] for part in first["input"][0]["content"]] == [
        "input_text",
        "input_image",
        "input_image",
    ]
    assert first["tools"][0]["action"] == "edit"
    assert sim.violations == []


def test_codex_edits_an_image_with_json(sim: Simulator, serve: Start) -> None:
    sim.add_account("only")
    server = serve()
    body: dict[str, Any] = {"images": [{"image_url": f"data:image/png;base64,{IMAGE}"}], "prompt": "a hat"}
    kind = {"Content-Type": "application/json"}
    path = "/backend-api/codex/images/edits"
    answer = send(server, path=path, body=json.dumps(body).encode(), headers=kind)
    assert (answer.status, answer.json()["data"][0]["b64_json"]) == (200, IMAGE)
    assert isinstance(answer.json()["created"], int)
    (call,) = sim.responses()
    assert call.body["input"][0]["content"][1]["image_url"] == body["images"][0]["image_url"]
    assert call.body["tools"][0]["action"] == "edit"
    wrong = send(server, path=path, body=b'{"images": [], "prompt": "a hat"}', headers=kind)
    assert (wrong.status, wrong.error["param"]) == (400, "images")
    assert sim.violations == []


def test_each_failure_is_the_right_exception(sim: Simulator, client: openai.OpenAI) -> None:
    account = sim.accounts["first"]
    account.script(Ok("I cannot draw that.", image=False))
    with pytest.raises(openai.BadRequestError, match="I cannot draw that"):
        client.images.generate(prompt="a cat")
    account.script(FailEvent.server_error(after=1), Ok("No.", image=False))
    for _ in range(2):
        with pytest.raises(openai.APIError):
            list(client.images.generate(prompt="a cat", stream=True))
    for fields, param in (
        ({"n": 2}, "n"),
        ({"size": "10x10"}, "size"),
        ({"model": "dall-e-3"}, "model"),
        ({"response_format": "url"}, "response_format"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.images.generate(prompt="a cat", **fields)  # type: ignore[call-overload]
        assert caught.value.param == param
    account.script(Fail.usage_limit(resets_at=int(time.time()) + 60))
    with pytest.raises(openai.RateLimitError):
        client.images.generate(prompt="a cat")


def test_a_limited_account_is_passed_over_and_the_record_names_the_image_model(
    sim: Simulator, serve: Start
) -> None:
    sim.add_account("ada")
    sim.add_account("bob")
    server = serve()
    sim.accounts["ada"].default = Fail.usage_limit(resets_at=int(time.time()) + 600)
    bodies: list[tuple[str, bytes, Any]] = []
    for path in ("/v1/images/generations", "/backend-api/codex/images/generations"):
        bodies.append((path, json.dumps({"prompt": "a cat"}).encode(), {}))
    for path, body, headers in bodies * 2:
        assert send(server, path=path, body=body, headers=headers).json()["data"][0]["b64_json"] == IMAGE
    sim.accounts["bob"].script(Ok("No.", image=False))
    assert send(server, path="/v1/images/generations", body=bodies[0][1]).status == 400
    wrong, kind = multipart("image", "a.gif", b"GIF89a")
    answer = send(server, path="/v1/images/edits", body=wrong, headers=kind)
    assert (answer.status, answer.error["param"]) == (400, "image")
    server.wait_for_records(6)
    rows = server.records("model, status, error_code")
    assert rows[:4] == [("gpt-image-2", "success", None)] * 4
    assert rows[4] == ("gpt-image-2", "error", "no_image")
    assert sim.violations == []
