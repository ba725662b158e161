"""The docs name everything an operator can set, run or open, and nothing that is not there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from django.core.management import get_commands
from django.urls import URLPattern, URLResolver, get_resolver

from proxy import endpoint
from tests.conftest import ROOT

DOCS = ROOT / "docs"
SOURCES = ("codexproxy", "accounts", "operators", "proxy", "usage", "requestlogs", "tests/e2e", "scripts")
APPS = {"codexproxy", "accounts", "operators", "proxy", "usage", "requestlogs"}
READERS = {"text", "number", "names", "networks", "base_url", "secret", "flag", "integer"}
# How processes of ours tell each other things; not for an operator.
INTERNAL = {"CODEXPROXY_MEMORY_DATABASE_FILE", "CODEXPROXY_DEMO_SIMULATOR", "CODEXPROXY_KEY"}
# An admin page is documented by its address up to here.
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")


def python_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def variables_read() -> set[str]:
    """Every CODEXPROXY_ variable: read through env, or spelled out in full."""
    found: set[str] = set()
    for path in python_files(*SOURCES):
        text = path.read_text()
        found |= set(re.findall(r"\bCODEXPROXY_[A-Z0-9_]*[A-Z0-9]\b", text))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and (read := _variable(node)):
                found |= read
    return found - INTERNAL


def _variable(call: ast.Call) -> set[str]:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    first = call.args[0] if call.args else None
    if name not in READERS or not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        return set()
    if not re.fullmatch(r"[A-Z][A-Z0-9_]+", first.value):
        return set()
    variable = f"CODEXPROXY_{first.value}"
    return {variable, variable + "_FILE"} if name == "secret" else {variable}


def variables_documented() -> set[str]:
    """Those that have a row of their own, and the _FILE forms that a row names."""
    text = (DOCS / "settings.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `CODEXPROXY_")]
    return {name for row in rows for name in re.findall(r"`(CODEXPROXY_[A-Z0-9_]+)`", row.split("|")[1])}


def test_every_variable_is_documented_and_every_documented_one_is_read() -> None:
    read, documented = variables_read(), variables_documented()
    assert sorted(read - documented) == [], "not in docs/settings.md"
    assert sorted(documented - read) == [], "in docs/settings.md, but nothing reads it"


def test_every_management_command_is_documented() -> None:
    text = (DOCS / "reference.md").read_text()
    ours = {name for name, app in get_commands().items() if str(app).split(".")[0] in APPS}
    assert ours
    assert [name for name in sorted(ours) if f"`manage.py {name}" not in text] == []


def test_every_address_is_documented() -> None:
    text = (DOCS / "reference.md").read_text()
    routes = {route for route in _routes(get_resolver().url_patterns) if not route.startswith("/admin/")}
    routes |= {"/admin/", *endpoint._ROUTES}
    assert [route for route in sorted(routes) if f"`{route}`" not in text and f" {route}`" not in text] == []


def _routes(patterns: list[URLPattern | URLResolver], prefix: str = "/") -> Iterator[str]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern.url_patterns, route)
        else:
            yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)


def test_every_link_leads_somewhere() -> None:
    broken = []
    for page in (ROOT / "README.md", *sorted(DOCS.glob("*.md"))):
        for target, anchor in _LINK.findall(page.read_text()):
            if target.startswith(("http://", "https://")):
                continue
            path = (page.parent / target).resolve()
            line = int(anchor.removeprefix("#L")) if re.fullmatch(r"#L\d+", anchor) else 0
            if not path.exists() or (line and line > len(path.read_text().splitlines())):
                broken.append(f"{page.name}: {target}{anchor}")
    assert broken == []


def test_the_tour_is_short_and_names_functions_that_exist() -> None:
    tour = (DOCS / "tour.md").read_text()
    assert len(tour.splitlines()) <= 150
    missing = []
    for label, target in re.findall(r"\[`([^`\]]+)`\]\(\.\./([\w/.]+\.py)\)", tour):
        name = label.removesuffix("()").split(".")[-1]
        is_file = label.endswith(".py")
        if not is_file and not re.search(
            rf"^\s*(?:async def|def|class) {name}\b|^{name}\b", (ROOT / target).read_text(), re.M
        ):
            missing.append(f"{label} in {target}")
    assert missing == []
