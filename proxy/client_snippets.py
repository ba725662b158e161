"""The lines that lead each client to this server, with the address and a key in them."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest
from django.template.loader import render_to_string

from proxy.settings_services import settings_get


@dataclass(frozen=True, slots=True)
class Client:
    """One client. `where` says what to do with its lines; as a file they are called `file_name`."""

    slug: str
    title: str
    template: str
    file_name: str
    where: str
    # For lines that name a variable instead of the key: what sets it.
    shell_template: str = ""


CLIENTS = (
    Client(
        "codex",
        "Codex CLI",
        "snippets/codex.toml",
        "config.toml",
        "Put this at the top of ~/.codex/config.toml, and set the variable CODEXPROXY_KEY.",
        "snippets/codex_key.sh",
    ),
    Client(
        "codex-app",
        "Codex app and IDE extension",
        "snippets/codex_app.toml",
        "config.toml",
        "They read ~/.codex/config.toml too, but no variable of a terminal, so the key stands in the file. "
        "Sign in with any ChatGPT account; its token goes no further than this server.",
    ),
    Client(
        "opencode",
        "OpenCode",
        "snippets/opencode.json",
        "opencode.json",
        "Put this into opencode.json in your project, or into ~/.config/opencode/opencode.json.",
    ),
    Client(
        "python",
        "OpenAI SDK for Python",
        "snippets/openai_sdk.py",
        "hello.py",
        "pip install openai, then:",
    ),
    Client("curl", "curl", "snippets/curl.sh", "hello.sh", "In a terminal:"),
    Client(
        "other",
        "Anything else",
        "snippets/other.sh",
        "openai.sh",
        "Programs on an OpenAI SDK read these variables; others ask for a base URL and a key.",
    ),
)


@dataclass(frozen=True, slots=True)
class Lines:
    """What is shown for one client."""

    client: Client
    snippet: str
    shell: str


def base_url_of(request: HttpRequest) -> str:
    """Under which clients reach this server: as the settings say, else as this page was asked for."""
    return settings_get().public_base_url.rstrip("/") or f"{request.scheme}://{request.get_host()}"


def lines_for_clients(base_url: str, key: str) -> list[Lines]:
    values = {"base_url": base_url, "key": key}
    return [
        Lines(
            client,
            render_to_string(client.template, values),
            render_to_string(client.shell_template, values) if client.shell_template else "",
        )
        for client in CLIENTS
    ]
