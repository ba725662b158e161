"""OpenCode, the Agents SDK and LiteLLM in front of the server: programs that are not made for it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from proxy.simulator import Fail, Ok, Simulator, ToolCall
from tests.conftest import ROOT, missing
from tests.e2e.conftest import Start
from tests.e2e.server import Server

pytestmark = pytest.mark.client

TEXT = "Hello from the simulator."
TIMEOUT_S = 90

AGENT = """
import asyncio, sys
from agents import Agent, Runner, function_tool, set_default_openai_api, set_tracing_disabled

set_tracing_disabled(True)
set_default_openai_api(sys.argv[1])

@function_tool
def get_weather(city: str) -> str:
    return "sunny in " + city

agent = Agent(name="a", instructions="be brief", model="gpt-5.5", tools=[get_weather])
print(asyncio.run(Runner.run(agent, "weather?")).final_output)
"""

LITELLM = """
import litellm

litellm.suppress_debug_info = True

answer = litellm.completion(model="openai/gpt-5.5", messages=[{"role": "user", "content": "hi"}])
print(answer.choices[0].message.content)
chunks = litellm.completion(
    model="openai/gpt-5.5", messages=[{"role": "user", "content": "hi"}], stream=True
)
print("".join(chunk.choices[0].delta.content or "" for chunk in chunks))
"""


@pytest.fixture
def server(sim: Simulator, serve: Start) -> Server:
    sim.add_account("first")
    return serve()


def ran(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return subprocess.run(
        command,
        cwd=folder,
        env={**kept, "HOME": str(folder), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def python_client(server: Server, folder: Path, script: str, *arguments: str) -> str:
    program = ROOT / ".clients/python/bin/python"
    if not program.exists():
        missing("the Agents SDK or LiteLLM (scripts/clients installs them)")
    done = ran(
        [str(program), "-c", script, *arguments],
        folder,
        OPENAI_BASE_URL=f"{server.base_url}/v1",
        OPENAI_API_KEY="sk-any",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def opencode(server: Server, folder: Path, package: str, prompt: str) -> str:
    """What `opencode run` prints with a provider of one of its two packages."""
    # The baseline build runs on every processor.
    programs = sorted((ROOT / ".clients/opencode/node_modules").glob("opencode-*-baseline/bin/opencode"))
    if not programs:
        missing("OpenCode (scripts/clients installs it)")
    options = {"baseURL": f"{server.base_url}/v1", "apiKey": "sk-any"}
    model: dict[str, Any] = {"name": "gpt-5.5", "tool_call": True}
    config = {
        "provider": {"cp": {"npm": package, "name": "cp", "options": options, "models": {"gpt-5.5": model}}},
        "small_model": "cp/gpt-5.5",
        "autoupdate": False,
        "share": "disabled",
        "permission": {"bash": "allow"},
    }
    (folder / "opencode.json").write_text(json.dumps(config))
    done = ran(
        [str(programs[0]), "run", "-m", "cp/gpt-5.5", prompt],
        folder,
        XDG_CONFIG_HOME=str(folder / "config"),
        XDG_DATA_HOME=str(folder / "data"),
        XDG_CACHE_HOME=str(folder / "cache"),
        XDG_STATE_HOME=str(folder / "state"),
        OPENCODE_DISABLE_AUTOUPDATE="1",
        OPENCODE_DISABLE_MODELS_FETCH="1",
        OPENCODE_DISABLE_DEFAULT_PLUGINS="1",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("api", ["responses", "chat_completions"])
def test_the_agents_sdk_calls_its_tool(api: str, sim: Simulator, server: Server, tmp_path: Path) -> None:
    sim.accounts["first"].default = ToolCall(name="get_weather", arguments='{"city": "Oslo"}')
    assert python_client(server, tmp_path, AGENT, api) == TEXT
    outputs = [item for item in sim.responses()[-1].body["input"] if item["type"] == "function_call_output"]
    assert [item["output"] for item in outputs] == ["sunny in Oslo"]
    assert sim.violations == []


def test_litellm_gets_its_completions(sim: Simulator, server: Server, tmp_path: Path) -> None:
    assert python_client(server, tmp_path, LITELLM).splitlines()[-2:] == [TEXT, TEXT]
    assert sim.violations == []


@pytest.mark.parametrize(
    ("package", "path"),
    [("@ai-sdk/openai-compatible", "/v1/chat/completions"), ("@ai-sdk/openai", "/v1/responses")],
)
def test_opencode_runs_a_tool(
    package: str, path: str, sim: Simulator, server: Server, tmp_path: Path
) -> None:
    arguments = json.dumps({"command": "echo marker-42", "description": "marker"})
    sim.accounts["first"].default = ToolCall(name="bash", arguments=arguments)
    assert TEXT in opencode(server, tmp_path, package, "run the tool")
    sent = [call.body["input"] for call in sim.responses()]
    outputs = [item for items in sent for item in items if item["type"] == "function_call_output"]
    assert any("marker-42" in item["output"] for item in outputs)
    assert (path,) in server.records("path")
    assert sim.violations == []


def test_opencode_does_not_notice_a_limited_account(sim: Simulator, serve: Start, tmp_path: Path) -> None:
    limited, other = sim.add_account("first"), sim.add_account("second")
    server = serve()
    limited.default, other.default = Fail.usage_limit(resets_at=int(time.time()) + 3600), Ok()
    assert TEXT in opencode(server, tmp_path, "@ai-sdk/openai", "say hi")
