"""Many nodes at once: what a dead one costs, how nodes are listed, and services that moved from one to another."""

import asyncio
import gc
import json
import re
import socket
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl import config
from mcpctl.auth import tls
from mcpctl.errors import SilentError
from mcpctl.nodes import client, fanout
from mcpd import pki
from protos.mcp import v1
from tests.support.agent import AT, HOST, WEB, Agent, Node, Run, stripped
from tests.support.waiting import DEADLINE_S, free_port


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


# -- what is wrong with one node is that node's problem


def write_config(folder: Path, both: tuple[Node, Node], orion: str) -> None:
    """``orion``: the further keys of that node."""
    tables = [f'[[nodes]]\nname = "{each.agent.node}"\naddress = "{HOST}:{each.port}"\n' for each in both]
    (folder / "mcp.toml").write_text("".join(tables) + orion)


def no_token(folder: Path) -> str:  # noqa: ARG001
    return 'token_path = "orion.token"\n'


def open_token(folder: Path) -> str:
    (folder / "orion.token").write_text("secret")
    (folder / "orion.token").chmod(0o644)
    return 'token_path = "orion.token"\n'


def no_ca(folder: Path) -> str:  # noqa: ARG001
    return 'ca_cert = "own.pem"\n'


def broken_ca(folder: Path) -> str:
    (folder / "own.pem").write_text("not a certificate")
    return 'ca_cert = "own.pem"\n'


def other_ca(folder: Path) -> str:
    (folder / "own.pem").write_bytes(pki.make_authority("else").pem.certificate)
    return 'ca_cert = "own.pem"\n'


PROBLEMS = {
    no_token: "orion.token does not exist",
    open_token: "orion.token can be read by others",
    no_ca: "own.pem does not exist",
    broken_ca: "own.pem is not a CA certificate",
    other_ca: "own.pem did not sign its certificate",
}


READS = ["list", "ps", "status", "events", "alerts list", "audit", "operations", "timeline", "whoami", "logs mail"]


@pytest.mark.parametrize("words", [*READS, "sync", "purge", "recover"])
def test_a_node_without_a_token_hides_no_other_node(
    run: Run, both: tuple[Node, Node], tmp_path: Path, words: str
) -> None:
    write_config(tmp_path, both, no_token(tmp_path))
    status, _, err = run(*words.split())
    assert status == 4
    assert err.count("node orion") == 1
    assert "orion.token does not exist" in err
    assert len(both[0].agent.requests) >= 1
    assert both[1].agent.requests == []


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_is_wrong_with_one_node_is_in_its_row_and_its_own_error(
    run: Run, both: tuple[Node, Node], tmp_path: Path, problem: Callable[[Path], str]
) -> None:
    write_config(tmp_path, both, problem(tmp_path))
    status, out, err = run("node", "list")
    assert (status, err) == (4, "")
    _, rift, orion = out.splitlines()
    assert stripped(rift)[:3] == ["rift", "active", "yes"]
    assert stripped(orion)[0] == "orion"
    assert PROBLEMS[problem] in orion
    # Asked alone, it is the command's own error.
    alone = run("ps", "--node", "orion")
    assert alone.status == (4 if problem is other_ca else 2)
    assert PROBLEMS[problem] in alone.err


def test_a_row_of_a_node_that_could_not_be_asked_says_so(run: Run, both: tuple[Node, Node], tmp_path: Path) -> None:
    write_config(tmp_path, both, no_ca(tmp_path))
    row = run("node", "list").out.splitlines()[2]
    assert stripped(row)[:3] == ["orion", "active", "not asked"]
    assert json.loads(run("node", "list", "--output", "json").out)[1]["reachable"] is None


def test_a_refusal_and_what_could_not_be_asked_are_both_said(run: Run, both: tuple[Node, Node], tmp_path: Path) -> None:
    write_config(tmp_path, both, no_token(tmp_path))
    both[0].agent.prepared["LiveCheckRequest"] = GRPCError(Status.PERMISSION_DENIED, "not for strangers")
    status, _, err = run("ps")
    assert status == 1
    assert [line.partition(":")[2].split(":")[0].strip() for line in err.splitlines()] == [
        "no token for node orion",
        "node rift",
    ]


def test_a_request_that_one_node_finds_wrong_hides_no_answer(run: Run, both: tuple[Node, Node]) -> None:
    both[1].agent.prepared["LiveCheckRequest"] = GRPCError(Status.INVALID_ARGUMENT, "what is that?")
    assert run("ps")[::2] == (
        4,
        "mcpctl: node orion: what is that?\nmcpctl: no managed containers found on rift\n",
    )
    assert run("ps", "--node", "orion").status == 2


def test_a_plan_for_two_nodes_shows_the_one_that_can_be_asked(
    run: Run, both: tuple[Node, Node], tmp_path: Path
) -> None:
    write_config(tmp_path, both, no_token(tmp_path))
    for name, node in (("web", "rift"), ("mail", "orion"), ("wiki", "orion")):
        (tmp_path / f"services/{name}.toml").write_text(WEB.replace("web", name).replace("rift", node))
    status, out, err = run("plan")
    assert status == 4
    assert "mcpctl deploy web --plan" in out
    assert err.count("orion.token does not exist") == 1


