"""Two hundred clients at once, of all manners: every answer is right, and afterwards nothing is left of them.

MCP_LOAD_SECONDS is how long (5 where it is not set).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest
import trio
from grpclib import GRPCError, Status
from grpclib.client import Channel
from grpclib.exceptions import StreamTerminatedError
from grpclib.protocol import H2Protocol

from protos.mcp import v1 as wire
from tests.support.h2_client import rss, sockets, tls_context
from tests.support.waiting import until

from .conftest import HOST, NODE, Daemon, fill_registry

SECONDS = float(os.environ.get("MCP_LOAD_SECONDS", "5"))
CLIENTS = 200
# Of the loopback network, each a peer of its own: 25 clients behind each are below a peer's limit.
SOURCES = [f"127.0.0.{number}" for number in range(2, 10)]
CALL_S = 20.0
# How long one watches before it has seen enough.
WATCH_S = 0.3
# Below what makes the daemon hold a peer off: eight addresses fail so often in a minute.
WRONG_TOKENS = 8 * 100
MIB = 1024 * 1024


class FromSource(Channel):
    """Connects from an address of its own."""

    def __init__(self, source: str, port: int, tls: ssl.SSLContext) -> None:
        super().__init__(HOST, port, ssl=tls)
        self._source = source

    async def _create_connection(self) -> H2Protocol:
        _, protocol = await asyncio.get_running_loop().create_connection(
            self._protocol_factory, HOST, self._port, ssl=self._ssl, local_addr=(self._source, 0)
        )
        assert isinstance(protocol, H2Protocol)
        return protocol


class Load(NamedTuple):
    daemon: Daemon
    tls: ssl.SSLContext
    good: dict[str, str]
    bad: dict[str, str]
    calls: Counter[str]
    wrong: list[str]


@contextlib.asynccontextmanager
async def stub_of(load: Load, number: int) -> AsyncIterator[wire.AgentServiceStub]:
    channel = FromSource(SOURCES[number % len(SOURCES)], load.daemon.port, load.tls)
    try:
        yield wire.AgentServiceStub(channel, timeout=CALL_S)
    finally:
        channel.close()


async def list_services(load: Load, stub: wire.AgentServiceStub) -> None:
    answer = await stub.list_services(wire.ListServicesRequest(), metadata=load.good)
    assert (answer.node, {each.name for each in answer.services}) == (NODE, {"web", "board"})


async def get_status(load: Load, stub: wire.AgentServiceStub) -> None:
    answer = await stub.get_status(wire.GetStatusRequest(service="web"), metadata=load.good)
    assert [each.name for each in answer.services] == ["web"]
    assert {each.component for each in answer.services[0].components} == {"api", "db"}


async def list_events(load: Load, stub: wire.AgentServiceStub) -> None:
    answer = await stub.list_events(wire.ListEventsRequest(service="web", limit=3), metadata=load.good)
    assert [each.service for each in answer.events] == ["web"] * 3


async def who_am_i(load: Load, stub: wire.AgentServiceStub) -> None:
    answer = await stub.who_am_i(wire.WhoAmIRequest(), metadata=load.good)
    assert answer.name == "admin"


async def node_status(load: Load, stub: wire.AgentServiceStub) -> None:
    answer = await stub.node_status(wire.NodeStatusRequest(), metadata=load.good)
    assert (answer.node, answer.services, answer.components) == (NODE, 2, 3)
    assert answer.certificate_expires_at.year > 2026


async def watch_events(load: Load, stub: wire.AgentServiceStub) -> None:
    """All that there is, from the first on; then the client has seen enough."""
    seen: list[int] = []
    request = wire.WatchEventsRequest(service="web", after_id=1)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WATCH_S):
            async for each in stub.watch_events(request, metadata=load.good):
                seen += [each.event.id]
    assert seen == sorted(set(seen))


async def wrong_token(load: Load, stub: wire.AgentServiceStub) -> None:
    if load.calls["wrong_token"] > WRONG_TOKENS:
        return
    with pytest.raises(GRPCError) as raised:
        await stub.list_services(wire.ListServicesRequest(), metadata=load.bad)
    assert raised.value.status is Status.UNAUTHENTICATED


async def hang_up(load: Load, stub: wire.AgentServiceStub) -> None:
    """Asks, and is gone before the answer."""
    call = asyncio.ensure_future(stub.list_events(wire.ListEventsRequest(limit=1000), metadata=load.good))
    await asyncio.sleep(random.uniform(0, 0.02))
    stub.channel.close()
    with contextlib.suppress(StreamTerminatedError, GRPCError, asyncio.CancelledError, OSError, AttributeError):
        await call


Call = Callable[[Load, wire.AgentServiceStub], Awaitable[None]]
CALLS: list[Call] = [list_services, get_status, list_events, who_am_i, node_status, watch_events, wrong_token, hang_up]


async def client(load: Load, number: int, until_when: float) -> None:
    """One connection after the other, some calls on each."""
    choose = random.Random(number)
    while time.monotonic() < until_when:
        async with stub_of(load, number) as stub:
            for _ in range(choose.randint(1, 20)):
                call = choose.choice(CALLS)
                try:
                    await call(load, stub)
                except Exception as error:
                    load.wrong.append(f"{call.__name__}: {error!r}")
                    return
                load.calls[call.__name__] += 1
                if call is hang_up or time.monotonic() > until_when:
                    break


async def storm(load: Load, seconds: float) -> None:
    end = time.monotonic() + seconds
    async with asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            clients.create_task(client(load, number, end))
    # For the ends of TLS that are still under way.
    await asyncio.sleep(0.1)


def test_two_hundred_clients_get_right_answers_and_leave_nothing_behind(node: Daemon) -> None:
    trio.run(fill_registry, node.folder)
    node.start()
    assert node.process is not None
    pid = node.process.pid
    good, bad = {"authorization": f"Bearer {node.admin_token}"}, {"authorization": "Bearer mcp_wrong"}
    load = Load(node, tls_context(node), good, bad, Counter(), [])
    until(lambda: sockets(pid) == sockets(pid), "it has settled")
    at_rest = sockets(pid)
    # Twice: Python 3.13's memory has its size after the second storm, and then keeps it.
    for _ in range(2):
        run(storm(load, min(SECONDS, 5.0)))
    until(lambda: sockets(pid) <= at_rest, "the connections of the warm-up are gone")
    warm = rss(pid)
    load.calls.clear()
    run(storm(load, SECONDS))
    until(lambda: sockets(pid) <= at_rest, "all connections are gone")
    after = rss(pid)
    print(f"{sum(load.calls.values())} calls in {SECONDS:g} s: {dict(load.calls)}")
    print(f"RSS {warm / MIB:.1f} MiB after the warm-up, {after / MIB:.1f} MiB at the end")
    assert load.wrong == []
    assert set(load.calls) == {each.__name__ for each in CALLS}
    assert after - warm < 15 * MIB
    assert "Traceback" not in node.log
    assert "call crashed" not in node.log
    # A task that is left would hold up the end.
    assert node.terminate() == 0


def run(main: Any) -> None:
    """In an asyncio loop, whose clients' ends are not what is tested here."""
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda *_: None)
        runner.run(main)
