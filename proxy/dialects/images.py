"""Pure: OpenAI's Images API made into a turn whose one tool makes the image."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.dialects.checks import boolean, decoded_object, mapping, name, one_of, sequence, text, wrong
from proxy.dialects.codex import CodexRequest
from proxy.multipart import Part, read_multipart

DEFAULT_MODEL = "gpt-image-2"
# The models that call the tool, the best first; where upstream has none of them any other will do.
_HOSTS = ("gpt-5.5", "gpt-5.4", "gpt-5.4-mini")
_INSTRUCTIONS = "Call image_generation once, with the user's own words as its prompt. Say nothing else."
_MODEL = re.compile(r"(?:gpt-image-|chatgpt-image-)[\w.-]{1,60}", re.A)

IMAGES = 16
_DATA_URL = re.compile(r"data:image/(?:png|jpeg|webp);base64,[A-Za-z0-9+/]")
_MAGIC = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}

# The sizes of the first generation; later ones take any within bounds.
_FIXED_SIZES = frozenset({"1024x1024", "1536x1024", "1024x1536"})
_SIZE = re.compile(r"(\d{2,5})x(\d{2,5})", re.A)
_EDGE_STEP, _LONGEST_EDGE, _LONGEST_RATIO = 16, 3840, 3
_PIXELS = range(655_360, 8_294_400 + 1)

_LEVELS = frozenset({"low", "medium", "high"})
_CHOICES: dict[str, Collection[str]] = {
    "background": frozenset({"transparent", "opaque", "auto"}),
    "quality": _LEVELS | {"xhigh", "max", "auto"},
    "output_format": frozenset({"png", "jpeg", "webp", "gif", "svg"}),
    "moderation": frozenset({"low", "auto"}),
    "complexity": _LEVELS,
}
_NUMBERS: dict[str, range] = {
    "output_compression": range(101),
    "partial_images": range(4),
    "frame_count": range(1, 1001),
    "frame_duration_ms": range(1, 60_001),
}
_READ = frozenset({"prompt", "model", "n", "size", "stream", "response_format"})
_OF_EDITS = frozenset({"image", "images", "mask", "input_fidelity"})
# As a field may be named in a header.
_FIELD = re.compile(r"[\w.-]{1,40}", re.A)
# They change nothing of the image.
_SILENT = frozenset({"user", "safety_identifier"})


@dataclass(frozen=True, slots=True)
class ImagesRequest:
    """`dropped` are fields that upstream does not know."""

    upstream: CodexRequest
    # "image_generation" or "image_edit": what the events of the answer are called.
    kind: str
    model: str
    is_stream: bool
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Pictures:
    """Data URLs."""

    images: tuple[str, ...] = ()
    mask: str | None = None


def host_model(models: Collection[str]) -> str:
    """The model that calls the tool, out of those that upstream has."""
    known = [model for model in _HOSTS if model in models]
    return known[0] if known else min(models, default=_HOSTS[0])


def read_generation(body: bytes, host: str) -> ImagesRequest:
    """POST /v1/images/generations. Raises BadRequest with the `param` that is wrong."""
    fields = decoded_object(body)
    return _request("image_generation", fields, _Pictures(), host)


def read_edit(body: bytes, content_type: str, host: str) -> ImagesRequest:
    """POST /v1/images/edits: JSON, or else a form. Raises BadRequest with the `param` that is wrong."""
    is_json = content_type.partition(";")[0].strip().lower() == "application/json"
    return _read_edit_json(body, host) if is_json else _read_edit_form(body, content_type, host)


def _read_edit_json(body: bytes, host: str) -> ImagesRequest:
    """As Codex sends it."""
    fields = decoded_object(body)
    given = sequence(fields.get("images"), "images")
    if not 1 <= len(given) <= IMAGES:
        wrong("images", f"send 1 to {IMAGES} images.")
    images = tuple(_given_url(image, f"images[{index}]") for index, image in enumerate(given))
    mask = None if fields.get("mask") is None else _given_url(fields["mask"], "mask")
    return _request("image_edit", fields, _Pictures(images, mask), host)


def _given_url(image: Any, param: str) -> str:
    url = text(mapping(image, param).get("image_url"), f"{param}.image_url")
    if not _DATA_URL.match(url):
        wrong(f"{param}.image_url", "must be a PNG, JPEG or WebP image as a data URL.")
    return url


def _read_edit_form(body: bytes, content_type: str, host: str) -> ImagesRequest:
    images: list[str] = []
    mask: str | None = None
    fields: dict[str, Any] = {}
    for part in read_multipart(body, content_type):
        field = part.name.partition("[")[0]
        if field == "image":
            images.append(_data_url(part, "image"))
        elif field == "mask":
            mask = _data_url(part, "mask")
        else:
            fields[field] = _value(field, part)
    if not 1 <= len(images) <= IMAGES:
        wrong("image", f"send 1 to {IMAGES} images.")
    return _request("image_edit", fields, _Pictures(tuple(images), mask), host)


def _data_url(part: Part, param: str) -> str:
    if part.filename is None:
        wrong(param, "must be a file.")
    for magic, kind in _MAGIC.items():
        if part.content.startswith(magic):
            return f"data:{kind};base64,{base64.b64encode(part.content).decode()}"
    wrong(param, "is no PNG, JPEG or WebP image.")


def _value(field: str, part: Part) -> Any:
    """A form's text as the value that JSON would have."""
    value = part.text()
    if field in _NUMBERS or field == "n":
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else value
    if field == "stream":
        return {"true": True, "1": True, "false": False, "0": False}.get(value.lower(), value)
    return value


