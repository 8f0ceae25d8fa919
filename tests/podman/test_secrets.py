"""Secrets on real podman, root's and a user's: set, rotated, removed; and a SIGKILL loses none."""

from __future__ import annotations

import base64
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.podman.node import Node, run, running
from tests.podman.rootless import RootlessPodman, rootless_node
from tests.podman.test_crash_matrix import ANY, Mortal
from tests.podman.test_lifecycle import outcomes
from tests.support.waiting import until

VAULT = """\
name = "vault"
node = "NODE"

[[components]]
name = "file"
image = "localhost/mcp-demo:v1"
secrets = ["vault-file", { name = "vault-both", target = "/etc/both", mode = "0400" }]

[[components]]
name = "env"
image = "localhost/mcp-demo:v1"
update = "start-first"
secrets = [{ name = "vault-env", env = "VALUE" }, { name = "vault-both", env = "BOTH" }]

[[components]]
name = "plain"
image = "localhost/mcp-demo:v1"
"""


@pytest.fixture(scope="module")
def rootless(shared_node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RootlessPodman]:
    with rootless_node(tmp_path_factory.mktemp("rootless"), shared_node) as node:
        yield node


def assign(node: Node, name: str, value: str, *options: str, status: int | None = 0) -> str:
    words = ("mcpctl", "secret", "set", name, "--node", node.name, *options)
    done = run(list(words), env=node.environment, stdin=value.encode(), status=status)
    return done.stdout + done.stderr


def inside(node: Node) -> dict[str, str]:
    """What the containers have."""
    file = node.podman("exec", "vault-file", "sh", "-c", "cat /run/secrets/vault-file; echo; cat /etc/both")
    env = node.podman("exec", "vault-env", "sh", "-c", "echo $VALUE; echo $BOTH")
    return dict(zip(("file", "both file", "env", "both env"), (file + "\n" + env).split(), strict=True))


def ids(node: Node) -> dict[str, str]:
    return {name: node.inspect(f"vault-{name}")["Id"] for name in ("file", "env", "plain")}


def planned(node: Node) -> dict[str, str]:
    (plan,) = node.json("plan", "vault")
    return {each["component"]: f"{each['action']}: {each['reason']}" for each in plan["components"]}


def listed(node: Node) -> dict[str, tuple[list[str], list[str]]]:
    return {each["name"]: (each["used_by"], each["outdated"]) for each in node.json("secret", "list")}


def replaced(node: Node) -> set[str]:
    """Deploys, and says what got another container."""
    before = ids(node)
    outcomes(node, "deploy", "vault")
    after = ids(node)
    assert set(planned(node).values()) == {"none: unchanged"}, "a plan after a deploy is quiet"
    return {name for name in before if before[name] != after[name]}


def of_both_kinds(node: Node) -> None:
    node.define("vault", VAULT)
    refused = node.mcpctl("plan", "vault", status=2).stderr
    assert f"`mcpctl secret set vault-file --node {node.name}` sets it" in refused
    for name in ("vault-file", "vault-env", "vault-both"):
        assert assign(node, name, f"{name}-1") == f"{name} has been created on {node.name}\n"
    assert "there is a secret vault-file already" in assign(node, "vault-file", "x", "--new", status=2)
    node.mcpctl("deploy", "vault")
    assert inside(node) == {
        "file": "vault-file-1",
        "both file": "vault-both-1",
        "env": "vault-env-1",
        "both env": "vault-both-1",
    }
    assert set(planned(node).values()) == {"none: unchanged"}

    # Each is replaced for its own secret, and a plan that was made before does not hold.
    (plan,) = node.json("plan", "vault")
    said = assign(node, "vault-file", "vault-file-2")
    assert "vault-file has a new value" in said
    assert "vault/file runs with another value of vault-file: `mcpctl deploy vault/file` gives it the new one" in said
    assert "secrets on the node changed" in node.mcpctl("deploy", "vault", "--plan", plan["plan_id"], status=1).stderr
    assert re.fullmatch(r"replace: secret vault-file changed \d+s ago", planned(node)["file"])
    assert listed(node)["vault-file"] == (["vault/file"], ["vault/file"])
    assert replaced(node) == {"file"}
    assign(node, "vault-env", "vault-env-2")
    assert re.fullmatch(r"replace: secret vault-env changed \d+s ago; the new one starts first", planned(node)["env"])
    assert replaced(node) == {"env"}
    assign(node, "vault-both", "vault-both-2")
    assert listed(node)["vault-both"] == (["vault/file", "vault/env"], ["vault/file", "vault/env"])
    # A variable is read at every start, a file is not.
    node.mcpctl("restart", "vault/env")
    assert listed(node)["vault-both"][1] == ["vault/file"]
    assert replaced(node) == {"file"}
    assert inside(node) == {
        "file": "vault-file-2",
        "both file": "vault-both-2",
        "env": "vault-env-2",
        "both env": "vault-both-2",
    }

    # Used, it stays; removed behind mcpd's back and set again, it is another one.
    for name, users in (("vault-file", "vault/file uses it"), ("vault-both", "vault/file, vault/env use it")):
        assert users in node.mcpctl("secret", "remove", name, "--node", node.name, status=1).stderr
    node.podman("secret", "rm", "vault-env")
    assign(node, "vault-env", "vault-env-3")
    assert listed(node)["vault-env"][1] == ["vault/env"]
    assert replaced(node) == {"env"}
    assert inside(node)["env"] == "vault-env-3"

    node.mcpctl("undeploy", "vault")
    for name in ("vault-file", "vault-env", "vault-both"):
        assert listed(node)[name] == ([], [])
        node.mcpctl("secret", "remove", name, "--node", node.name)
    assert listed(node) == {}
    assert node.podman("secret", "ls", "--quiet") == ""