def test_adopting_where_no_node_can_be_reached_says_so(run: Run, both: tuple[Node, Node]) -> None:
    for each in both:
        each.cut(for_good=True)
    status, out, err = run("adopt", "web")
    assert (status, out) == (1, "")
    assert [name in err for name in ("node rift", "node orion", "a bug")] == [True, True, False]


def test_a_name_that_no_host_can_have_is_that_nodes_problem(run: Run, both: tuple[Node, Node], tmp_path: Path) -> None:
    write_config(tmp_path, both, f'[[nodes]]\nname = "vault"\naddress = "{"v" * 70}.example:1"\n')
    status, _, err = run("ps")
    assert status == 4
    assert "not a valid host name" in err
    assert "Traceback" not in err


def test_two_entries_with_one_address_are_said(run: Run, both: tuple[Node, Node], tmp_path: Path) -> None:
    third(tmp_path, both[1].port)
    line = f"mcpctl: nodes orion, vault have the same address, {HOST}:{both[1].port}"
    assert run("ps").err.splitlines()[0] == f"{line}; mcpctl contacts each of them"
    assert run("node", "list").err == run("node", "list", "--offline").err == f"{line}; is one of them a mistake?\n"


# -- node add


def test_a_node_is_asked_who_it_is_before_it_is_added(
    run: Run, both: tuple[Node, Node], tmp_path: Path, authority: pki.Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").unlink()
    (tmp_path / "orion.token").write_text("other")
    (tmp_path / "orion.token").chmod(0o600)
    (tmp_path / "ca.pem").unlink()
    (tmp_path / "orion.pem").write_bytes(authority.pem.certificate)
    (tmp_path / "mcp.toml").write_text('[services]\ndir = "services"\n')
    address = f"{HOST}:{both[1].port}"
    options = ("--ca-cert", "orion.pem", "--token-path", str(tmp_path / "orion.token"))
    status, out, err = run("node", "add", "orion", address, *options)
    assert (status, out) == (0, "")
    assert err == (
        f"mcpctl: added node orion ({address}) to {tmp_path / 'mcp.toml'}; "
        "mcpd 0.1.0, podman 5.4.2; you are kyle (admin) there\n"
    )
    assert (tmp_path / "mcp.toml").read_text() == (
        '[services]\ndir = "services"\n\n[[nodes]]\nname = "orion"\n'
        f'address = "{address}"\nca_cert = "orion.pem"\ntoken_path = "orion.token"\n'
    )
    assert set(both[1].agent.seen_tokens) == {"other"}
    assert run("node", "show", "orion").status == 0


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("vault", "is called orion"), ("rifts", "cannot be reached"), ("safe", "safe.token does not exist")],
)
def test_a_node_that_is_not_what_was_said_is_not_added(
    run: Run, both: tuple[Node, Node], tmp_path: Path, name: str, wrong: str
) -> None:
    port = {"vault": both[1].port, "rifts": free_port(), "safe": both[1].port}[name]
    options = ["--token-path", str(tmp_path / "safe.token")] if name == "safe" else []
    before = (tmp_path / "mcp.toml").read_text()
    status, _, err = run("node", "add", name, f"{HOST}:{port}", *options)
    assert status in (1, 2)
    assert wrong in err
    assert "nothing was written; `--no-check` adds the node anyway" in err
    assert (tmp_path / "mcp.toml").read_text() == before
    assert run("node", "add", name, f"{HOST}:{port}", "--no-check", *options).status == 0
    assert f'name = "{name}"' in (tmp_path / "mcp.toml").read_text()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_node_is_added_behind_everything_with_a_blank_line_before_it(run: Run, tmp_path: Path, newline: str) -> None:
    before = newline.join(
        ["[[nodes]]", 'name = "a"', 'address = "a:1"', "", "# whom to trust", "[tls]", 'ca_cert = "c"']
    )
    (tmp_path / "mcp.toml").write_bytes(before.encode())
    assert run("node", "add", "b", "b:2", "--no-check").status == 0
    after = newline.join([before, "", "[[nodes]]", 'name = "b"', 'address = "b:2"', ""])
    assert (tmp_path / "mcp.toml").read_bytes() == after.encode()


def test_nodes_in_an_inline_array_are_left_to_their_author(run: Run, tmp_path: Path) -> None:
    before = 'nodes = [{ name = "a", address = "a:1" }]\n'
    (tmp_path / "mcp.toml").write_text(before)
    status, _, err = run("node", "add", "b", "b:2", "--no-check")
    assert status == 1
    assert "could not be edited safely" in err
    assert (tmp_path / "mcp.toml").read_text() == before


# -- what a dead node costs


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
    assert err.endswith("has api; did you mean web/api?\n")


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
    "mcpctl: node orion still has web, but the definition says rift, so it may run twice; "
    "`mcpctl undeploy web --node orion` removes it from orion\n"
)