def _request(kind: str, fields: Mapping[str, Any], pictures: _Pictures, host: str) -> ImagesRequest:
    prompt = name(fields.get("prompt"), "prompt")
    model = fields.get("model") or DEFAULT_MODEL
    if not isinstance(model, str) or not _MODEL.fullmatch(model):
        wrong("model", "must be an image model, such as gpt-image-2.")
    is_stream = boolean(fields, "stream")
    if fields.get("n") not in (None, 1) or isinstance(fields.get("n"), bool):
        wrong("n", "one image at a time.")
    if fields.get("response_format") not in (None, "b64_json"):
        wrong("response_format", "images come as b64_json only.")
    tool = {"type": "image_generation", "model": model, **_options(fields, model)}
    if kind == "image_edit":
        tool |= _edit_options(fields, model, pictures)
    if tool.get("partial_images") and not is_stream:
        wrong("partial_images", "come with stream only.")
    read = _READ | _CHOICES.keys() | _NUMBERS.keys() | _SILENT
    if kind == "image_edit":
        read |= _OF_EDITS
    dropped = tuple(sorted(field for field in fields if field not in read and _FIELD.fullmatch(field)))
    upstream = _turn(prompt, pictures.images, tool, host)
    return ImagesRequest(upstream, kind, model, is_stream, dropped)


def _options(fields: Mapping[str, Any], model: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field, known in _CHOICES.items():
        if fields.get(field) is not None:
            found[field] = one_of(fields[field], known, field)
    for field, bounds in _NUMBERS.items():
        if fields.get(field) is not None:
            found[field] = _number(fields[field], bounds, field)
    if fields.get("size") is not None:
        found["size"] = _size(fields["size"], model)
    return found


def _edit_options(fields: Mapping[str, Any], model: str, pictures: _Pictures) -> dict[str, Any]:
    found: dict[str, Any] = {"action": "edit"}
    if fields.get("input_fidelity") is not None:
        if model.startswith("gpt-image-2"):
            wrong("input_fidelity", f"{model} has no choice of it; leave it out.")
        found["input_fidelity"] = one_of(fields["input_fidelity"], {"low", "high"}, "input_fidelity")
    if pictures.mask is not None:
        found["input_image_mask"] = {"image_url": pictures.mask}
    return found


def _number(value: Any, bounds: range, param: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in bounds:
        wrong(param, f"must be a whole number from {bounds.start} to {bounds.stop - 1}.")
    return value


def _size(value: Any, model: str) -> str:
    if value == "auto":
        return "auto"
    if model.startswith("gpt-image-1"):
        return one_of(value, _FIXED_SIZES | {"auto"}, "size")
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        wrong("size", "must be auto, or a width and a height such as 1024x1024.")
    long, short = sorted((int(found[1]), int(found[2])), reverse=True)
    rules = (
        (long % _EDGE_STEP == short % _EDGE_STEP == 0, f"edges must be multiples of {_EDGE_STEP}."),
        (long <= _LONGEST_EDGE, f"no edge may be longer than {_LONGEST_EDGE}."),
        (long <= short * _LONGEST_RATIO, f"no edge may be over {_LONGEST_RATIO} times the other."),
        (long * short in _PIXELS, f"must have {_PIXELS.start} to {_PIXELS.stop - 1} pixels."),
    )
    for holds, sentence in rules:
        if not holds:
            wrong("size", sentence)
    return f"{found[1]}x{found[2]}"


def _turn(prompt: str, images: tuple[str, ...], tool: Mapping[str, Any], host: str) -> CodexRequest:
    content: list[dict[str, Any]] = [{"type": "input_text", "text": prompt}]
    content += [{"type": "input_image", "image_url": image} for image in images]
    body = {
        "model": host,
        "instructions": _INSTRUCTIONS,
        "input": [{"type": "message", "role": "user", "content": content}],
        "tools": [tool],
        "tool_choice": {"type": "image_generation"},
        "include": [],
        "store": False,
        "stream": True,
    }
    return CodexRequest(
        msgspec.json.encode(body),
        host,
        None,
        "",
        prompt_cache_key=None,
        has_compaction=False,
        known_as=str(tool["model"]),
    )
