"""Plan, sync, purge and the list of operations, on a real node."""

from __future__ import annotations

import json
import signal
import subprocess

from tests.podman.node import Node
from tests.support.demo_service import demo, edit, states
from tests.support.waiting import until

SOLO = 'name = "NAME"\nnode = "NODE"\n[[components]]\nname = "NAME"\nimage = "localhost/mcp-demo:v1"\n'


def test_a_plan_changes_nothing_and_a_deploy_bound_to_it_does_just_that(node: Node) -> None:
    demo(node)
    before = node.pids()
    edit(node, 'mcp-demo:v1"\nports', 'mcp-demo:v2"\nports')
    (plan,) = node.json("plan", "demo")
    actions = {each["component"]: each["action"] for each in plan["components"]}
    assert actions == {"web": "replace", "worker": "none"}
    (web,) = [each for each in plan["components"] if each["component"] == "web"]
    assert web["changes"] == [
        {"field": "image", "before": "localhost/mcp-demo:v1", "after": "localhost/mcp-demo:v2", "source": "definition"}
    ]
    assert node.pids() == before
    (again,) = node.json("deploy", "demo", "--dry-run")
    assert again["plan_id"] == plan["plan_id"]
    node.mcpctl("deploy", "demo", "--plan", plan["plan_id"])
    assert {row["component"]: row["version"] for row in node.json("ps")} == {"web": "v2", "worker": "v1"}
    # It was carried out: now it would be another one.
    stale = node.mcpctl("deploy", "demo", "--plan", plan["plan_id"], status=1)
    assert "is out of date: the registry and the containers or secrets on the node changed since" in stale.stderr


def test_one_component_can_be_deployed_from_another_image_than_its_file_says(node: Node) -> None:
    demo(node)
    done = node.mcpctl("deploy", "demo/worker", "--image", "localhost/mcp-demo:v2")
    assert "unless you edit the file" in done.stderr
    assert {row["component"]: row["version"] for row in node.json("ps")} == {"web": "v1", "worker": "v2"}
    (plan,) = node.json("plan", "demo/worker")
    assert [each["action"] for each in plan["components"]] == ["replace"]


def test_sync_records_and_stops_and_never_makes_anything_anew(node: Node) -> None:
    demo(node)
    node.define("other", SOLO.replace("NAME", "other"))
    node.mcpctl("deploy", "other")
    before = node.pids()
    edit(node, 'mcp-demo:v1"\nports', 'mcp-demo:v2"\nports')
    path = node.folder / "services/other.toml"
    path.write_text("active = false\n" + path.read_text())
    done = node.mcpctl("sync")
    assert "these components still need a deploy" in done.stdout
    assert node.pids() == {name: pid for name, pid in before.items() if name != "other"}
    assert states(node) == {"web": "running", "worker": "running", "other": "exited"}
    assert "image v1 runs, v2 is wanted" in node.mcpctl("status", "demo").stdout
    # What no definition names is listed, and left alone.
    path.unlink()
    node.mcpctl("sync")
    (row,) = [row for row in node.json("ps") if row["service"] == "other"]
    assert (row["desired"], row["observed"]) == ("ignore", "exited")


def test_an_empty_folder_of_definitions_is_no_reason_to_stop_watching(node: Node) -> None:
    demo(node)
    path = node.folder / "services/demo.toml"
    text = path.read_text()
    path.unlink()
    refused = node.mcpctl("sync", status=1)
    assert "no definition names n1, which has 1 services: nothing was changed" in refused.stderr
    path.write_text(text)
    assert {row["desired"] for row in node.json("ps")} == {"running"}


def test_purge_forgets_only_what_nothing_wants_and_nothing_runs(node: Node) -> None:
    demo(node)
    node.define("gone", SOLO.replace("NAME", "gone"))
    node.mcpctl("deploy", "gone")
    (node.folder / "services/gone.toml").unlink()
    node.mcpctl("sync")
    refused = node.mcpctl("purge", "gone", status=1)
    assert "it is not stopped; `mcpctl undeploy gone/gone --node n1` stops and removes it" in refused.stdout
    node.podman("rm", "--force", "--time", "0", "gone")
    assert "forgotten" in node.mcpctl("purge", "--dry-run").stdout
    assert {each["name"] for each in node.json("list")} == {"demo", "gone"}
    node.mcpctl("purge")
    assert {each["name"] for each in node.json("list")} == {"demo"}
    assert states(node) == {"web": "running", "worker": "running"}


def test_an_operation_can_be_listed_and_followed_again_also_after_its_daemon(node: Node) -> None:
    demo(node)
    (operation,) = node.json("operations", "demo", "--limit", "1")
    assert (operation["kind"], operation["state"]) == ("deploy", "completed")
    number = str(operation["id"])
    before = followed(node, number)
    assert {line["outcome"]["result"] for line in before if "outcome" in line} == {"created"}
    node.stop_daemon(signal.SIGKILL)
    node.up()
    assert followed(node, number) == before
    assert "there is no operation 999" in node.mcpctl("attach", "999", status=2).stderr


def followed(node: Node, number: str) -> list[dict[str, dict[str, str]]]:
    return [json.loads(line) for line in node.mcpctl("attach", number, "--output", "json").stdout.splitlines()]


def test_attach_follows_a_deploy_whose_client_has_gone(node: Node) -> None:
    slow = '[components.health]\ncmd = ["sh", "-c", "test -e /tmp/well"]\ninterval = "200ms"\nretries = 100\n'
    node.define("slow", SOLO.replace("NAME", "slow") + slow)
    client = subprocess.Popen(["mcpctl", "deploy", "slow"], env=node.environment, stderr=subprocess.PIPE, text=True)
    until(lambda: [each["state"] for each in node.json("operations", "--running")] == ["running"])
    until(lambda: "slow" in node.containers())
    client.send_signal(signal.SIGINT)
    _, said = client.communicate(timeout=30)
    (operation,) = node.json("operations", "--running")
    assert client.returncode == 130
    assert f"mcpctl attach {operation['id']}" in said
    until(lambda: node.pids().get("slow"))
    node.podman("exec", "slow", "touch", "/tmp/well")
    node.mcpctl("attach", str(operation["id"]))
    until(lambda: states(node) == {"slow": "healthy"})
