"""The demo service, two components of which one needs the other: deployed, asked and edited."""

from __future__ import annotations

import urllib.request

from tests.podman.node import Node
from tests.support.waiting import free_port

DEMO = """\
# What this is for.
name = "demo"
node = "NODE"     # the only one
active = true     # wanted

# The front.
[[components]]
name = "web"
image = "localhost/mcp-demo:v1"
ports = ["127.0.0.1:PORT:8080"]
depends_on = ["worker"]

[[components]]
name = "worker"
image = "localhost/mcp-demo:v1"
"""


def demo(node: Node) -> int:
    """Deploys the demo service and returns the port that its front answers at."""
    port = free_port()
    node.define("demo", DEMO.replace("PORT", str(port)))
    node.mcpctl("deploy", "demo")
    return port


def answer(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
        text: str = response.read().decode().strip()
        return text


def answers(port: int, expected: str) -> bool:
    """Whether what is behind ``port`` is up, and answers so."""
    try:
        return answer(port) == expected
    except OSError:
        return False


def edit(node: Node, old: str, new: str) -> None:
    path = node.folder / "services/demo.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def states(node: Node) -> dict[str, str]:
    return {row["component"]: row["observed"] for row in node.json("ps")}
