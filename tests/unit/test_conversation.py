"""Calls in which both sides talk: a token that is refused, and a node that is silent."""

from __future__ import annotations

import asyncio
import gc
import warnings
from pathlib import Path

import betterproto
import pytest
from grpclib.config import Configuration

from mcpctl.config import load
from mcpctl.errors import UnreachableError
from mcpctl.nodes import client
from protos.mcp import v1
from tests.support.agent import Node
from tests.support.session_agent import running_programs

IMPATIENT = Configuration(
    _keepalive_time=0.2,
    _keepalive_timeout=0.2,
    _http2_max_pings_without_data=0,
    _http2_min_sent_ping_interval_without_data=0.1,
)
# Ten times what the pings take, and far less than what asyncio waits for a farewell by itself.
WITHIN_S = 10.0


@pytest.mark.usefixtures("plain_asyncio")
def test_a_connection_that_is_given_up_is_lost_at_once(
    alone: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_programs(alone)
    monkeypatch.setattr(client, "_SESSION", IMPATIENT)
    settings = load(tmp_path / "mcp.toml")

    async def requests() -> object:
        yield v1.ExecRequest(start=v1.ExecStart("web", "api", ["sleep", "600"]))
        await asyncio.Event().wait()

    async def hold() -> None:
        async with client.agent(settings, settings.nodes[0], deadline=WITHIN_S, is_session=True) as stub:
            async for response in stub.exec(requests()):  # type: ignore[arg-type]
                assert response.started.program == "sleep"
                alone.freeze()

    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        with pytest.raises(UnreachableError, match="Connection lost"):
            asyncio.run(asyncio.wait_for(hold(), WITHIN_S))
        gc.collect()


@pytest.mark.usefixtures("plain_asyncio")
def test_a_token_that_is_refused_costs_no_input_and_starts_nothing_twice(
    alone: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = running_programs(alone)
    agent.good_tokens = {"new"}

    async def another(*_: object) -> str:
        return "new"

    monkeypatch.setattr(client._Agent, "_another", another)
    settings = load(tmp_path / "mcp.toml")
    sent = [f"line {number}\n".encode() for number in range(100)]
    taken = []

    async def requests() -> object:
        yield v1.ExecRequest(start=v1.ExecStart("web", "api", ["cat"], has_input=True))
        for each in sent:
            # Only once it runs.
            assert agent.sessions
            taken.append(each)
            yield v1.ExecRequest(stdin=each)
        yield v1.ExecRequest(end_of_input=v1.EndOfInput())

    async def hold() -> bytes:
        async with client.agent(settings, settings.nodes[0], deadline=WITHIN_S, is_session=True) as stub:
            answers = [each async for each in stub.exec(requests())]  # type: ignore[arg-type]
        parts = [betterproto.which_one_of(each, "part") for each in answers]
        return b"".join(value for part, value in parts if part == "stdout")

    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        assert asyncio.run(hold()) == b"".join(sent)
        gc.collect()
    assert taken == sent
    assert agent.seen_tokens == ["secret", "new"]
    assert len(agent.sessions) == 1
