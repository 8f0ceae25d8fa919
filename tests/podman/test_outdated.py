"""`mcpctl outdated` against a real image registry with TLS and a password, and a node that has pulled from it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.podman.node import Node, running
from tests.podman.registry import PASSWORD, USER, Secured, secured

# As podman-login(1) leaves it in XDG_RUNTIME_DIR, which is `run` here.
AUTH = "run/containers/auth.json"
SERVICE = """\
name = "dated"
node = "NODE"
[[components]]
name = "web"
image = "REGISTRY/team/demo:1.0.0"
[[components]]
name = "local"
image = "localhost/mcp-demo:v1"
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def home(tmp_path: Path, registry: Secured) -> Path:
    """Of somebody who has the CA of the registry where podman looks for it, too."""
    home = tmp_path / "home"
    folder = home / ".config/containers/certs.d" / registry.address
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(registry.ca.read_bytes())
    (home / AUTH).parent.mkdir(parents=True)
    return home


@pytest.fixture
def node(tmp_path: Path, registry: Secured, home: Path) -> Iterator[Node]:
    """A node that has pulled team/demo:1.0.0 and runs it."""
    log_in(home, registry, PASSWORD)
    podmans = {"SSL_CERT_FILE": str(registry.ca), "XDG_RUNTIME_DIR": str(home / "run")}
    with running(Node(tmp_path / "node", "dated", **podmans)) as node:
        node.environment |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run")}
        push(node, registry, "v1", "1.0.0")
        node.define("dated", SERVICE.replace("REGISTRY", registry.address))
        node.mcpctl("deploy", "dated")
        yield node


def log_in(home: Path, registry: Secured, password: str) -> None:
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (home / AUTH).write_text(json.dumps({"auths": {registry.address: {"auth": auth}}}))


def push(node: Node, registry: Secured, version: str, tag: str) -> None:
    """Gives the demo image of that version to the registry, from the node's storage, and leaves no name there."""
    with node.podman_alone():
        name = f"{registry.address}/team/demo:{tag}"
        certificates = f"{node.environment['HOME']}/.config/containers/certs.d/{registry.address}"
        node.podman("push", "--cert-dir", certificates, f"localhost/mcp-demo:{version}", name)


def web(node: Node, *options: str, status: int) -> dict[str, Any]:
    done = node.mcpctl("outdated", *options, "--output", "json", status=status)
    assert PASSWORD not in done.stdout + done.stderr
    rows = {row["component"]: row for row in json.loads(done.stdout)}
    assert rows["local"]["state"] == "local"
    found: dict[str, Any] = rows["web"]
    return found


def test_what_a_registry_has_by_now_is_told(node: Node, registry: Secured, home: Path) -> None:
    # What the registry has is what the node has pulled.
    assert web(node, "--exit-code", status=0)["state"] == "current"
    # Another image under the same tag.
    push(node, registry, "v2", "1.0.0")
    row = web(node, "--exit-code", status=3)
    assert (row["state"], row["newest"]) == ("rebuilt", "")
    assert "the registry has sha256:" in row["message"]
    # A newer version, beside tags that are none.
    for tag in ("1.1.0", "1.2.0-rc.1", "latest"):
        push(node, registry, "v2", tag)
    row = web(node, "--exit-code", status=3)
    assert (row["state"], row["newest"], row["newer"]) == ("rebuilt", "1.1.0", ["1.1.0"])
    # The same image again: only the version is newer.
    push(node, registry, "v1", "1.0.0")
    assert web(node, "dated", status=0)["state"] == "newer"
    # Nothing was pulled.
    assert "1.1.0" not in node.podman("images")
    # What cannot be known is said in words, and is not current.
    log_in(home, registry, "wrong")
    row = web(node, "--exit-code", status=4)
    assert row["state"] == "unknown"
    assert "wrong user name or password" in row["message"]
    (home / AUTH).unlink()
    assert f"run `podman login {registry.address}`" in web(node, status=4)["message"]
    log_in(home, registry, PASSWORD)
    (home / ".config/containers/certs.d" / registry.address / "ca.crt").unlink()
    assert f"/etc/containers/certs.d/{registry.address}/ca.crt" in web(node, status=4)["message"]
