"""`mcpctl service export`: of a definition, or of what a node holds."""

import json
import tomllib
from pathlib import Path

import pytest
import yaml
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.definitions.exporting import toml
from protos import wire
from protos.mcp import v1
from protos.spec import examine_service
from tests.support.agent import HOSTILE, WEB, Node, Run
from tests.support.definitions import MORE, REGISTERED, registered

UNKNOWN = GRPCError(Status.NOT_FOUND, "there is no service web here")


@pytest.mark.usefixtures("web")
def test_a_definition_is_exported_without_a_network(run: Run, rift: Node) -> None:
    status, out, err = run("service", "export", "web")
    assert (status, err) == (0, "")
    assert examine_service(tomllib.loads(out)) == examine_service(tomllib.loads(WEB))
    assert rift.agent.seen_tokens == []


@pytest.mark.parametrize("form", ["kube", "compose", "quadlet"])
@pytest.mark.usefixtures("web")
def test_a_definition_is_exported_for_another_program(run: Run, form: str) -> None:
    status, out, err = run("service", "export", "web", "--format", form)
    assert (status, err) == (0, ""), "nothing is lost of so little"
    assert "x:v1" in out
    if form != "quadlet":
        assert yaml.safe_load(out)


def test_losses_are_told_a_line_each(run: Run, web: Path) -> None:
    web.write_text(MORE)
    status, out, err = run("service", "export", "web", "--format", "compose")
    assert status == 0
    assert "lost" not in out
    (line,) = err.splitlines()
    assert line.startswith("lost: components[api].heal: ")
    found = json.loads(run("service", "export", "web", "--format", "compose", "--output", "json").out)
    assert [each["path"] for each in found["losses"]] == ["components[api].heal"]
    assert [each["name"] for each in found["files"]] == ["compose.yaml"]


def test_quadlet_units_go_into_a_folder(run: Run, web: Path, tmp_path: Path) -> None:
    web.write_text(WEB + 'network = "mcpnet"\n')
    status, out, err = run("service", "export", "web", "--format", "quadlet", "--to", str(tmp_path / "new/units"))
    assert (status, out) == (0, "")
    assert sorted(each.name for each in (tmp_path / "new/units").iterdir()) == ["mcpnet.network", "web-api.container"]
    assert "web-api.container: written" in err
    printed = run("service", "export", "web", "--format", "quadlet").out
    assert "# FILE web-api.container\n[Unit]\n" in printed
    assert "# FILE mcpnet.network\n[Network]\n" in printed


@pytest.mark.usefixtures("web")
def test_one_file_goes_to_a_name_or_into_a_folder(run: Run, tmp_path: Path) -> None:
    assert run("service", "export", "web", "--format", "kube", "--to", str(tmp_path / "pods.yaml")).status == 0
    assert run("service", "export", "web", "--format", "kube", "--to", str(tmp_path)).status == 0
    assert (tmp_path / "pods.yaml").read_text() == (tmp_path / "web.yaml").read_text()
    status, _, err = run("service", "export", "web", "--format", "kube", "--to", "/dev/null/x")
    assert status == 1
    assert "could not be written" in err


def test_an_adopted_service_gets_its_definition(run: Run, web: Path, rift: Node, orion: Node) -> None:
    web.unlink()
    registered(rift)
    orion.agent.prepared["ListServicesRequest"] = UNKNOWN
    status, out, err = run("service", "export", "web")
    assert (status, out) == (0, ""), err
    assert f"{web}: written, from the registry of node rift" in err
    assert examine_service(tomllib.loads(web.read_text())) == (REGISTERED, [])
    # From now on there is a definition.
    assert run("service", "export", "web").out == web.read_text()
    assert len(rift.agent.asked(v1.GetServiceSpecRequest)) == 1


def test_what_a_node_holds_is_printed_when_asked_for(run: Run, web: Path, rift: Node) -> None:
    registered(rift)
    status, out, _ = run("service", "export", "web", "--node", "rift")
    assert (status, out) == (0, toml.text(REGISTERED))
    assert web.read_text() == WEB
    web.unlink()
    assert run("service", "export", "web", "--to", "-").out == toml.text(REGISTERED)
    assert "args:" in run("service", "export", "web", "--format", "kube").out
    assert not web.exists()


def test_a_definition_is_never_overwritten_by_an_export(run: Run, web: Path, rift: Node) -> None:
    registered(rift)
    broken = 'name = "web"\n'
    web.write_text(broken)
    assert run("service", "export", "web").status == 2
    assert web.read_text() == broken


@pytest.mark.usefixtures("web")
def test_a_service_that_nobody_has_is_not_exported(run: Run, rift: Node, orion: Node) -> None:
    rift.agent.prepared["ListServicesRequest"] = orion.agent.prepared["ListServicesRequest"] = UNKNOWN
    for words in (("gone",), ("..",)):
        status, _, err = run("service", "export", *words)
        assert status == 2
        assert words[0] in err
    rift.agent.prepared["GetServiceSpecRequest"] = UNKNOWN
    assert run("service", "export", "web", "--node", "rift").status == 2


def test_a_service_on_two_nodes_needs_the_node(run: Run, web: Path, rift: Node, orion: Node) -> None:
    web.unlink()
    registered(rift)
    registered(orion)
    status, _, err = run("service", "export", "web")
    assert status == 2
    assert "rift, orion have a service web; give --node NAME" in err


def test_what_a_node_says_is_not_believed(run: Run, web: Path, rift: Node) -> None:
    web.unlink()
    spec = wire.service_spec(REGISTERED)
    spec.components[0].image = HOSTILE
    rift.agent.prepared["GetServiceSpecRequest"] = v1.GetServiceSpecResponse(spec)
    status, out, err = run("service", "export", "web", "--node", "rift")
    assert (status, out) == (1, "")
    assert "components[0].image" in err
    assert "\x1b" not in err
