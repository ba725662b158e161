"""As served, and with none of the dashboard's files to be found."""

from __future__ import annotations

from codexproxy.settings import *  # noqa: F403

STATICFILES_FINDERS: list[str] = []
