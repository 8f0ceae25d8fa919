"""Many nodes at once: what a dead one costs, how nodes are listed, and services that moved from one to another."""

import asyncio
import gc
import json
import re
import socket
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl import client, config, fanout, trust
from mcpctl.errors import SilentError
from protos.mcp import v1
from tests.unit.agent_double import AT, HOST, WEB, Agent, Node, Run, stripped
from tests.waiting import DEADLINE_S


class StatusAgent(Agent):
    """Says how its node is, and what runs there."""

    async def node_status(self, node_status_request: v1.NodeStatusRequest) -> v1.NodeStatusResponse:
        return self._answer(node_status_request) or a_status(self.node)

    async def live_check(self, live_check_request: v1.LiveCheckRequest) -> v1.LiveCheckResponse:
        return self._answer(live_check_request) or v1.LiveCheckResponse(self.node)

    async def adopt(self, adopt_request: v1.AdoptRequest) -> v1.AdoptResponse:
        adopted = v1.ComponentOutcome("api", v1.Result.ADOPTED, "it runs")
        return self._answer(adopt_request) or v1.AdoptResponse(outcomes=[adopted])

    async def logs(self, logs_request: v1.LogsRequest) -> AsyncIterator[v1.LogsResponse]:
        self._answer(logs_request)
        yield v1.LogsResponse("api", AT, "stdout", b"hello")


def a_status(node: str, **values: object) -> v1.NodeStatusResponse:
    known = {
        "mcpd_version": "0.1.0",
        "podman_version": "5.4.2",
        "started_at": AT,
        "load_average": 0.5,
        "cpus": 4,
        "disk_free_bytes": 2**30,
        "disk_total_bytes": 2**31,
        "certificate_expires_at": datetime.now(UTC) + timedelta(days=30, hours=1, minutes=1),
    }
    return v1.NodeStatusResponse(node, **(known | values))


