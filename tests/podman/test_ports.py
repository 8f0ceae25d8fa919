"""Host ports on a real node: who has one is told before anything is touched, and stays reachable whatever happens."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from tests.podman.node import Node
from tests.support.demo_service import answer, answers
from tests.support.waiting import free_port, until

HOLDER = """
name = "big"
node = "NODE"
[[components]]
name = "front"
image = "localhost/mcp-demo:v1"
ports = ["127.0.0.1:PORT:8080"]
[[components]]
name = "back"
image = "localhost/mcp-demo:v1"
"""
TAKER = """
name = "bad"
node = "NODE"
[[components]]
name = "bad"
image = "localhost/mcp-demo:v1"
ports = ["PORT:8080"]
"""


def holder(node: Node) -> int:
    """Deploys a service with a published port, and returns it."""
    port = free_port()
    node.define("big", HOLDER.replace("PORT", str(port)))
    node.mcpctl("deploy", "big")
    until(lambda: answers(port, "v1"))
    return port


def unseen(node: Node) -> Path:
    """The definition of who has the port is in another folder: only the node knows of it. Returns where it was."""
    path = node.folder / "services/big.toml"
    path.rename(node.folder / "big.toml")
    return path


def taker(node: Node, port: int) -> Path:
    return node.define("bad", TAKER.replace("PORT", str(port)))


def test_a_port_that_another_service_has_is_refused_before_anything_is_touched(node: Node) -> None:
    port = holder(node)
    unseen(node)
    pids = node.pids()
    taker(node, port)
    for words in (("plan", "bad"), ("deploy", "bad")):
        said = node.mcpctl(*words, status=2).stderr
        assert f"bad/bad needs the host port {port}/tcp, which big/front has (container big-front)" in said
        assert "`mcpctl stop big/front`" in said
    assert answer(port) == "v1"
    assert node.pids() == pids
    assert node.containers() == set(pids)


def test_a_port_that_a_stopped_service_is_declared_to_have_is_refused(node: Node) -> None:
    port = holder(node)
    definition = unseen(node)
    node.podman("stop", "--time", "0", "big-front")
    taker(node, port)
    assert "which big/front declares" in node.mcpctl("deploy", "bad", status=2).stderr
    (node.folder / "big.toml").rename(definition)
    assert "as big.toml does" in node.mcpctl("deploy", "bad", status=2).stderr
    node.mcpctl("stop", "big/front")
    node.mcpctl("deploy", "bad")
    assert answer(port) == "v1"
    # Nor does it come back over who has its port by now.
    said = node.mcpctl("start", "big/front", status=1).stdout
    assert f"big/front needs the host port 127.0.0.1:{port}/tcp, which bad/bad has" in said
    assert answer(port) == "v1"


def test_a_port_of_a_container_that_is_replaced_is_its_own(node: Node) -> None:
    port = holder(node)
    node.mcpctl("deploy", "big", "--force")
    node.mcpctl("restart", "big")
    assert answer(port) == "v1"


def test_a_port_that_a_process_listens_at_is_refused_and_names_it(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taker(node, listening.getsockname()[1])
        said = node.mcpctl("plan", "bad", status=2).stderr
    assert "has; end it, or change `ports`" in said
    assert "(pid " in said
    assert node.containers() == set()


def test_who_has_a_port_stays_reachable_when_another_container_wins_it_over_a_deploy(node: Node) -> None:
    """The race: the port is taken while the deploy waits for what its component depends on."""
    port, gate = free_port(), free_port()
    node.define(
        "bad",
        TAKER.replace("PORT", str(port))
        + f"""depends_on = ["first"]
[[components]]
name = "first"
image = "localhost/mcp-demo:v1"
ports = ["127.0.0.1:{gate}:8080"]
health = {{ tcp = "127.0.0.1:{free_port()}", interval = "100ms", timeout = "100ms", retries = 1, start_period = "1m" }}
""",
    )
    definition = (node.folder / "services/bad.toml").read_text()
    probed = int(definition.partition('tcp = "127.0.0.1:')[2].partition('"')[0])
    ended: list[str] = []
    deploying = threading.Thread(target=lambda: ended.append(node.mcpctl("deploy", "bad", status=1).stderr))
    deploying.start()
    until(lambda: "bad-first" in node.pids())
    node.podman("run", "--detach", "--name", "wins", "-p", f"127.0.0.1:{port}:8080", "localhost/mcp-demo:v1")
    until(lambda: answers(port, "v1"))
    with socket.create_server(("127.0.0.1", probed)):
        deploying.join()
    (said,) = ended
    assert "wins has it: its network was set up again" in said
    assert "the service was rolled back" in said
    assert answer(port) == "v1"
    assert node.containers() == {"wins"}