def test_a_secret_is_set_rotated_and_removed(node: Node) -> None:
    of_both_kinds(node)


def test_and_so_with_a_users_own_podman(rootless: RootlessPodman) -> None:
    of_both_kinds(rootless)


def test_a_value_is_kept_byte_for_byte(node: Node, tmp_path: Path) -> None:
    value = bytes(range(256)) * 1999
    (tmp_path / "value").write_bytes(value)
    for _ in range(2):
        node.mcpctl("secret", "set", "vault-bytes", "--file", str(tmp_path / "value"))
        number = json.loads(node.podman("secret", "inspect", "vault-bytes"))[0]["ID"]
        assert stored(node)[number] == value
    node.mcpctl("secret", "remove", "vault-bytes")


def test_who_uses_it_without_mcp_is_named_too(node: Node) -> None:
    assign(node, "vault-hand", "1")
    node.podman("run", "-d", "--name", "hand", "--secret", "vault-hand", "localhost/mcp-demo:v1")
    assert "the container hand uses it" in node.mcpctl("secret", "remove", "vault-hand", status=1).stderr
    node.mcpctl("adopt", "hand")
    node.define("hand", node.mcpctl("service", "export", "hand", "--node", node.name).stdout)
    assign(node, "vault-hand", "2")
    assert listed(node)["vault-hand"] == (["hand/hand"], ["hand/hand"])
    (plan,) = node.json("plan", "hand")
    assert plan["components"][0]["reason"].startswith("secret vault-hand changed ")
    node.mcpctl("deploy", "hand")
    assert node.podman("exec", "hand", "cat", "/run/secrets/vault-hand") == "2"
    node.mcpctl("undeploy", "hand")
    node.mcpctl("secret", "remove", "vault-hand")


def stored(node: Node) -> dict[str, bytes]:
    """podman's values, by the ids of secrets."""
    file = node.folder / "podman/graph/secrets/filedriver/secretsdata.json"
    return {number: base64.b64decode(value) for number, value in json.loads(file.read_text()).items()}


def names(node: Node) -> list[str]:
    return sorted(node.podman("secret", "ls", "--format", "{{.Name}}").split())


@pytest.fixture
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    with running(Node(tmp_path_factory.mktemp("mortal") / "node", "n2")) as node:
        node.stop_daemon(signal.SIGTERM)
        found = Mortal(node)
        found.start()
        try:
            yield found
        finally:
            found.end()


def test_a_kill_between_any_two_steps_loses_no_secret(mortal: Mortal) -> None:
    node = mortal.node
    assign(node, "vault-kept", "0")
    mortal.passed()
    assign(node, "vault-kept", "1")
    boundaries = mortal.passed()
    assert len(boundaries) == 8, boundaries
    value, seen = "1", set()
    for number in range(len(boundaries)):
        new = f"new-{number}"
        mortal.arm(number)
        assign(node, "vault-kept", new, status=ANY)
        mortal.await_death()
        with node.podman_alone():  # its service has gone with mcpd
            seen.add(" ".join(names(node)))
        mortal.start()
        until(lambda: names(node) == ["vault-kept"], "what was begun is ended")
        (kept,) = stored(node).values()
        assert kept.decode() in (value, new), f"killed at {boundaries[number]}"
        value = kept.decode()
    assert seen == {"vault-kept", "mcp.next.vault-kept", "mcp.next.vault-kept vault-kept"}
    assert value == "new-7"