@pytest.mark.usefixtures("moved")
@pytest.mark.parametrize("words", ["plan web", "plan", "deploy web", "deploy web --dry-run"])
def test_a_service_that_another_node_still_has_is_said(run: Run, words: str) -> None:
    status, _, err = run(*words.split())
    assert (status, err) == (0, WARNING)


def runs_there(moved: Node) -> None:
    """orion does not only remember the service: it runs it."""
    (service,) = moved.agent.prepared["ListServicesRequest"].services
    service.components[0].observed = v1.ObservedState.HEALTHY


@pytest.mark.parametrize("words", ["deploy web", "deploy web/api", "start web"])
def test_a_service_that_another_node_still_runs_is_refused(
    run: Run, rift: Node, moved: Node, tmp_path: Path, words: str
) -> None:
    runs_there(moved)
    before = (tmp_path / "services/web.toml").read_text()
    status, out, err = run(*words.split())
    assert (status, out) == (1, "")
    assert "node orion still runs web, but the definition says rift; nothing was changed" in err
    assert "`mcpctl undeploy web --node orion`" in err
    assert not rift.agent.asked(v1.DeployRequest)
    assert not rift.agent.asked(v1.StartServiceRequest)
    assert (tmp_path / "services/web.toml").read_text() == before


def test_a_service_is_moved_and_removed_from_where_it_ran_once_it_runs(
    run: Run, rift: Node, moved: Node, tmp_path: Path
) -> None:
    runs_there(moved)
    removed = v1.ComponentOutcome("api", v1.Result.REMOVED, "")
    moved.agent.prepared["UndeployServiceRequest"] = v1.UndeployServiceResponse([removed])
    before = (tmp_path / "services/web.toml").read_text()
    status, out, _ = run("deploy", "web", "--and-undeploy-old")
    assert (status, "removed" in out) == (0, True)
    assert len(rift.agent.asked(v1.DeployRequest)) == 1
    assert [each.service for each in moved.agent.asked(v1.UndeployServiceRequest)] == ["web"]
    assert (tmp_path / "services/web.toml").read_text() == before


def test_a_service_stays_where_it_ran_when_its_new_node_fails(run: Run, rift: Node, moved: Node) -> None:
    runs_there(moved)
    rift.agent.prepared["DeployRequest"] = GRPCError(Status.FAILED_PRECONDITION, "everything is as it was before")
    assert run("deploy", "web", "--and-undeploy-old").status == 1
    assert not moved.agent.asked(v1.UndeployServiceRequest)


@pytest.mark.usefixtures("moved")
def test_a_component_alone_is_not_moved(run: Run) -> None:
    assert run("deploy", "web/api", "--and-undeploy-old").status == 2


def test_a_node_that_cannot_be_asked_is_told_of_where_the_service_is_new(run: Run, rift: Node, moved: Node) -> None:
    moved.cut(for_good=True)
    rift.agent.prepared["ListServicesRequest"] = GRPCError(Status.NOT_FOUND, "there is no service web")
    status, _, err = run("deploy", "web")
    assert status == 0
    assert "WARNING: node orion does not answer and may still run web" in err
    known = v1.ServiceInfo("web", "rift", True, [v1.ComponentInfo(service="web", component="api")])
    rift.agent.prepared["ListServicesRequest"] = v1.ListServicesResponse(services=[known])
    assert run("deploy", "web").err == ""


def test_sync_starts_nothing_that_another_node_runs(run: Run, rift: Node, moved: Node) -> None:
    runs_there(moved)
    stopped = v1.ServiceInfo("web", "rift", True, [v1.ComponentInfo(service="web", component="api")])
    rift.agent.prepared["ListServicesRequest"] = v1.ListServicesResponse(services=[stopped])
    status, _, err = run("sync")
    assert status == 1
    assert "nothing was sent to any node" in err
    assert not rift.agent.asked(v1.SyncRequest)
    # What its own node does not have yet is not started by a sync: it is only told.
    rift.agent.prepared["ListServicesRequest"] = v1.ListServicesResponse()
    assert "node orion still has web" in run("sync").err
    assert len(rift.agent.asked(v1.SyncRequest)) == 1


def test_a_service_is_undeployed_where_its_definition_does_not_put_it(run: Run, moved: Node, tmp_path: Path) -> None:
    moved.agent.prepared["UndeployServiceRequest"] = v1.UndeployServiceResponse()
    before = (tmp_path / "services/web.toml").read_text()
    assert run("undeploy", "web", "--node", "orion").status == 0
    assert len(moved.agent.asked(v1.UndeployServiceRequest)) == 1
    assert (tmp_path / "services/web.toml").read_text() == before


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


def test_a_node_that_is_away_holds_up_no_deploy(run: Run, rift: Node, moved: Node) -> None:
    known = v1.ServiceInfo("web", "rift", True, [v1.ComponentInfo(service="web", component="api")])
    rift.agent.prepared["ListServicesRequest"] = v1.ListServicesResponse(services=[known])
    moved.cut(for_good=True)
    assert run("deploy", "web") == (0, "", "")
    assert run("plan", "web").status == 0
