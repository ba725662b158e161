"""Blurs e-mail addresses on the dashboard's pages, for whoever shows them to others or photographs them.

A preference of one browser, in a cookie. What a page holds stays the same: only how it looks changes, and
where nothing can be blurred (a title, a choice of a list) dots take the address's place.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

COOKIE = "codexproxy_blur"
_ON = "1"
_MAX_AGE_S = 365 * 86_400
_PAGES = "/admin/"
DOTS = "•••@•••"

# No longer than e-mail allows, so that a long run of letters is not gone through again from each of them.
_EMAIL = re.compile(r"[\w.+%'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
# A tag may have > within quotes; what stands in a script or a style is no text.
_PIECES = re.compile(
    r"<!--.*?-->|<(script|style)\b.*?</\1\s*>|<(?:[^<>\"']|\"[^\"]*\"|'[^']*')*>", re.DOTALL | re.IGNORECASE
)
_FIELD = re.compile(r"<(?:input|textarea)\b", re.IGNORECASE)
_NAME = re.compile(r"<(/?)([a-z0-9]+)", re.IGNORECASE)
_WITHOUT_MARKUP = frozenset({"title", "option"})
_BLUR = 'class="cp-blur"'

GetResponse = Callable[[HttpRequest], HttpResponse]


def is_on(request: HttpRequest) -> bool:
    return request.COOKIES.get(COOKIE) == _ON


def blurred(html: str) -> str:
    """Every address in the text, and every field that holds one."""
    found, end, inside = [], 0, ""
    for piece in _PIECES.finditer(html):
        found.append(_text(html[end : piece.start()], inside))
        tag = piece.group()
        is_textarea = tag[:9].lower() == "<textarea"
        value = html[piece.end() : html.find("</", piece.end())] if is_textarea else tag
        found.append(_field(tag, holds_email=bool(_EMAIL.search(value))))
        inside = _inside(tag, inside)
        end = piece.end()
    found.append(_text(html[end:], inside))
    return "".join(found)


def _inside(tag: str, before: str) -> str:
    """The element that text behind this tag stands in, where that matters."""
    name = _NAME.match(tag)
    if name is None:
        return before
    element = name.group(2).lower()
    if name.group(1):
        return "" if element == before else before
    return element if element in _WITHOUT_MARKUP or element == "textarea" else before


def _text(text: str, inside: str) -> str:
    if "@" not in text or inside == "textarea":
        return text
    if inside in _WITHOUT_MARKUP:
        return _EMAIL.sub(DOTS, text)
    return _EMAIL.sub(lambda email: f"<span {_BLUR}>{email.group()}</span>", text)


def _field(tag: str, *, holds_email: bool) -> str:
    """A field's value is what is sent back: the field is blurred as a whole."""
    name = _FIELD.match(tag) if holds_email else None
    return tag if name is None else f"{name.group()} data-blur{tag[name.end() :]}"


class BlurMiddleware:
    """On the way out of every page of the dashboard, for a browser that wants it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        is_page = response.get("Content-Type", "").startswith("text/html") and not response.streaming
        if is_page and request.path.startswith(_PAGES) and is_on(request):
            response.content = blurred(response.content.decode(response.charset))
        return response


@require_POST
def blur_page(request: HttpRequest) -> HttpResponse:
    """Turn it on or off, and go back."""
    wanted = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    response = HttpResponseRedirect(wanted if is_ours else reverse("admin:index"))
    if is_on(request):
        response.delete_cookie(COOKIE, samesite="Lax")
    else:
        response.set_cookie(COOKIE, _ON, max_age=_MAX_AGE_S, httponly=True, samesite="Lax")
    return response
