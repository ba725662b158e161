"""What Codex and OpenAI's clients ask for besides turns: files, audio, and what is for nobody here."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import openai
import pytest

from proxy.simulator import Fail, Received, Simulator
from proxy.simulator.files import TRANSCRIBED
from tests.e2e.asking import Answer, ask, at_once, message, multipart, send, turn
from tests.e2e.conftest import Start
from tests.e2e.server import SERVE, Server
from tests.e2e.test_keys import make_key

FILES = "/backend-api/files"
GOAL = "/backend-api/codex/thread/goal/set"
OWN = {"Authorization": "Bearer sk-client", "Cookie": "a=b", "chatgpt-account-id": "mine", "x-api-key": "k"}


@pytest.fixture
def server(sim: Simulator, serve: Start) -> Server:
    sim.add_account("ada")
    sim.add_account("bob")
    return serve()


def post(server: Server, path: str, body: Any = None, **headers: str) -> Answer:
    data = b"" if body is None else json.dumps(body).encode()
    return send(server, path=path, body=data, headers={"Content-Type": "application/json", **OWN, **headers})


def limit(sim: Simulator, account_id: str | None) -> None:
    sim.accounts[account_id or ""].default = Fail.usage_limit(resets_at=int(time.time()) + 600)


def asked(sim: Simulator) -> list[Received]:
    """What upstream was asked for clients; of its models the proxy asks by itself."""
    return [call for call in sim.journal if not call.path.endswith("/models")]


def uploaded(server: Server) -> str:
    made = post(server, FILES, {"file_name": "a.txt", "file_size": 5, "use_case": "codex"})
    assert (made.status, set(made.json())) == (200, {"status", "file_id", "upload_url"})
    return str(made.json()["file_id"])


def test_a_file_is_finished_and_used_with_its_account_even_after_a_restart(
    sim: Simulator, server: Server
) -> None:
    for _ in range(4):
        file_id = uploaded(server)
        owner = sim.journal[-1].account_id
        finished = post(server, f"{FILES}/{file_id}/uploaded", {})
        assert (finished.status, finished.json()["file_id"]) == (200, file_id)
        assert sim.journal[-1].account_id == owner
    assert server.stop() == 0
    server.start()
    given = {"type": "message", "role": "user", "content": [{"type": "input_file", "file_id": file_id}]}
    for session in ("", "one", "two", "three"):
        assert ask(server, turn(given), session).status == 200
        assert sim.responses()[-1].account_id == owner
    limit(sim, owner)
    refused = ask(server, turn(given))
    assert (refused.status, refused.error["type"]) == (429, "usage_limit_reached")
    assert sim.violations == []


def test_a_file_is_known_to_every_worker_at_once(sim: Simulator, prepared: Start) -> None:
    for name in ("ada", "bob", "cid"):
        sim.add_account(name)
    server = prepared()
    server.start((*SERVE, "--port", str(server.port), "--workers", "2"))
    for _ in range(3):
        file_id = uploaded(server)
        owner = sim.journal[-1].account_id
        sim.journal.clear()
        given = {"type": "message", "role": "user", "content": [{"type": "input_file", "file_id": file_id}]}
        # On connections of their own, side by side, so that both workers get some.
        answers = at_once(12, lambda _, given=given: ask(server, turn(given)))  # type: ignore[misc]
        assert {answer.status for answer in answers} == {200}
        assert {call.account_id for call in sim.responses()} == {owner}
    assert server.stop() == 0


def test_an_openai_clients_turn_goes_where_its_file_is_too(sim: Simulator, server: Server) -> None:
    for _ in range(3):
        file_id = uploaded(server)
        owner = sim.journal[-1].account_id
        image = {"type": "input_image", "image_url": f"sediment://{file_id}"}
        for words in ("one", "two", "three"):
            content = [{"type": "input_text", "text": words}, image]
            body = {"model": "gpt-5.5", "input": [{"role": "user", "content": content}]}
            assert post(server, "/v1/responses", body).status == 200
            assert sim.responses()[-1].account_id == owner
    assert sim.violations == []


def test_a_file_that_nobody_knows_is_upstreams_to_refuse(sim: Simulator, server: Server) -> None:
    assert post(server, f"{FILES}/file_unknown/uploaded", {}).status == 404
    assert sim.journal[-1].path.endswith("/files/file_unknown/uploaded")


def test_a_limited_account_is_passed_over(sim: Simulator, server: Server) -> None:
    limit(sim, "ada")
    for _ in range(3):
        uploaded(server)
        assert sim.journal[-1].account_id == "bob"
    assert {row[:2] for row in server.wait_for_records(3)} == {("success", 200)}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (FILES, {"file_name": "", "file_size": 1}, "file_name"),
        (FILES, {"file_name": "a", "file_size": -1}, "file_size"),
        (FILES + "/a.b/uploaded", {}, "file_id"),
        (FILES, [], None),
        (GOAL, [], None),
        ("/backend-api/transcribe", {}, None),
        ("/v1/audio/transcriptions", {}, None),
    ],
)
def test_a_wrong_request_says_what_is_wrong(
    path: str, body: Any, param: str | None, sim: Simulator, server: Server
) -> None:
    answer = post(server, path, body)
    assert (answer.status, answer.error.get("param")) == (400, param)
    assert sim.journal == []


def test_audio_is_written_down_for_codex(sim: Simulator, server: Server) -> None:
    body, kind = multipart("file", "a.wav", b"RIFF\x00\xff")
    answer = send(server, path="/backend-api/transcribe", body=body, headers={**kind, **OWN})
    assert (answer.status, answer.json()) == (200, {"text": TRANSCRIBED})
    assert sim.journal[-1].body == body
    assert sim.violations == []


def test_the_real_sdk_has_audio_written_down(sim: Simulator, client: openai.OpenAI) -> None:
    sim.accounts["first"].script(Fail.unauthorized())
    audio = io.BytesIO(b"RIFF\x00\xff")
    audio.name = "a.wav"
    written = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=audio, prompt="names")
    assert written.text == TRANSCRIBED
    text = client.audio.transcriptions.create(
        model="gpt-4o-transcribe", file=("b.wav", b"x"), response_format="text", language="en"
    )
    assert text.strip() == TRANSCRIBED
    assert sim.violations == []
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model="whisper-1", file=("b.wav", b"x"))
    assert caught.value.param == "model"


def test_control_goes_to_the_conversations_account_without_the_clients_own_sign_in(
    sim: Simulator, server: Server
) -> None:
    first = ask(server, turn(message("hello")), "talk")
    owner = sim.responses()[-1].account_id
    for _ in range(4):
        answer = post(server, GOAL, {"goal": "x"}, **{"session-id": "talk", "x-codex-window-id": "w"})
        assert (answer.status, answer.json()) == (200, {"account": owner, "asked": {"goal": "x"}})
    state = {"x-codex-turn-state": first.header("x-codex-turn-state") or ""}
    limit(sim, owner)
    for path, body in ((GOAL, {}), (FILES, {"file_name": "a", "file_size": 1})):
        assert post(server, path, body, **state).status == 200
        assert "x-codex-turn-state" not in asked(sim)[-1].headers
    got = send(server, "GET", "/backend-api/wham/agent-identities/jwks?kid=a%20b", headers=OWN)
    assert got.status == 200
    assert asked(sim)[-1].query == {"kid": "a b"}
    assert asked(sim)[1].headers["session-id"] == "talk"
    assert sim.violations == []


def test_a_conversation_without_a_goal_has_an_empty_one(sim: Simulator, server: Server) -> None:
    for account in sim.accounts.values():
        account.default = Fail.detail(404, "No goal.")
    read = GOAL.replace("/set", "/get")
    for answer in (send(server, "GET", read, headers=OWN), post(server, read, {"thread_id": "t"})):
        assert (answer.status, answer.json()) == (200, {"goal": None})
    refused = post(server, GOAL, {"goal": "x"})
    assert (refused.status, refused.json()) == (404, {"detail": "No goal."})
    assert server.wait_for_records(3)[1][:3] == ("success", 200, None)
    assert len(sim.journal) == 3


def test_a_key_is_held_to_its_rules_here_too(sim: Simulator, server: Server) -> None:
    _, key = make_key(
        server,
        allowedModels=["gpt-5.5"],
        limits=[{"limitType": "total_tokens", "limitWindow": "daily", "maxValue": 1}],
    )
    own = {"Authorization": f"Bearer {key}"}
    audio, kind = multipart("file", "a.wav", b"RIFF")
    forbidden = send(server, path="/backend-api/transcribe", body=audio, headers={**kind, **own})
    assert (forbidden.status, forbidden.error["code"]) == (403, "model_not_allowed")
    image = post(server, "/v1/images/generations", {"prompt": "a cat"}, **own)
    assert (image.status, image.error["code"]) == (403, "model_not_allowed")
    assert ask(server, None, "", **own).status == 200
    used_up = post(server, FILES, {"file_name": "a", "file_size": 1}, **own)
    assert (used_up.status, len(asked(sim))) == (429, 1)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/backend-api/ps/plugins/installed?limit=200"),
        ("GET", "/backend-api/ps/plugins/suggested/codex?scope=GLOBAL"),
        ("POST", "/backend-api/ps/mcp"),
        ("POST", "/backend-api/wham/apps"),
        ("GET", "/backend-api/wham/settings/user"),
        ("GET", "/backend-api//connectors/directory/list"),
        ("POST", "/backend-api/codex/analytics-events/events"),
        ("POST", "/v1/images/variations"),
        ("POST", "/v1/embeddings"),
    ],
)
def test_what_is_for_no_pool_is_a_quick_404(method: str, path: str, sim: Simulator, server: Server) -> None:
    answer = send(server, method, path, b"{}" if method == "POST" else None, OWN)
    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert sim.journal == []
