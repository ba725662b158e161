"""What an application is told of a request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.web.http_headers import Headers

from codexproxy.server_scope import InvalidHeading, http_scope

PEER, OWN = SimpleNamespace(host="10.1.2.3", port=4000), SimpleNamespace(host="127.0.0.1", port=2455)


def scope_of(*headers: tuple[bytes, bytes], target: bytes = b"/v1/x", **changed: Any) -> dict[str, Any]:
    found = Headers()
    for name, value in headers:
        found.addRawHeader(name, value)
    told: dict[str, Any] = {
        "uri": target,
        "path": target.split(b"?")[0],
        "method": b"POST",
        "clientproto": b"HTTP/1.1",
        "client": PEER,
        "host": OWN,
        "requestHeaders": found,
    }
    return http_scope(SimpleNamespace(**{**told, **changed}))


def test_it_tells_where_from_and_what_for() -> None:
    scope = scope_of(target=b"/v1/a%20b?q=1?2")
    assert scope["client"] == ["10.1.2.3", 4000]
    assert scope["server"] == ["127.0.0.1", 2455]
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("POST", "/v1/a b", b"/v1/a%20b")
    assert scope["query_string"] == b"q=1?2"


def test_a_unix_socket_has_no_address() -> None:
    assert scope_of(client=SimpleNamespace(name=b""))["client"] is None


@pytest.mark.parametrize(("spoken", "told"), [(b"HTTP/1.1", "1.1"), (b"HTTP/1.0", "1.0")])
def test_it_tells_the_version_that_is_spoken(spoken: bytes, told: str) -> None:
    assert scope_of(clientproto=spoken)["http_version"] == told


def test_names_are_in_lower_case_and_values_stay_in_their_order() -> None:
    assert scope_of((b"X-One", b"a"), (b"x-one", b"B"))["headers"] == [(b"x-one", b"a"), (b"x-one", b"B")]


@pytest.mark.parametrize("target", [b"/v1/x", b"/backend-api/x"])
def test_only_known_names_with_an_underscore_come_through(target: bytes) -> None:
    scope = scope_of((b"session_id", b"s"), (b"x_forwarded_for", b"127.0.0.1"), target=target)
    assert scope["headers"] == [(b"session_id", b"s")]


def test_on_other_paths_no_name_with_an_underscore_comes_through() -> None:
    assert scope_of((b"session_id", b"s"), target=b"/admin/")["headers"] == []


def test_nobody_says_where_this_is_mounted() -> None:
    scope = scope_of((b"Daphne-Root-Path", b"/elsewhere"))
    assert (scope["headers"], scope["root_path"]) == ([], "")


@pytest.mark.parametrize("byte", [b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x85"])
def test_a_value_with_what_some_take_for_a_line_s_end_is_refused(byte: bytes) -> None:
    with pytest.raises(InvalidHeading, match="value"):
        scope_of((b"x-one", b"a" + byte + b"b"))


@pytest.mark.parametrize("header", [(b"daphne-root-path", b"a\x0b"), (b"evil_name", b"a\x0b")])
def test_a_header_that_goes_no_further_is_judged_too(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(InvalidHeading):
        scope_of(header)
