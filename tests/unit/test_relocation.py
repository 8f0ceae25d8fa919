"""A service whose definition moved from one node to another."""

from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from protos.mcp import v1
from tests.support.agent import WEB, Node, Run


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
    rift.agent.prepared["DeployRequest"] = GRPCError(Status.FAILED_PRECONDITION, "the service was rolled back")
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
