from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.dialects.files import FILE_SIZE_LIMIT, check_file_request, checked_file_id, named_file
from proxy.errors import BadRequest

GOOD = {"file_name": "a.txt", "file_size": 5, "use_case": "codex"}


@pytest.mark.parametrize("size", [1, FILE_SIZE_LIMIT])
def test_a_request_for_a_file_is_accepted(size: int) -> None:
    check_file_request(json.dumps({**GOOD, "file_size": size, "more": 1}).encode())


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"file_name": None}, "file_name"),
        ({"file_name": " "}, "file_name"),
        ({"file_size": None}, "file_size"),
        ({"file_size": 0}, "file_size"),
        ({"file_size": 1.5}, "file_size"),
        ({"file_size": True}, "file_size"),
        ({"file_size": "5"}, "file_size"),
        ({"file_size": FILE_SIZE_LIMIT + 1}, "file_size"),
        ({"use_case": 5}, "use_case"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_file_request(json.dumps({**GOOD, **fields}).encode())
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("given", ["", "a b", "../x", "a%2fb", "ä", "x" * 201, "a\n"])
def test_an_id_is_letters_and_digits(given: str) -> None:
    with pytest.raises(BadRequest) as caught:
        checked_file_id(given)
    assert caught.value.param == "file_id"


def test_the_answer_names_the_file() -> None:
    assert named_file(b'{"file_id": "file-A_1", "upload_url": "x"}') == "file-A_1"


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"file_id": 5}', b'{"file_id": "a b"}'])
def test_an_answer_without_a_file_names_none(answer: bytes) -> None:
    assert named_file(answer) is None