@pytest.fixture
def both(rift: Node, orion: Node) -> tuple[Node, Node]:
    for each in (rift, orion):
        each.cut(for_good=True)
        each.agent = StatusAgent(each.agent.node)
        each.listen()
    return rift, orion


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts connections, and says nothing."""
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen()
        yield listening.getsockname()[1]


def third(folder: Path, port: int) -> None:
    with (folder / "mcp.toml").open("a") as file:
        file.write(f'[[nodes]]\nname = "vault"\naddress = "{HOST}:{port}"\n')


# -- node list


@pytest.mark.usefixtures("both")
def test_a_listed_node_says_how_it_is(run: Run) -> None:
    status, out, err = run("node", "list")
    assert (status, err) == (0, "")
    header, rift, orion = out.splitlines()
    assert stripped(header)[:3] == ["NODE", "STATE", "ANSWERS"]
    facts = ["active", "yes", "0.1.0", "5.4.2", "0.50/4", "1.0 GiB of 2.0 GiB", "in 30d1h"]
    assert stripped(rift) == ["rift", *facts]
    assert stripped(orion) == ["orion", *facts]


def test_a_node_that_is_away_is_a_row_that_says_why_and_how_long_it_was_waited_for(
    run: Run, both: tuple[Node, Node]
) -> None:
    both[1].cut(for_good=True)
    status, out, err = run("node", "list")
    assert (status, err) == (4, "")
    row = stripped(out.splitlines()[2])
    assert row[:3] == ["orion", "active", "unreachable"]
    assert re.search(r"Connection refused; is mcpd running there\? \(waited [0-9.]+ m?s\)$", row[-1])
    rows = json.loads(run("node", "list", "--output", "json").out)
    assert [(each["name"], each["reachable"]) for each in rows] == [("rift", True), ("orion", False)]
    assert rows[1]["waited_s"] > 0


def test_a_node_that_refuses_is_reachable_and_says_why(run: Run, both: tuple[Node, Node]) -> None:
    both[1].agent.prepared["NodeStatusRequest"] = GRPCError(Status.PERMISSION_DENIED, "not for strangers")
    status, out, _ = run("node", "list")
    assert status == 4
    assert stripped(out.splitlines()[2]) == ["orion", "active", "refused", "not for strangers"]


def test_what_is_wrong_on_a_node_is_in_its_row(run: Run, both: tuple[Node, Node]) -> None:
    links = [v1.LinkState("podman", False, "it does not answer", AT)]
    over = datetime.now(UTC) - timedelta(days=1)
    answer = a_status("rift", links=links, certificate_expires_at=over)
    both[0].agent.prepared["NodeStatusRequest"] = answer
    row = stripped(run("node", "list").out.splitlines()[1])
    assert row[-2:] == ["expired", "podman: it does not answer"]


def test_a_node_that_is_not_active_is_listed_and_not_asked(run: Run, both: tuple[Node, Node], tmp_path: Path) -> None:
    with (tmp_path / "mcp.toml").open("a") as file:
        file.write('state = "down"\n')
    status, out, err = run("node", "list")
    assert (status, err) == (0, "")
    assert stripped(out.splitlines()[2]) == ["orion", "down", "not asked"]
    assert both[1].agent.requests == []


def test_offline_no_node_is_asked(run: Run, both: tuple[Node, Node]) -> None:
    status, out, _ = run("node", "list", "--offline")
    assert status == 0
    assert [stripped(line)[0] for line in out.splitlines()] == ["NODE", "rift", "orion"]
    assert both[0].agent.requests + both[1].agent.requests == []


def test_who_cannot_ask_is_told_of_offline(run: Run, both: tuple[Node, Node], tmp_path: Path) -> None:  # noqa: ARG001
    (tmp_path / "token").unlink()
    status, out, err = run("node", "list")
    assert (status, out) == (2, "")
    assert "mcpctl node list --offline" in err
    assert run("node", "list", "--offline").status == 0


# -- what a dead node costs

READS = ["list", "ps", "status", "events", "alerts list", "audit", "operations", "timeline", "whoami", "logs mail"]


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
        assert nothing == "mcpctl: there are no containers of services on rift"
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
    assert nothing == "mcpctl: there was nothing to do"
    assert len(rift.agent.requests) == 1


def test_all_nodes_share_what_is_known_of_their_ca(
    run: Run,
    both: tuple[Node, Node],  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[object] = []
    real = trust.context
    monkeypatch.setattr(client, "_contexts", {})
    monkeypatch.setattr(trust, "context", lambda *words: made.append(words) or real(*words))
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


# -- suggestions


def test_a_misspelt_service_that_no_node_knows_is_guessed(run: Run, rift: Node, orion: Node, tmp_path: Path) -> None:
    (tmp_path / "services/web.toml").write_text(WEB)
    for each in (rift, orion):
        each.agent.prepared["GetStatusRequest"] = GRPCError(Status.NOT_FOUND, "there is no service wbe")
        each.agent.prepared["ListServicesRequest"] = each.agent.prepared["GetStatusRequest"]
    for words in ("status", "timeline", "logs"):
        status, out, err = run(words, "wbe")
        assert (status, out) == (2, "")
        assert "there is no service wbe; did you mean web?" in err


@pytest.mark.usefixtures("rift")
def test_a_misspelt_component_is_guessed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "services/web.toml").write_text(WEB)
    status, _, err = run("deploy", "web/apo")
    assert status == 2
    assert err.endswith("has api; did you mean api?\n")


# -- a definition that moved


@pytest.fixture
def moved(rift: Node, orion: Node, tmp_path: Path) -> Node:
    """The definition says rift, and orion has the service still. Returns orion."""
    (tmp_path / "services/web.toml").write_text(WEB)
    rift.agent.prepared["DeployRequest"] = [v1.DeployResponse("12", completed=v1.Completed())]
    left = v1.ServiceInfo("web", "orion", True, [v1.ComponentInfo(service="web", component="api")])
    orion.agent.prepared["ListServicesRequest"] = v1.ListServicesResponse(services=[left])
    return orion


WARNING = (
    "mcpctl: node orion still has web, which its definition puts on rift: it may run twice; "
    "`mcpctl undeploy web --node orion` removes it there\n"
)


@pytest.mark.usefixtures("moved")
@pytest.mark.parametrize("words", ["plan web", "plan", "deploy web", "deploy web --dry-run"])
def test_a_service_that_another_node_still_has_is_said(run: Run, words: str) -> None:
    status, _, err = run(*words.split())
    assert (status, err) == (0, WARNING)


def test_only_what_is_still_there_is_said(run: Run, moved: Node) -> None:
    # Undeployed, and remembered.
    gone = v1.ServiceInfo("web", "orion")
    moved.agent.prepared["ListServicesRequest"] = v1.ListServicesResponse(services=[gone])
    assert run("deploy", "web").err == ""
    moved.agent.prepared["ListServicesRequest"] = GRPCError(Status.NOT_FOUND, "there is no service web")
    assert run("deploy", "web").err == ""


def test_a_node_that_has_services_of_its_own_is_asked_over_one_connection(
    run: Run, rift: Node, moved: Node, tmp_path: Path
) -> None:
    for name in ("mail", "wiki"):
        (tmp_path / f"services/{name}.toml").write_text(WEB.replace("web", name).replace("rift", "orion"))
    # What is where it belongs is nothing to say.
    own = v1.ServiceInfo("mail", "orion", True, [v1.ComponentInfo(service="mail", component="api")])
    moved.agent.prepared["ListServicesRequest"].services.append(own)
    moved.cut(for_good=True)
    moved.listen()
    status, _, err = run("plan")
    assert (status, err) == (0, WARNING)
    assert len(moved.agent.asked(v1.PlanRequest)) == 2
    assert moved.connections == 1
    assert rift.connections == 1


def test_with_one_active_node_nobody_is_asked(run: Run, moved: Node, tmp_path: Path) -> None:
    with (tmp_path / "mcp.toml").open("a") as file:
        file.write('state = "down"\n')
    assert run("deploy", "web").status == 0
    assert moved.agent.requests == []


def test_a_node_that_is_away_holds_up_no_deploy(run: Run, moved: Node) -> None:
    moved.cut(for_good=True)
    assert run("deploy", "web") == (0, "", "")
    assert run("plan", "web").status == 0
