"""History and rollback on real podman: three versions and back again, what is gone, and a registry that is down."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

from tests.podman.node import Node, running
from tests.podman.registry import plain
from tests.support.demo_service import DEMO, answer, demo, states
from tests.support.waiting import free_port

PULLED = """\
name = "pulled"
node = "NODE"
[[components]]
name = "web"
image = "REGISTRY/team/demo:TAG"
pull = "always"
"""


def images(node: Node, service: str) -> set[str]:
    return {row["image"].rpartition("/")[2] for row in node.json("ps", service)}


def notes(node: Node, service: str = "demo") -> list[tuple[int, int]]:
    """Of each revision, newest first, its number and the one that it went back to. They outlive their service."""
    return [(row["number"], row["restores"]) for row in node.json("history", service)]


def test_after_three_deploys_rolling_back_twice_goes_back_two(node: Node) -> None:
    node.podman("tag", "localhost/mcp-demo:v2", "localhost/mcp-demo:v3")
    try:
        port = free_port()
        # A name of its own: revisions outlive their service, and others have deployed the demo here.
        for tag in ("v1", "v2", "v3"):
            text = (
                DEMO.replace('"demo"', '"thrice"').replace("PORT", str(port)).replace("mcp-demo:v1", f"mcp-demo:{tag}")
            )
            path = node.define("thrice", text)
            node.mcpctl("deploy", "thrice")
        assert notes(node, "thrice") == [(3, 0), (2, 0), (1, 0)]

        planned = node.mcpctl("rollback", "thrice", "--dry-run").stdout
        assert "localhost/mcp-demo:v3 -> localhost/mcp-demo:v2" in planned
        assert "`mcpctl rollback thrice --to 2 --plan" in planned
        done = node.mcpctl("rollback", "thrice")
        assert images(node, "thrice") == {"mcp-demo:v2"}
        assert "image = localhost/mcp-demo:v2 for web" in done.stderr
        assert "still differs" not in done.stderr
        # A restart changes nothing of what comes before.
        node.stop_daemon(signal.SIGKILL)
        node.up()
        node.mcpctl("rollback", "thrice")
        assert answer(port) == "v1"
        assert images(node, "thrice") == {"mcp-demo:v1"}
        assert notes(node, "thrice") == [(5, 1), (4, 2), (3, 0), (2, 0), (1, 0)]
        # The definition says what runs, and comments are where they were.
        text = path.read_text()
        assert text.count("localhost/mcp-demo:v1") == 2
        assert "# The front." in text
        assert "2 unchanged" in node.mcpctl("plan", "thrice").stdout
        refused = node.mcpctl("rollback", "thrice", status=1)
        assert "has no revision of thrice before 1" in refused.stderr
        node.mcpctl("rollback", "thrice", "--to", "3")
        assert images(node, "thrice") == {"mcp-demo:v3"}
    finally:
        node.clear()
        node.podman("rmi", "localhost/mcp-demo:v3")


def test_a_component_that_no_longer_exists_comes_back(node: Node) -> None:
    demo(node)
    ((both, _), *_) = notes(node)
    path = node.folder / "services/demo.toml"
    whole = path.read_text()
    node.mcpctl("undeploy", "demo/worker")
    path.write_text(whole.partition('[[components]]\nname = "worker"')[0].replace('depends_on = ["worker"]\n', ""))
    node.mcpctl("deploy", "demo")
    assert states(node) == {"web": "running"}
    done = node.mcpctl("rollback", "demo", "--to", str(both))
    assert states(node) == {"web": "running", "worker": "running"}
    # It is in no definition, which is said.
    assert f"still differs from revision {both}" in done.stderr
    assert "demo/worker is no longer defined" in done.stderr
    # Nor does the definition come back: that is its owner's to decide.
    assert "worker" not in path.read_text()


def test_a_service_that_was_undeployed_comes_back_when_it_is_started(node: Node) -> None:
    port = demo(node)
    ((last, _), *_) = notes(node)
    node.mcpctl("undeploy", "demo")
    done = node.mcpctl("rollback", "demo", "--to", str(last))
    assert "not started: the definition says active = false; `mcpctl start demo` starts it" in done.stdout
    node.mcpctl("start", "demo")
    assert answer(port) == "v1"


def test_what_fails_is_no_revision_and_neither_is_what_changes_nothing(node: Node) -> None:
    demo(node)
    known = notes(node)
    path = node.folder / "services/demo.toml"
    whole = path.read_text()
    probe = '[components.health]\ncmd = ["test", "-e", "/is-not-there"]\ninterval = "1s"\nretries = 1\n'
    path.write_text(whole + probe)
    node.mcpctl("deploy", "demo", status=1)
    path.write_text(whole)
    before = node.pids()
    node.mcpctl("deploy", "demo")
    assert notes(node) == known
    refused = node.mcpctl("rollback", "demo", "--to", "777", status=2)
    assert "demo has no revision 777 here; `mcpctl history demo` lists them" in refused.stderr
    assert node.pids() == before


def test_a_rollback_needs_no_registry_while_the_image_is_on_the_node(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    folder.mkdir()
    registries = tmp_path / "registries.conf"
    with contextlib.ExitStack() as up:
        registry = up.enter_context(plain(folder))
        registries.write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
        with running(Node(tmp_path / "node", "puller", CONTAINERS_REGISTRIES_CONF=str(registries))) as node:
            definition = PULLED.replace("REGISTRY", registry)
            for tag in ("v1", "v2"):
                node.podman("tag", f"localhost/mcp-demo:{tag}", f"{registry}/team/demo:{tag}")
                node.podman("push", "--tls-verify=false", f"{registry}/team/demo:{tag}")
                node.define("pulled", definition.replace("TAG", tag))
                node.mcpctl("deploy", "pulled")
            up.close()
            failed = node.mcpctl("deploy", "pulled", "--force", status=1)
            assert "web failed at pull" in failed.stderr
            node.mcpctl("rollback", "pulled")
            (row,) = node.json("ps", "pulled")
            assert (row["version"], row["observed"]) == ("v1", "running")
