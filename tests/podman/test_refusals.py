"""Bad input is refused with a clear message and exit status 2, and changes nothing on the node."""

from __future__ import annotations

import pytest

from tests.podman.node import Node
from tests.support.demo_service import demo

GOOD = 'name = "bad"\nnode = "NODE"\n[[components]]\nname = "web"\nimage = "localhost/mcp-demo:v1"\n'

BAD = {
    "unknown key": (GOOD + 'prots = ["80:80"]\n', "components[0].prots: unknown key; did you mean ports?"),
    "wrong type": (GOOD + 'env = "A=1"\n', "components[0].env: expected a table, found 'A=1'"),
    "bad image reference": (
        GOOD.replace("localhost/mcp-demo:v1", "Not An Image"),
        "components[0].image: 'Not An Image'",
    ),
    "duplicate component": (GOOD + '[[components]]\nname = "web"\nimage = "a:b"\n', "duplicate component 'web'"),
    "port 99999": (
        GOOD + 'ports = ["99999:80"]\n',
        "components[0].ports[0]: '99999:80' has port 99999; a port is 1 to",
    ),
    "volume without a target": (GOOD + 'volumes = ["data"]\n', "components[0].volumes[0]: 'data' mounts at 'data'"),
    "name differs from file": (GOOD.replace('"bad"', '"good"'), "name: is 'good', but the file is bad.toml"),
    "unknown node": (GOOD.replace("NODE", "nowhere"), "node: 'nowhere' is not a node in"),
    "name of another's container": (
        GOOD.replace('"web"', '"x"').replace('"bad"', '"bad"') + '[[components]]\nname = "y"\nimage = "a:b"\n',
        "its container name bad-x is also that of bad-x/bad-x",
    ),
    "5 MiB": (GOOD + "#" * (5 * 2**20), "is 5.0 MiB long; at most 1 MiB is read"),
    "not UTF-8": (GOOD + "# \udcff", "is not UTF-8"),
}


def intent(node: Node) -> list[object]:
    """What the registry wants, without what the monitor may see meanwhile."""
    wanted = ("component", "image", "desired", "spec_hash", "ports")
    return [
        (row["name"], row["active"], row["revision"], [[each[key] for key in wanted] for each in row["components"]])
        for row in node.json("list")
    ]


@pytest.mark.parametrize("case", BAD)
def test_a_bad_definition_changes_nothing(node: Node, case: str) -> None:
    text, message = BAD[case]
    demo(node)
    before, listed = node.pids(), intent(node)
    # A neighbour whose only container has the bare name that a component of the other would get.
    node.define("bad-x", GOOD.replace('"bad"', '"bad-x"').replace('"web"', '"bad-x"'))
    path = node.folder / "services/bad.toml"
    path.write_bytes(text.replace("NODE", node.name).encode(errors="surrogateescape"))
    for command in ("deploy", "stop", "start"):
        refused = node.mcpctl(command, "bad", status=2)
        assert message in refused.stderr
        assert str(path) in refused.stderr
        assert "Traceback" not in refused.stderr
    assert path.read_bytes() == text.replace("NODE", node.name).encode(errors="surrogateescape")
    assert node.pids() == before
    assert intent(node) == listed


def test_a_name_that_a_container_of_another_service_has_on_the_node_is_refused(node: Node) -> None:
    """The definition of the other service is gone from the folder, so only the node can know."""
    other = node.define("a-b", GOOD.replace('"bad"', '"a-b"').replace('"web"', '"c"'))
    node.mcpctl("deploy", "a-b")
    other.unlink()
    before = node.pids()
    node.define("a", GOOD.replace('"bad"', '"a"').replace('"web"', '"b-c"'))
    refused = node.mcpctl("deploy", "a", status=2)
    assert "a/b-c needs the container name a-b-c, which belongs to a-b/c; rename one of the two" in refused.stderr
    assert node.pids() == before


def test_a_name_that_a_foreign_container_has_is_refused(node: Node) -> None:
    node.podman("run", "--detach", "--name", "bad-web", "localhost/mcp-demo:v1")
    before = node.pids()
    node.define("bad", GOOD)
    refused = node.mcpctl("deploy", "bad", status=2)
    assert "which belongs to a container that mcp does not manage; adopt it" in refused.stderr
    assert node.pids() == before


def test_an_unknown_service_is_a_usage_error_with_a_suggestion(node: Node) -> None:
    demo(node)
    assert "did you mean demo?" in node.mcpctl("deploy", "dmo", status=2).stderr
    assert "no service nothing is deployed" in node.mcpctl("status", "nothing", status=2).stderr
    assert "has no component 'wbe'" in node.mcpctl("stop", "demo/wbe", status=2).stderr
