"""Refuses text that the database cannot keep, before any view of the dashboard sees it.

NUL is no text to PostgreSQL, and half of a surrogate pair cannot be written as UTF-8: it would fail where it
is stored or, worse, on every page that shows it.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from rest_framework.exceptions import ParseError
from rest_framework.parsers import DataAndFiles, JSONParser, MultiPartParser

GetResponse = Callable[[HttpRequest], HttpResponse]

# Other encodings have ways of their own to write what UTF-8 cannot.
_ENCODINGS = frozenset({"utf-8", "ascii"})
_REFUSED = "The request holds characters that no text can have."


def is_plain(text: str) -> bool:
    """Pure: whether every character can be stored and sent."""
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def all_plain(value: Any) -> bool:
    """Pure: whether all texts in what JSON can hold are, the names of its fields among them."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            if not is_plain(each):
                return False
        elif isinstance(each, Mapping):
            left += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple):
            left += each
    return True


class PlainJSONParser(JSONParser):
    def parse(self, *args: Any, **kwargs: Any) -> Any:
        parsed = super().parse(*args, **kwargs)
        if not all_plain(parsed):
            raise ParseError(_REFUSED)
        return parsed


class PlainMultiPartParser(MultiPartParser):
    def parse(self, *args: Any, **kwargs: Any) -> DataAndFiles[Any, Any]:
        parsed = super().parse(*args, **kwargs)
        if not all_plain(list(parsed.data.lists())):
            raise ParseError(_REFUSED)
        return parsed


class PlainTextMiddleware:
    """The same for the address, the cookies, and what the pages' forms send."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if _is_utf8(request.encoding) and all_plain(_texts_around(request)):
            return self.get_response(request)
        if request.path_info.startswith("/api/"):
            error = {"code": "validation_error", "message": "Invalid request payload"}
            return JsonResponse({"error": error}, status=422)
        return _refused()

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponse | None:
        """After the gate: nobody's body is read who may not come in. Pages read more than their forms."""
        if request.path_info.startswith("/api/") or all_plain(list(request.POST.lists())):
            return None
        return _refused()


def _refused() -> HttpResponse:
    return HttpResponseBadRequest(_REFUSED, content_type="text/plain; charset=utf-8")


def _is_utf8(encoding: str | None) -> bool:
    # Django has looked the name up already: one that it does not know is none.
    return encoding is None or codecs.lookup(encoding).name in _ENCODINGS


def _texts_around(request: HttpRequest) -> list[Iterable[str]]:
    # Cookies may write any character as an octal number.
    query = request.META.get("QUERY_STRING", "").replace("%00", "\x00")
    return [request.path_info, query, list(request.COOKIES.values())]
