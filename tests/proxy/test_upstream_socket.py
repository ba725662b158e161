from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from codexproxy.http import TransportFailed
from proxy import limits
from proxy.simulator import Ok, Served, Silence, SimAccount, Simulator, running
from proxy.transport import Reply
from proxy.upstream_socket import SocketTransport
from tests.proxy.sockets import frame, plane_over

pytestmark = pytest.mark.asyncio


@pytest.fixture
def account() -> SimAccount:
    return Simulator().add_account("a")


@pytest.fixture
def served(account: SimAccount) -> Iterator[Served]:
    with running(account.simulator) as found:
        yield found


def signed(account: SimAccount) -> list[tuple[bytes, bytes]]:
    return [
        (b"authorization", f"Bearer {account.access_token}".encode()),
        (b"chatgpt-account-id", account.chatgpt_account_id.encode()),
    ]


async def asked(transport: SocketTransport, account: SimAccount) -> Reply:
    return await transport.respond(account.id, signed(account), json.dumps(frame()).encode())


async def drained(reply: Reply) -> bytes:
    events = b"".join([block async for block in reply.blocks()])
    await reply.close()
    return events


async def test_it_works(account: SimAccount, served: Served) -> None:
    async with plane_over(served) as plane:
        transport = SocketTransport(plane.runtime.sockets)
        assert transport.holder is None
        events = await drained(await asked(transport, account))
        assert transport.holder == "a"
        await transport.close()
        assert transport.holder is None
    assert events.endswith(b"\n\n") and b"response.completed" in events


async def test_the_upgrades_figures_are_told_once(account: SimAccount, served: Served) -> None:
    async with plane_over(served) as plane:
        transport = SocketTransport(plane.runtime.sockets)
        first = await asked(transport, account)
        assert first.header(b"x-codex-primary-used-percent")
        await drained(first)
        second = await asked(transport, account)
        assert second.header(b"x-codex-primary-used-percent") is None
        await drained(second)
        await transport.close()


async def test_an_answer_that_is_left_in_the_middle_ends_the_socket(
    account: SimAccount, served: Served
) -> None:
    account.default = Silence(after=1)
    async with plane_over(served) as plane:
        transport = SocketTransport(plane.runtime.sockets)
        reply = await asked(transport, account)
        assert transport.holder == "a"
        await reply.close()
        assert transport.holder is None


async def test_a_socket_is_retired_by_age_and_only_between_two_turns(
    account: SimAccount, served: Served
) -> None:
    account.default = Ok(deltas=3, interval_s=0.01)
    async with plane_over(served) as plane:
        transport = SocketTransport(plane.runtime.sockets)
        reply = await asked(transport, account)
        plane.clock.now += limits.SOCKET_LIFETIME_S
        assert b"response.completed" in await drained(reply)
        assert transport.holder is None
        await drained(await asked(transport, account))
        assert transport.holder == "a"
        await transport.close()
    handshakes = [call for call in account.simulator.journal if call.method == "WEBSOCKET-HANDSHAKE"]
    assert len(handshakes) == 2


async def test_an_idle_socket_is_retired_without_another_turn(
    account: SimAccount, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SOCKET_LIFETIME_S", 0.05)
    async with plane_over(served) as plane:
        transport = SocketTransport(plane.runtime.sockets)
        await drained(await asked(transport, account))
        (handshake, turn) = account.simulator.journal
        async with asyncio.timeout(20):
            while not handshake.closed_by_client:
                await asyncio.sleep(0.01)
        assert turn.finished
        # The plane's clock has not moved: nobody but the socket's own end says so.
        assert transport.holder is None
        await transport.close()


async def test_a_silent_upstream_is_given_up(
    account: SimAccount, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UPSTREAM_SILENCE_S", 0.2)
    account.default = Silence(after=1)
    async with plane_over(served) as plane:
        transport = SocketTransport(plane.runtime.sockets)
        reply = await asked(transport, account)
        with pytest.raises(TransportFailed) as caught:
            await drained(reply)
        assert caught.value.kind == "timeout"
        await transport.close()


async def test_nothing_runs_behind_a_transport_that_is_closed(account: SimAccount, served: Served) -> None:
    async with plane_over(served) as plane:
        before = len(asyncio.all_tasks())
        transport = SocketTransport(plane.runtime.sockets)
        await drained(await asked(transport, account))
        assert len(asyncio.all_tasks()) > before, "somebody listens between two turns"
        await transport.close()
        assert len(asyncio.all_tasks()) == before
