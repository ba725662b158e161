"""What a page is called in its heading: as the sidebar calls it."""

from __future__ import annotations

from typing import Any

from django import template
from django.urls import reverse

from codexproxy.sidebar import sidebar_titles

register = template.Library()


@register.filter
def as_in_the_sidebar(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the app that a model lies in, and with lists under the names that lead to them."""
    titles = sidebar_titles()
    index = reverse("admin:index")
    found = []
    for part in parts:
        link = str(part.get("link") or "")
        if link in titles:
            found.append({"link": link, "title": titles[link]})
        elif link.removeprefix(index).count("/") != 1 or len(parts) == 1:
            found.append({"link": link, "title": str(part["title"])})
    return found
