"""Images come from a real registry when the node does not have them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.podman.node import Node, running
from tests.podman.registry import PASSWORD, USER, plain, secured
from tests.support.waiting import free_port

IMAGE = """\
name = "pulled"
node = "NODE"
[[components]]
name = "web"
image = "REGISTRY/team/demo:TAG"
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a docker-registry on loopback."""
    with plain(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="module")
def pulling(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose podman may speak plain HTTP to the registry, where the demo image is."""
    folder = tmp_path_factory.mktemp("pulling")
    registries = folder / "registries.conf"
    registries.write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
    with running(Node(folder / "node", "puller", CONTAINERS_REGISTRIES_CONF=str(registries))) as node:
        for tag in ("v1", "v2"):
            node.podman("tag", f"localhost/mcp-demo:{tag}", f"{registry}/team/demo:{tag}")
            node.podman("push", "--tls-verify=false", f"{registry}/team/demo:{tag}")
            node.podman("rmi", f"{registry}/team/demo:{tag}")
        yield node


def test_a_missing_image_is_pulled_with_its_progress_streamed(pulling: Node, registry: str) -> None:
    pulling.define("pulled", IMAGE.replace("REGISTRY", registry).replace("TAG", "v1"))
    lines = [json.loads(line) for line in pulling.mcpctl("deploy", "pulled", "--output", "json").stdout.splitlines()]
    pulls = [each["progress"]["message"] for each in lines if each.get("progress", {}).get("step") == "pull"]
    assert pulls[0] == f"pulling {registry}/team/demo:v1"
    assert any("Copying" in message or "Writing" in message for message in pulls)
    (row,) = pulling.json("ps")
    assert (row["version"], row["observed"]) == ("v1", "running")


def test_an_image_that_is_there_is_not_pulled(pulling: Node, registry: str) -> None:
    pulling.define("pulled", IMAGE.replace("REGISTRY", registry).replace("TAG", "v1"))
    pulling.mcpctl("deploy", "pulled")
    lines = pulling.mcpctl("deploy", "pulled", "--force", "--output", "json").stdout
    assert '"pull"' not in lines


def test_a_tag_that_the_registry_does_not_have_changes_nothing_and_is_named(pulling: Node, registry: str) -> None:
    pulling.define("pulled", IMAGE.replace("REGISTRY", registry).replace("TAG", "v1"))
    pulling.mcpctl("deploy", "pulled")
    before = pulling.pids()
    pulling.define("pulled", IMAGE.replace("REGISTRY", registry).replace("TAG", "v9"))
    failed = pulling.mcpctl("deploy", "pulled", status=1)
    assert "web failed at pull" in failed.stderr
    assert f"the image registry has no {registry}/team/demo:v9" in failed.stderr
    assert pulling.pids() == before


def test_a_registry_that_does_not_answer_changes_nothing(pulling: Node, registry: str) -> None:
    pulling.define("pulled", IMAGE.replace("REGISTRY", registry).replace("TAG", "v1"))
    pulling.mcpctl("deploy", "pulled")
    before = pulling.pids()
    pulling.define("pulled", IMAGE.replace("REGISTRY", f"127.0.0.1:{free_port()}").replace("TAG", "v1"))
    failed = pulling.mcpctl("deploy", "pulled", status=1)
    assert "web failed at pull" in failed.stderr
    assert "cannot be reached from the node" in failed.stderr
    assert pulling.pids() == before


def test_a_local_image_that_is_missing_is_not_looked_for_in_a_registry(pulling: Node) -> None:
    pulling.define("pulled", IMAGE.replace("REGISTRY/team/demo:TAG", "localhost/nowhere:v1"))
    failed = pulling.mcpctl("deploy", "pulled", status=1)
    assert "localhost/nowhere:v1 is not on this node, and localhost/ is not an image registry" in failed.stderr
    Path(pulling.folder / "services/pulled.toml").unlink()


def test_a_registry_with_tls_and_a_password_names_the_login_that_it_needs_and_takes_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Trusted by its CA, with the credentials of the daemon's user, as podman-login(1) leaves them."""
    folder = tmp_path_factory.mktemp("secured")
    with secured(folder) as registry:
        image, auth = f"{registry.address}/team/demo:v1", folder / "run/containers/auth.json"
        auth.parent.mkdir(parents=True)
        given = {"SSL_CERT_FILE": str(registry.ca), "XDG_RUNTIME_DIR": str(folder / "run")}
        with running(Node(folder / "node", "login", **given)) as node:
            with node.podman_alone():
                login = ("login", "--authfile", str(folder / "other.json"), "--username", USER, "--password-stdin")
                node.environment |= given
                node.podman(*login, registry.address, stdin=PASSWORD.encode())
                node.podman("push", "--authfile", str(folder / "other.json"), "localhost/mcp-demo:v1", image)
            node.define("pulled", IMAGE.replace("REGISTRY/team/demo:TAG", image))
            refused = node.mcpctl("deploy", "pulled", status=1)
            assert f"`podman login {registry.address}` as user" in refused.stderr
            assert PASSWORD not in node.log
            assert node.json("ps") == []
            (folder / "other.json").rename(auth)
            node.mcpctl("deploy", "pulled")
            assert [row["observed"] for row in node.json("ps")] == ["running"]
            assert PASSWORD not in node.log


def test_plan_says_that_a_tag_points_to_another_image_by_now(pulling: Node, registry: str) -> None:
    pulling.define("pulled", IMAGE.replace("REGISTRY", registry).replace("TAG", "v1"))
    pulling.mcpctl("deploy", "pulled")
    pulling.podman("tag", "localhost/mcp-demo:v2", f"{registry}/team/demo:v1")
    said = pulling.mcpctl("plan", "pulled")
    assert f"pulled/web: {registry}/team/demo:v1 now points to" in said.stderr
    pulling.podman("rmi", "--force", f"{registry}/team/demo:v1")
