"""What a definition says in files beside it, at every command that uses definitions."""

import json
from pathlib import Path

import pytest

from mcpctl.config import load
from mcpctl.definitions import definition
from protos.fingerprint import definition_hash
from protos.mcp import v1
from tests.support.agent import JSON, WEB, Node, Run
from tests.support.changes import REPLACED, a_plan
from tests.support.definitions import Editor, change

NAMED = WEB + 'env = { OWN = "1" }\nenv_file = ["web.env"]\n'
VALUE = "from the file"


@pytest.fixture
def beside(web: Path) -> Path:
    """The definition names an env file; returns that."""
    web.write_text(NAMED)
    path = web.parent / "web.env"
    path.write_text(f"ADDED='{VALUE}'\nOWN=2\n")
    return path


def env(message: v1.ServiceSpec) -> dict[str, str]:
    (component,) = message.components or message.extended_components
    return dict(component.env)


def test_show_and_export_have_what_the_files_say(run: Run, beside: Path) -> None:
    status, out, _ = run("service", "show", "web")
    assert status == 0
    assert f'ADDED = "{VALUE}"' in out
    assert 'OWN = "1"' in out
    found = json.loads(run("service", "show", "web", *JSON).out)["service"]["components"][0]
    assert found["env"] == {"ADDED": VALUE, "OWN": "1"}
    assert found["env_file"] == []
    assert f'ADDED = "{VALUE}"' in run("service", "export", "web").out
    assert beside.name not in run("service", "export", "web", "--format", "compose").out


def test_a_plan_and_a_deploy_send_it(run: Run, beside: Path, deploying: Node) -> None:
    deploying.agent.prepared["PlanRequest"] = a_plan(REPLACED)
    assert run("plan", "web").status == 0
    (asked,) = deploying.agent.asked(v1.PlanRequest)
    assert env(asked.service) == {"ADDED": VALUE, "OWN": "1"}
    beside.write_text("ADDED=later\n")
    assert run("deploy", "web").status == 0
    (deployed,) = deploying.agent.asked(v1.DeployRequest)
    assert env(deployed.service) == {"ADDED": "later", "OWN": "1"}


def test_a_sync_sends_it(run: Run, beside: Path, rift: Node) -> None:
    rift.agent.prepared["SyncRequest"] = v1.SyncResponse()
    run("sync", "--node", "rift")
    (asked,) = rift.agent.asked(v1.SyncRequest)
    assert [env(each) for each in asked.services] == [{"ADDED": VALUE, "OWN": "1"}]
    assert beside.is_file()


def test_a_change_of_the_file_is_a_change_of_the_definition(run: Run, beside: Path, tmp_path: Path) -> None:
    def found() -> str:
        return definition_hash(definition.load(load(tmp_path / "mcp.toml"), "web").service.components[0])

    before = found()
    beside.write_text("ADDED=other\n")
    assert found() != before
    assert run("service", "list").status == 0


def test_a_definition_whose_file_is_missing_is_listed_as_wrong_and_is_not_deployed(
    run: Run, beside: Path, deploying: Node
) -> None:
    beside.unlink()
    status, out, err = run("service", "list")
    assert (status, "wrong" in out) == (2, True)
    assert f"components[0].env_file[0]: web.env does not exist; put it at {beside}" in err
    for words in (("deploy", "web"), ("plan", "web"), ("service", "show", "web")):
        status, _, err = run(*words)
        assert status == 2
        assert "web.env does not exist" in err
    assert deploying.agent.asked(v1.DeployRequest) == []


def test_an_edited_definition_is_checked_with_the_files_beside_it(
    run: Run, web: Path, beside: Path, rift: Node, editor: Editor
) -> None:
    rift.agent.prepared["PlanRequest"] = a_plan(REPLACED)
    editor(change("x:v1", "x:v2"))
    assert run("service", "edit", "web", "--yes").status == 0
    assert web.read_text() == NAMED.replace("x:v1", "x:v2")
    (asked,) = rift.agent.asked(v1.PlanRequest)
    assert env(asked.service)["ADDED"] == VALUE
    assert beside.is_file()
