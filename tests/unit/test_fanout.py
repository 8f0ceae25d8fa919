"""Many nodes at once: what a dead one costs, and how often each is asked."""

import asyncio
import gc
import json
import re
import socket
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcpctl import config
from mcpctl.auth import tls
from mcpctl.errors import SilentError
from mcpctl.nodes import client, fanout
from protos.mcp import v1
from tests.support.agent import HOST, WEB, Node, Run
from tests.support.nodes import READS, third
from tests.support.waiting import DEADLINE_S


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts connections, and says nothing."""
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.parametrize("words", READS)
def test_a_node_that_says_nothing_costs_its_deadline_and_not_the_answer(
    run: Run, both: tuple[Node, Node], silent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setenv("MCP_TIMEOUT", "1s")
    third(tmp_path, silent)
    status, _, err = run(*words.split())
    assert status == 4
    silent_one, *nothing = err.splitlines()
    assert silent_one == f"mcpctl: node vault: {HOST}:{silent} did not answer within 1 s"
    assert all(line.endswith(" on rift and orion") for line in nothing)
    assert all(each.agent.requests for each in both)


def test_a_node_that_is_slow_at_every_step_has_one_deadline_for_all_of_them(
    rift: Node,
    tmp_path: Path,
    plain_asyncio: None,  # noqa: ARG001
) -> None:
    settings = config.load(tmp_path / "mcp.toml")
    steps = []

    async def question(stub: v1.AgentServiceStub, _: object) -> None:
        for _ in range(500):
            # Each one in time.
            await stub.list_services(v1.ListServicesRequest())
            steps.append(1)
            await asyncio.sleep(0.01)

    # A command's process ends here, and what is left of its connection with it; this one's goes on.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        ((_, said),) = asyncio.run(fanout.ask_each(settings, [settings.node("rift")], question, deadline=0.5))
        gc.collect()
    assert isinstance(said, SilentError)
    assert steps
    assert rift.agent.requests != []


def test_a_name_server_that_says_nothing_holds_up_no_command(
    run: Run, both: tuple[Node, Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_TIMEOUT", "1s")
    (tmp_path / "mcp.toml").write_text((tmp_path / "mcp.toml").read_text().replace(f"{HOST}:{both[1].port}", "orion:1"))
    enough, ended = threading.Event(), threading.Event()

    def ask(*_: object) -> list[object]:
        enough.wait(DEADLINE_S)
        ended.set()
        raise socket.gaierror(socket.EAI_AGAIN, "nobody knows")

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    try:
        status, _, err = run("ps")
        assert status == 4
        silent, nothing = err.splitlines()
        assert silent == "mcpctl: node orion: orion:1 did not answer within 1 s"
        assert nothing == "mcpctl: no managed containers found on rift"
        assert not ended.is_set()
    finally:
        enough.set()
        assert ended.wait(DEADLINE_S)


@pytest.mark.usefixtures("both")
def test_a_name_that_nobody_knows_is_said(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "mcp.toml").open("a") as file:
        file.write('[[nodes]]\nname = "vault"\naddress = "vault.invalid:1"\n')
    status, _, err = run("ps")
    assert status == 4
    assert "node vault: vault.invalid:1 cannot be reached: " in err
    assert "check its address in " in err
    assert "Traceback" not in err


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("text", ["soon", "0s", "-1s", "10"])
def test_a_timeout_that_is_none_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MCP_TIMEOUT", text)
    status, out, err = run("ps")
    assert (status, out) == (2, "")
    assert f"MCP_TIMEOUT: '{text}'" in err


def test_sync_tells_the_nodes_that_answer_and_says_who_did_not(
    run: Run, rift: Node, orion: Node, tmp_path: Path
) -> None:
    (tmp_path / "services/web.toml").write_text(WEB)
    orion.cut(for_good=True)
    status, _, err = run("sync")
    assert status == 4
    told, nothing = err.splitlines()[-2:]
    assert re.search(r"node orion: .* \(waited [0-9.]+ m?s\)$", told)
    assert nothing == "mcpctl: nothing to do"
    assert len(rift.agent.requests) == 1


def test_all_nodes_share_what_is_known_of_their_ca(
    run: Run,
    both: tuple[Node, Node],  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[object] = []
    real = tls.context
    monkeypatch.setattr(client, "_contexts", {})
    monkeypatch.setattr(tls, "context", lambda *words: made.append(words) or real(*words))
    assert run("ps").status == 0
    assert len(made) == 1


@pytest.mark.parametrize("words", ["adopt web --node rift", "adopt web"])
def test_what_is_asked_and_then_told_goes_over_one_connection(
    run: Run, both: tuple[Node, Node], tmp_path: Path, words: str
) -> None:
    (tmp_path / "services/web.toml").write_text(WEB)
    status, out, _ = run(*words.split(), "--output", "json")
    assert (status, json.loads(out)["dry_run"]) == (0, False)
    assert [each.dry_run for each in both[0].agent.asked(v1.AdoptRequest)] == [True, False]
    assert (both[0].connections, both[1].connections) == (1, 0)


def test_of_several_nodes_only_the_one_that_has_something_is_told(run: Run, both: tuple[Node, Node]) -> None:
    nothing = v1.AdoptResponse(outcomes=[v1.ComponentOutcome("api", v1.Result.SKIPPED, "it is another service's")])
    both[1].agent.prepared["AdoptRequest"] = nothing
    assert run("adopt", "web").status == 0
    assert [[each.dry_run for each in node.agent.asked(v1.AdoptRequest)] for node in both] == [[True, False], [True]]
