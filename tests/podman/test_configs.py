"""Configs: text files of a definition, in the container; what was before comes back with a rollback."""

from __future__ import annotations

from pathlib import Path

from tests.podman.node import Node
from tests.podman.test_lifecycle import outcomes

SHOP = """\
name = "shop"
node = "NODE"

[[components]]
name = "web"
image = "localhost/mcp-demo:v1"
configs = [
    { source = "motd.txt", target = "/etc/motd" },
    { content = "secret", target = "/etc/key", mode = "0400", uid = 7, gid = 8 },
]
"""


def kept(node: Node) -> list[Path]:
    return [path for path in (node.folder / "configs").rglob("*") if path.is_file()]


def motd(node: Node) -> str:
    return node.podman("exec", "shop-web", "cat", "/etc/motd")


def write(node: Node, text: str) -> None:
    (node.folder / "services/motd.txt").write_text(text)


def test_a_config_is_in_the_container_and_an_edit_of_it_is_a_change(node: Node) -> None:
    write(node, "first\nsame\n")
    node.define("shop", SHOP)
    node.mcpctl("deploy", "shop")
    assert motd(node) == "first\nsame\n"
    assert node.podman("exec", "shop-web", "stat", "-c", "%u:%g %a", "/etc/key").strip() == "7:8 400"
    # Nobody in it can change it, not even root.
    node.podman("exec", "shop-web", "sh", "-c", "echo x >> /etc/motd", status=1)
    assert outcomes(node, "deploy", "shop") == {"web": "unchanged"}
    write(node, "second\nsame\n")
    plan = node.mcpctl("plan", "shop").stdout
    assert "-first" in plan
    assert "+second" in plan
    assert "configs./etc/motd" in plan
    assert outcomes(node, "deploy", "shop") == {"web": "replaced"}
    assert motd(node) == "second\nsame\n"
    assert len(kept(node)) == 2
    node.mcpctl("undeploy", "shop")
    assert not (node.folder / "configs").exists()


def test_a_rollback_brings_the_old_text_back(node: Node) -> None:
    write(node, "good\n")
    node.define("shop", SHOP)
    node.mcpctl("deploy", "shop")
    before = sorted(kept(node))
    write(node, "bad\n")
    node.define("shop", SHOP + 'cmd = ["false"]\n')
    node.mcpctl("deploy", "shop", status=1)
    assert motd(node) == "good\n"
    assert sorted(kept(node)) == before


def test_recover_writes_configs_that_are_gone(node: Node) -> None:
    write(node, "good\n")
    node.define("shop", SHOP)
    node.mcpctl("deploy", "shop")
    node.podman("rm", "--force", "--time", "0", "shop-web")
    for path in kept(node):
        path.unlink()
    node.mcpctl("recover")
    assert motd(node) == "good\n"
