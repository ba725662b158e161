"""Django's settings. What an operator may change comes from the environment (docs/settings.md)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from django.templatetags.static import static

from codexproxy import VERSION, env
from codexproxy.crypto import create_key_file
from codexproxy.logging import FORMATS, logging_config

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = env.data_dir()

LOGGING = logging_config(env.choice("LOG_FORMAT", FORMATS))

UPSTREAM_BASE_URL = env.base_url("UPSTREAM_BASE_URL", "https://chatgpt.com/backend-api")
AUTH_BASE_URL = env.base_url("AUTH_BASE_URL", "https://auth.openai.com")
USAGE_REFRESH_INTERVAL_S = env.number("USAGE_REFRESH_INTERVAL_S", 60)

# OpenAI sends browsers back to localhost:1455 and to nothing else.
CALLBACK_HOST = env.text("CALLBACK_HOST", "127.0.0.1")
CALLBACK_PORT = int(env.number("CALLBACK_PORT", 1455))

DASHBOARD_NETWORKS = env.networks("DASHBOARD_NETWORKS")
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")
METRICS_TOKEN = env.secret("METRICS_TOKEN", DATA_DIR / "metrics-token")[0]
DASHBOARD_SETUP_TOKEN = env.secret("DASHBOARD_SETUP_TOKEN", DATA_DIR / "setup-token")[0]

_keys, _key_file = env.secret("ENCRYPTION_KEY", DATA_DIR / "encryption.key")
ENCRYPTION_KEYS = _keys or create_key_file(_key_file)
ENCRYPTION_KEY_FILE = _key_file

# Sessions are signed with a key of their own that needs no second file.
SECRET_KEY = hashlib.sha256(b"codexproxy sessions:" + ENCRYPTION_KEYS.encode()).hexdigest()

DEBUG = False
# The gate checks host names itself: it must admit IP literals, which this list cannot express.
ALLOWED_HOSTS = ["*"]
NAMED_HOSTS = env.names("ALLOWED_HOSTS")

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "codexproxy.apps.ProxyAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_otp",
    "django_otp.plugins.otp_static",
    "rest_framework",
    "codexproxy.apps.CodexProxyConfig",
    "accounts.apps.AccountsConfig",
    "accounts.operators.apps.OperatorsConfig",
    "accounts.notices.apps.NoticesConfig",
    "usage.apps.UsageConfig",
    "requestlogs.apps.RequestLogsConfig",
    "proxy.apps.ProxyConfig",
]

MIDDLEWARE = [
    "codexproxy.request_id.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "codexproxy.https.HttpsMiddleware",
    "csp.middleware.CSPMiddleware",
    "codexproxy.plain_text.PlainTextMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "codexproxy.privacy.BlurMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "codexproxy.gate.GateMiddleware",
    "codexproxy.gate.OperatorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "codexproxy.urls"
ASGI_APPLICATION = "codexproxy.asgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {"default": env.database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
# Dates as everywhere else here, wherever Django writes them by itself.
FORMAT_MODULE_PATH = ["codexproxy.formats"]

STATIC_URL = "static/"
# Static files are served from where the packages keep them: no collectstatic before the first start.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
WHITENOISE_MAX_AGE = 3600
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

SESSION_COOKIE_NAME = "codexproxy_session"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "codexproxy_csrf"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
# What `check --deploy` would like to be set for all requests. TLS ends at a reverse proxy where there is any:
# HttpsMiddleware makes cookies Secure when it says https (W012, W016), and whether http is led to https and
# for how long browsers keep to it (W008, W004) is the proxy's to say; docs/deployment.md shows how.
SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008", "security.W012", "security.W016"]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# No header of a client can have this name; codexproxy/https.py sets it.
SECURE_PROXY_SSL_HEADER = ("codexproxy.scheme", "https")

# Unfold's build of Alpine evaluates expressions, so script-src needs 'unsafe-eval'; its templates carry
# style attributes and one style element. Inline scripts run nowhere.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'", "'unsafe-eval'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "manifest-src": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
    },
}

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["codexproxy.api_user.GateAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "codexproxy.plain_text.PlainJSONParser",
        "codexproxy.plain_text.PlainMultiPartParser",
    ],
    "EXCEPTION_HANDLER": "codexproxy.errors.dashboard_exception_handler",
    "DEFAULT_SCHEMA_CLASS": "codexproxy.api_schema.ApiSchema",
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "codexproxy",
    "DESCRIPTION": (
        "The dashboard's JSON, field by field. Times are ISO 8601 in UTC. What is refused is answered with a "
        'status from 400 on and {"error": {"code", "message"}}.'
    ),
    "VERSION": VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": [],
}

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "codexproxy",
    "SITE_HEADER": "codexproxy",
    "SITE_SYMBOL": "hub",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("codexproxy/icon.svg")}
    ],
    "STYLES": [lambda request: static("codexproxy/ui.css")],
    "SCRIPTS": [lambda request: static("codexproxy/times.js")],
    "SIDEBAR": {"navigation": "codexproxy.sidebar.navigation"},
}
