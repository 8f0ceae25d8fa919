"""`mcpd check` beside a real podman: what it says of a folder is what a container then meets there (audit S4)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.podman.node import Node, run
from tests.podman.rootless import RootlessPodman, rootless_node
from tests.support.waiting import until

# It says all the time what it can do.
SERVICE = """\
name = "web"
node = "NODE"
[[components]]
name = "web"
image = "localhost/mcp-demo:v1"
user = "1000:1000"
volumes = ["FOLDER:/data"]
cmd = ["sh", "-c", '''
trap 'exit 0' TERM
while :; do
    can=can
    ls /data >/dev/null 2>&1 && can="$can read"
    touch /data/x 2>/dev/null && rm /data/x && can="$can write"
    echo "$can"
    sleep 0.1
done''']
"""


def check(node: Node, *, status: int | None = 0) -> dict[str, dict[str, str]]:
    """Every finding by its name."""
    argv = ["mcpd", "check", "--output", "json", "--config", str(node.folder / "mcpd.toml")]
    return {each["name"]: each for each in json.loads(run(argv, env=node.environment, status=status).stdout)}


@pytest.fixture(scope="module", params=["root", "rootless"])
def web(request: pytest.FixtureRequest, shared_node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose service mounts its folder below the files root; its containers are root's, or an ordinary user's."""
    if request.param == "root":
        yield from _deployed(shared_node)
        return
    with rootless_node(tmp_path_factory.mktemp("rootless"), shared_node) as node:
        settings = node.folder / "mcpd.toml"
        settings.write_text(settings.read_text().replace('root = "/srv"', f'root = "{node.folder}/srv"'))
        yield from _deployed(node)


def _deployed(node: Node) -> Iterator[Node]:
    node.clear()
    folder(node).mkdir(parents=True)
    node.define("web", SERVICE.replace("FOLDER", str(folder(node))))
    node.mcpctl("deploy", "web")
    yield node
    node.clear()


def folder(node: Node) -> Path:
    return node.folder / "srv/web"


def id_on_the_machine(node: Node) -> int:
    """Who the container's user is, as the kernel has it."""
    return Path(f"/proc/{node.pids()['web']}").stat().st_uid


def met(node: Node) -> str:
    """What the container can do to its folder now."""
    before = len(node.podman("logs", "web").splitlines())
    lines: list[str] = []

    def said() -> bool:
        lines[:] = node.podman("logs", "web").splitlines()[before:]
        return len(lines) > 1  # the first may be of a look that began before

    until(said)
    return lines[1]


@pytest.mark.parametrize("given", ["container", "group", "nobody's", "shown"])
def test_what_it_says_of_a_folder_is_what_the_container_meets(web: Node, given: str) -> None:
    container, other = id_on_the_machine(web), 12345
    uid, gid, mode, status, expected = {
        "container": (container, container, 0o700, "OK", "can read write"),
        "group": (other, container, 0o770, "OK", "can read write"),
        "nobody's": (other, other, 0o700, "FAILURE", "can"),
        "shown": (other, other, 0o755, "WARNING", "can read"),
    }[given]
    os.chown(folder(web), uid, gid)
    folder(web).chmod(mode)
    found = check(web, status=int(status == "FAILURE"))[str(folder(web))]
    assert found["status"] == status, found
    assert met(web) == expected
    assert bool(found["remedy"]) is (status != "OK")


def test_the_remedy_mends_it(web: Node) -> None:
    os.chown(folder(web), 12345, 12345)
    folder(web).chmod(0o700)
    found = check(web, status=1)[str(folder(web))]
    assert found["remedy"].startswith("chown -R ")
    run(["sh", "-c", found["remedy"]], env=web.environment)
    assert check(web)[str(folder(web))]["status"] == "OK"


def test_a_node_that_runs_has_no_failure(web: Node) -> None:
    os.chown(folder(web), id_on_the_machine(web), id_on_the_machine(web))
    folder(web).chmod(0o700)
    found = check(web)
    for name in ("podman service", "podman", "OCI runtime", "network backend", "address", "database", "tokens"):
        assert found[name]["status"] == "OK", found[name]
    if isinstance(web, RootlessPodman):
        assert found["subuid"]["status"] == found["subgid"]["status"] == "OK"
        assert found["user"]["status"] == "OK"
    else:
        assert found["user"]["status"] == "WARNING"


def test_where_mcpd_would_run_podmans_service_one_is_started_and_ended(node: Node, tmp_path: Path) -> None:
    """Of a node that does not run: with the same podman, another configuration."""
    run(["mcpd", "init", str(tmp_path / "n"), "--node", "n", "--address", "127.0.0.1:1"], env=node.environment)
    argv = ["mcpd", "check", "--output", "json", "--config", str(tmp_path / "n/mcpd.toml")]
    with node.podman_alone():
        done = run(argv, env=node.environment | {"TMPDIR": str(tmp_path)}, status=None)
    found = {each["name"]: each for each in json.loads(done.stdout)}
    assert found["podman service"]["status"] == "OK", found
    assert "starts and answers" in found["podman service"]["words"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n"]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert f"{tmp_path}/mcpd-check-".encode() not in process.read_bytes()
        except OSError:
            continue
