"""What goes wrong on real nodes: every change ends reverted, within a bounded time, with words that help."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.podman.node import Node, running
from tests.podman.registry import plain
from tests.support.demo_service import answer, demo, edit, states
from tests.support.waiting import free_port

# Far more than any of these may take: a deploy that hangs is what this is about.
BOUND_S = 60.0

STUBBORN = """
name = "stubborn"
node = "NODE"
[[components]]
name = "stubborn"
image = "localhost/mcp-demo:v1"
stop_timeout = "1s"
cmd = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]
"""


def failing(node: Node, service: str) -> str:
    """Deploys what must fail, and returns what was said about it."""
    start = time.monotonic()
    said = node.mcpctl("deploy", service, status=1).stderr
    assert time.monotonic() - start < BOUND_S
    assert "the service was rolled back" in said
    (operation,) = node.json("operations", service, "--limit", "1")
    assert operation["state"] == "reverted"
    return said


def refused(node: Node, service: str) -> str:
    """Deploys what must be refused before anything is touched, and returns what was said about it."""
    before = node.pids()
    said = node.mcpctl("deploy", service, status=2).stderr
    # A deploy says its number, and that it looks, before it says why it does nothing.
    assert said.endswith(node.mcpctl("plan", service, status=2).stderr)
    assert node.pids() == before
    return said


def test_a_port_that_another_process_has_is_refused_and_names_it(node: Node) -> None:
    port = demo(node)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        edit(node, f"127.0.0.1:{port}:8080", f"127.0.0.1:{taken.getsockname()[1]}:8080")
        said = refused(node, "demo")
        assert f"(pid {os.getpid()}) has; end it, or change `ports`" in said
    assert answer(port) == "v1"


def test_a_volume_that_does_not_exist_is_refused_and_names_the_path(node: Node) -> None:
    port = demo(node)
    missing = node.folder / "no-such-folder"
    edit(node, 'depends_on = ["worker"]', f'depends_on = ["worker"]\nvolumes = ["{missing}:/data"]')
    said = refused(node, "demo")
    assert f"mounts {missing}, which does not exist on the node: create it there" in said
    assert answer(port) == "v1"


@pytest.mark.parametrize("program", ["no-such-program", "/bin/no-such-program"])
def test_a_program_that_the_image_does_not_have_reverts(node: Node, program: str) -> None:
    port = demo(node)
    edit(node, 'depends_on = ["worker"]', f'depends_on = ["worker"]\ncmd = ["{program}"]')
    assert "localhost/mcp-demo:v1 has no such program: check `entrypoint` and `cmd`" in failing(node, "demo")
    assert answer(port) == "v1"


def test_a_secret_that_does_not_exist_is_refused(node: Node) -> None:
    port = demo(node)
    edit(node, 'depends_on = ["worker"]', 'depends_on = ["worker"]\nsecrets = ["no-such-secret"]')
    assert "`mcpctl secret set no-such-secret --node n1` sets it" in refused(node, "demo")
    assert answer(port) == "v1"


def test_a_secret_that_was_set_again_behind_mcpds_back_is_in_the_plan(node: Node) -> None:
    demo(node)
    edit(node, 'depends_on = ["worker"]', 'depends_on = ["worker"]\nsecrets = ["key"]')
    node.podman("secret", "create", "key", "-", stdin=b"old")
    try:
        node.mcpctl("deploy", "demo")
        assert "secret" not in node.mcpctl("plan", "demo").stderr
        node.podman("secret", "rm", "key")
        assert "needs the secret key, which this node does not have" in node.mcpctl("plan", "demo").stderr
        node.podman("secret", "create", "key", "-", stdin=b"new")
        assert "demo/web: replace (secret key changed " in node.mcpctl("plan", "demo").stdout
        node.mcpctl("deploy", "demo")
        assert "secret" not in node.mcpctl("plan", "demo").stdout
        assert node.podman("exec", "demo-web", "cat", "/run/secrets/key") == "new"
    finally:
        node.podman("secret", "rm", "--all")


def test_a_container_that_ignores_sigterm_is_killed_after_its_stop_timeout(node: Node) -> None:
    node.define("stubborn", STUBBORN)
    node.mcpctl("deploy", "stubborn")
    node.define("stubborn", STUBBORN.replace("mcp-demo:v1", "mcp-demo:v2"))
    start = time.monotonic()
    node.mcpctl("deploy", "stubborn")
    assert time.monotonic() - start < BOUND_S
    assert [row["version"] for row in node.json("ps")] == ["v2"]


def test_one_that_ignores_sigterm_comes_back_when_its_successor_fails(node: Node) -> None:
    node.define("stubborn", STUBBORN)
    node.mcpctl("deploy", "stubborn")
    broken = STUBBORN.replace("mcp-demo:v1", "mcp-demo:broken").replace("cmd = ", "# cmd = ")
    node.define("stubborn", broken)
    assert "cannot open /etc/broken.conf" in failing(node, "stubborn")
    assert states(node) == {"stubborn": "running"}


def test_a_probe_that_never_succeeds_reverts(node: Node) -> None:
    port = demo(node)
    probe = '[components.health]\ntcp = "127.0.0.1:1"\ninterval = "200ms"\nretries = 2\n'
    edit(node, 'depends_on = ["worker"]\n', f'depends_on = ["worker"]\n{probe}')
    edit(node, 'mcp-demo:v1"\nports', 'mcp-demo:v2"\nports')
    said = failing(node, "demo")
    assert "it runs, but is not healthy" in said
    assert answer(port) == "v1"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, of 150 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--recursive", folder], check=True)


def test_a_full_disk_reverts_a_deploy_and_what_runs_runs_on(small_disk: Path, tmp_path: Path) -> None:
    with plain(tmp_path) as registry:
        registries = tmp_path / "registries.conf"
        registries.write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
        with running(Node(small_disk / "node", "full", CONTAINERS_REGISTRIES_CONF=str(registries))) as node:
            big = f"{registry}/big:v1"
            layer = small_disk / "layer.tar"
            payload = small_disk / "payload"
            payload.write_bytes(os.urandom(20 << 20))
            subprocess.run(["tar", "-C", small_disk, "-cf", layer, "payload"], check=True)
            payload.unlink()
            with node.podman_alone():
                node.podman("import", str(layer), big)
                layer.unlink()
                node.podman("push", "--tls-verify=false", big)
                node.podman("rmi", big)
            port = demo(node)
            before = node.pids()
            free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
            (small_disk / "filler").write_bytes(b"\0" * (free - (10 << 20)))
            edit(node, 'mcp-demo:v1"\nports', 'mcp-demo:v1"\nvolumes = ["/tmp:/data"]\nports')
            edit(node, "localhost/mcp-demo:v1", big)
            said = failing(node, "demo")
            assert "no space left on device" in said
            assert "the node's disk is full where podman keeps its storage: `podman system df`" in said
            assert answer(port) == "v1"
            assert node.pids() == before
            (small_disk / "filler").unlink()


def recovery(node: Node, *options: str) -> dict[str, str]:
    lines = [json.loads(line) for line in node.mcpctl("recover", *options, "--output", "json").stdout.splitlines()]
    return {line["outcome"]["component"]: line["outcome"]["result"] for line in lines if "outcome" in line}


def test_what_podman_lost_is_recovered_from_the_images_that_are_here(node: Node) -> None:
    port = demo(node)
    node.podman("rm", "--all", "--force", "--time", "0")
    assert recovery(node, "--dry-run") == {"web": "created", "worker": "created"}
    assert node.containers() == set()
    node.mcpctl("recover")
    assert answer(port) == "v1"
    assert states(node) == {"web": "running", "worker": "running"}
    assert node.mcpctl("status", "--exit-code").returncode == 0
    pids = node.pids()
    node.mcpctl("recover")
    assert node.pids() == pids
    assert recovery(node) == {"web": "unchanged", "worker": "unchanged"}


@pytest.mark.parametrize("registry", ["127.0.0.1", "localhost"])
def test_what_cannot_be_recovered_is_named_with_what_would_bring_its_image(node: Node, registry: str) -> None:
    image, remedy = "localhost/gone:v1", "`mcpctl image push solo/solo` brings it from your machine; then recover again"
    if registry != "localhost":
        image = f"{registry}:{free_port()}/team/gone:v1"
        remedy = f"`podman pull {image}` there pulls it again, `mcpctl image push solo/solo` brings it"
    node.podman("tag", "localhost/mcp-demo:v1", image)
    node.define("solo", f'name = "solo"\nnode = "NODE"\n[[components]]\nname = "solo"\nimage = "{image}"\n')
    demo(node)
    node.mcpctl("deploy", "solo")
    node.podman("rm", "--all", "--force", "--time", "0")
    node.podman("rmi", image)
    failed = node.mcpctl("recover", status=1)
    assert f"{image} is not on this node: {remedy}" in failed.stdout
    assert states(node) == {"web": "running", "worker": "running", "solo": "removed"}


def test_a_network_that_a_failed_deploy_made_goes_and_one_that_is_used_stays(node: Node) -> None:
    text = STUBBORN.replace("mcp-demo:v1", "mcp-demo:broken").replace("cmd = ", "# cmd = ")
    node.define("stubborn", text + 'network = "testnet"\n')
    failing(node, "stubborn")
    assert "testnet" not in node.podman("network", "ls", "--format", "{{.Name}}").split()
    node.define("stubborn", STUBBORN + 'network = "testnet"\n')
    node.mcpctl("deploy", "stubborn")
    node.define("stubborn", text + 'network = "testnet"\n')
    failing(node, "stubborn")
    assert "testnet" in node.podman("network", "ls", "--format", "{{.Name}}").split()
    assert states(node) == {"stubborn": "running"}
