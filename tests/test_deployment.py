"""The container files and the proxies' configurations: their form, and that what they name exists."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.conftest import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
NGINX = sorted((ROOT / "docs" / "deployment").glob("*.conf"))


def test_every_variable_in_the_compose_file_is_a_documented_one() -> None:
    documented = (ROOT / "docs" / "settings.md").read_text()
    used = {
        name
        for service in COMPOSE["services"].values()
        for name in service.get("environment", {})
        if name.startswith("CODEXPROXY_")
    }
    assert used
    assert [name for name in sorted(used) if f"`{name}`" not in documented] == []


def test_only_this_machine_reaches_what_is_published() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_naming_nginx_starts_the_replicas_and_not_the_single_container() -> None:
    """docs/deployment.md: `--profile replicas` alone starts what has no profile as well."""
    started, waiting = set(), ["nginx"]
    while waiting:
        started.add(name := waiting.pop())
        waiting += COMPOSE["services"][name].get("depends_on", [])
    assert started == {"nginx", "replica", "postgres"}
    assert {name for name in started if COMPOSE["services"][name].get("profiles") != ["replicas"]} == set()


def test_files_that_are_mounted_exist() -> None:
    mounted = [
        volume.split(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    ]
    assert mounted
    assert [path for path in mounted if not (ROOT / path).is_file()] == []


def test_the_image_holds_everything_that_runs_and_is_not_root_s() -> None:
    copied = set(re.findall(r"^COPY (\w+) \w+$", DOCKERFILE, re.M))
    assert copied == {"codexproxy", "accounts", "proxy", "usage", "requestlogs", "templates"}
    assert re.search(r"^USER [1-9]\d*$", DOCKERFILE, re.M)
    kept = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert copied <= kept


def test_the_image_is_stopped_more_slowly_than_the_server_drains() -> None:
    assert COMPOSE["x-codexproxy"]["stop_grace_period"] == "75s"


def test_each_proxy_passes_streams_and_websockets_on() -> None:
    assert len(NGINX) == 2
    for file in NGINX:
        text = file.read_text()
        assert text.count("{") == text.count("}"), file.name
        for needed in (
            "proxy_buffering off;",
            "underscores_in_headers on;",
            "client_max_body_size 128m;",
            "proxy_set_header Upgrade $http_upgrade;",
            "proxy_set_header Host $http_host;",
            "proxy_set_header X-Forwarded-For $remote_addr;",
        ):
            assert needed in text, f"{file.name}: {needed}"
