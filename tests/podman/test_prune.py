"""`mcpctl image list` and `image prune` against real podman: who uses what, what stays, what goes with its space."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.podman.node import Node, running

APP = "localhost/prunable"
DEFINITION = f"""\
name = "pruned"
node = "NODE"
active = ACTIVE
[[components]]
name = "web"
image = "{APP}:TAG"
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node of our own, since the others need their images. It has one, which a container keeps."""
    with running(Node(tmp_path_factory.mktemp("pruning") / "node", "pruner")) as node:
        node.podman("create", "--name", "keeper", "localhost/mcp-demo:v1")
        node.podman("rmi", "localhost/mcp-demo:v2", "localhost/mcp-demo:broken")
        yield node


@pytest.fixture
def stocked(own: Node, tmp_path: Path) -> Iterator[Node]:
    """Five versions of an image, the oldest first, and one that has lost its name to v5."""
    node = own
    with node.podman_alone():
        for number in (1, 2, 3, 4, 0, 5):
            # Each is a second older than the next; podman counts in whole ones.
            created = f"2026-01-01T00:00:0{number}Z"
            argv = ("--timestamp", str(1767225600 + number), "--label", f"number={number}", "--tag")
            tag = f"{APP}:v{number or 5}"
            (tmp_path / "Containerfile").write_text(f"FROM localhost/mcp-demo:v1\nENV MADE={created}\n")
            node.podman("build", "--quiet", *argv, tag, str(tmp_path))
    yield node
    for row in node.json("list"):
        node.mcpctl("undeploy", row["name"], "--node", node.name)
    node.podman("rm", "--force", "--ignore", "by-hand")
    with node.podman_alone():
        left = node.podman("images", "--quiet", "--filter", "label=number").split()
        if left:
            node.podman("rmi", "--force", *sorted(set(left)))


def define(node: Node, tag: str, active: str = "true") -> None:
    node.define("pruned", DEFINITION.replace("TAG", tag).replace("ACTIVE", active))


def names(node: Node) -> set[str]:
    lines = node.podman("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    return {line.removeprefix(f"{APP}:") for line in lines if line.startswith(APP)}


def prune(node: Node, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = node.json("image", "prune", *words)
    return found


def result(found: dict[str, Any], tag: str) -> tuple[bool, str]:
    (image,) = [each for each in found["images"] if f"{APP}:{tag}" in each["names"]]
    return image["removed"], image["reason"]


def nameless(found: dict[str, Any]) -> list[tuple[bool, str]]:
    return [(each["removed"], each["reason"]) for each in found["images"] if not each["names"]]


def test_what_is_used_and_the_newest_stay_and_the_rest_goes(stocked: Node) -> None:
    define(stocked, "v1", active="false")
    stocked.mcpctl("deploy", "pruned")  # a container that is made, and does not run
    stocked.podman("create", "--name", "by-hand", f"{APP}:v2")

    would = prune(stocked, "--keep", "2", "--dry-run")
    assert would["dry_run"]
    assert names(stocked) == {"v1", "v2", "v3", "v4", "v5"}
    assert result(would, "v1") == (False, "used by pruned/web")
    assert result(would, "v2") == (False, "used by container by-hand")
    assert result(would, "v3") == (True, "nothing uses it, and 2 are newer")
    assert result(would, "v4") == (False, f"one of the newest 2 of {APP}")
    assert nameless(would) == [(True, "nothing uses it, and it has no name")]

    done = prune(stocked, "--keep", "2")
    assert not done["dry_run"]
    assert (done["images"], done["bytes"]) == (would["images"], would["bytes"])
    assert names(stocked) == {"v1", "v2", "v4", "v5"}
    assert nameless(prune(stocked, "--dry-run")) == []
    (event,) = [each for each in stocked.json("events") if each["kind"] == "pruned"][-1:]
    assert (event["caller"], event["message"].partition(",")[0]) == ("admin", "2 images that nothing used")
    assert stocked.podman("container", "inspect", "--format", "{{.State.Status}}", "by-hand").strip() == "created"


def test_a_version_that_was_kept_is_a_way_back(stocked: Node) -> None:
    for tag in ("v4", "v5"):
        define(stocked, tag)
        stocked.mcpctl("deploy", "pruned")
    table = stocked.mcpctl("image", "prune", "--node", stocked.name).stdout
    assert "kept  " in table
    assert table.splitlines()[-1].startswith("3 images removed, ")
    define(stocked, "v4")
    lines = stocked.mcpctl("deploy", "pruned", "--output", "json").stdout
    assert '"pull"' not in lines
    assert [row["version"] for row in stocked.json("ps")] == ["v4"]


def test_a_container_that_runs_keeps_its_image_when_a_build_takes_the_name(stocked: Node, tmp_path: Path) -> None:
    define(stocked, "v5")
    stocked.mcpctl("deploy", "pruned")
    with stocked.podman_alone():
        (tmp_path / "Containerfile").write_text("FROM localhost/mcp-demo:v1\nENV MADE=later\n")
        stocked.podman("build", "--quiet", "--label", "number=6", "--tag", f"{APP}:v5", str(tmp_path))
    pids = stocked.pids()
    done = prune(stocked, "--keep", "0")
    assert (False, "used by pruned/web") in nameless(done)
    assert result(done, "v5") == (False, "used by pruned/web")
    assert stocked.pids() == pids


def test_an_agent_that_prunes_says_so_in_its_audit(stocked: Node) -> None:
    prune(stocked, "--dry-run")
    calls = json.loads(stocked.mcpctl("audit", "--method", "PruneImages", "--output", "json").stdout)
    assert calls[-1]["status"] == "OK"


# -- list

LISTED = """\
name = "listed"
node = "NODE"
[[components]]
name = "web"
image = "prunable:WEB"
[[components]]
name = "worker"
image = "{APP}:v3"
"""


def users(rows: list[dict[str, Any]], name: str) -> list[tuple[str, str, bool]]:
    """Of the image with that tag: the component or "", the container or "", whether it runs."""
    (row,) = [each for each in rows if f"{APP}:{name}" in each["names"]]
    return [
        (f"{each['service']}/{each['component']}" if each["service"] else "", each["container"], each["running"])
        for each in row["users"]
    ]


def test_the_list_says_who_uses_what(stocked: Node) -> None:
    text = LISTED.replace("{APP}", APP)
    # A short name is what podman finds by it on the node.
    stocked.define("listed", text.replace("WEB", "v1"))
    stocked.mcpctl("deploy", "listed")
    stocked.define("listed", text.replace("WEB", "v2"))
    stocked.mcpctl("deploy", "listed")
    stocked.mcpctl("stop", "listed/worker")
    stocked.podman("create", "--name", "by-hand", f"{APP}:v4")

    rows = stocked.json("image", "list")
    assert users(rows, "v2") == [("listed/web", "listed-web", True)]
    assert users(rows, "v3") == [("listed/worker", "listed-worker", False)]
    assert users(rows, "v1") == []  # the way back
    assert users(rows, "v4") == [("", "by-hand", False)]
    assert users(rows, "v5") == []
    # v5 has taken its name.
    assert [each["users"] for each in rows if not each["names"]] == [[]]
    assert {each["node"] for each in rows} == {stocked.name}
    by_id = {each["id"]: each for each in rows}
    told = json.loads(stocked.podman("images", "--format", "json"))
    assert {each["Id"] for each in told} == by_id.keys()
    for each in told:
        assert sorted(each.get("RepoDigests") or []) == sorted(by_id[each["Id"]]["digests"])
        assert each["Size"] == by_id[each["Id"]]["size"]
    lines = stocked.mcpctl("image", "list").stdout.splitlines()
    (line,) = [each for each in lines if f"{APP}:v3 " in each]
    assert line.endswith("  listed/worker (stopped)")


def test_a_name_that_a_build_took_leaves_the_component_to_both_images(stocked: Node, tmp_path: Path) -> None:
    define(stocked, "v5")
    stocked.mcpctl("deploy", "pruned")
    with stocked.podman_alone():
        (tmp_path / "Containerfile").write_text("FROM localhost/mcp-demo:v1\nENV MADE=later\n")
        stocked.podman("build", "--quiet", "--label", "number=6", "--tag", f"{APP}:v5", str(tmp_path))
    rows = stocked.json("image", "list", "--node", stocked.name)
    assert users(rows, "v5") == [("pruned/web", "", False)]
    before = [user for each in rows if not each["names"] for user in each["users"]]
    assert before == [{"service": "pruned", "component": "web", "container": "pruned-web", "running": True}]
