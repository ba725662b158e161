"""The control plane's map."""

from __future__ import annotations

from http import HTTPStatus

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.views import defaults
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularJSONAPIView

from codexproxy import dashboard_auth, health, metrics_page

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/dashboard-auth/", include(dashboard_auth.urlpatterns)),
    path("api/schema/", SpectacularJSONAPIView.as_view(), name="api-schema"),
    path("api/", include("accounts.urls")),
    path("api/", include("requestlogs.urls")),
    path("api/", include("proxy.urls")),
    path("metrics", metrics_page.page, name="metrics"),
    path("health", health.live),
    path("health/live", health.live, name="health-live"),
    path("health/ready", health.ready, name="health-ready"),
]


def _envelope(status: HTTPStatus) -> JsonResponse:
    return JsonResponse({"error": {"code": f"http_{status.value}", "message": status.phrase}}, status=status)


def _is_api(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _envelope(HTTPStatus.BAD_REQUEST) if _is_api(request) else defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return (
        _envelope(HTTPStatus.FORBIDDEN)
        if _is_api(request)
        else defaults.permission_denied(request, exception)
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return (
        _envelope(HTTPStatus.NOT_FOUND) if _is_api(request) else defaults.page_not_found(request, exception)
    )


def failed(request: HttpRequest) -> HttpResponse:
    if not _is_api(request):
        return defaults.server_error(request)
    return JsonResponse({"error": {"code": "internal_error", "message": "Unexpected error"}}, status=500)


handler400 = bad_request
handler403 = forbidden
handler404 = not_found
handler500 = failed
