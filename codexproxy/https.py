"""Whether the browser's way to us is https, and what follows from it for cookies.

TLS ends at the reverse proxy, so the server itself sees http; a trusted proxy says what it was.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from codexproxy import locality

GetResponse = Callable[[HttpRequest], HttpResponse]
# settings.SECURE_PROXY_SSL_HEADER
_SCHEME_KEY = "codexproxy.scheme"


class HttpsMiddleware:
    """Makes `request.is_secure()` true behind a trusted proxy with TLS, and cookies Secure with it.

    Django's check of forms compares the page's origin with ours and needs the right scheme.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if _is_forwarded_https(request):
            request.META[_SCHEME_KEY] = "https"
        response = self.get_response(request)
        if request.is_secure():
            for cookie in response.cookies.values():
                cookie["secure"] = True
        return response


def _is_forwarded_https(request: HttpRequest) -> bool:
    # SECURITY: anybody can write this header; it counts from a trusted proxy only.
    peer = locality.parse_address(request.META.get("REMOTE_ADDR"))
    if not locality.in_networks(peer, settings.TRUSTED_PROXIES):
        return False
    schemes = request.headers.get("X-Forwarded-Proto", "").split(",")
    # The last one was written by the proxy that talks to us.
    return schemes[-1].strip().lower() == "https"
