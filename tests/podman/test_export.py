"""What is exported makes the same containers: by `podman kube play`, by podman-compose, and by Quadlet."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcpctl.definitions.exporting import toml
from protos.parts import Health
from protos.spec import Component, Service
from tests.podman import quadlet
from tests.podman.node import Node, run
from tests.support.waiting import free_port

IMAGE = "localhost/mcp-demo:v1"
HOSTILE = (
    "'single' \"double\"",
    "$HOME ${HOME} $$ $(id) %h %%",
    "back\\slash\\n\\",
    "line\nbreak\r\ttab\v\f\a\b",
    "\x01\x1b[2J\x7f",
    "é ☃ 🦀 \u2028",
    "# ; no comment",
    " lead and trail ",
)
LOOP = "trap 'exit 0' TERM; while :; do sleep 1; done"
FULL = """\
name = "full"
node = "NODE"

[[components]]
name = "api"
image = "localhost/mcp-demo:v1"
user = "1000:1001"
restart = "on-failure"
ports = ["127.0.0.1:PORT:8080", "127.0.0.1:PORT:8080/udp"]
volumes = ["FOLDER:/data:ro", "full-cache:/cache"]
cmd = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done", "a b", "$HOME %h", '"q" \\\\ back']
env = { LOG_LEVEL = "info", ODD = "a b $HOME ${X} %h 'q' \\"d\\"\\nnext line", YES = "yes" }
depends_on = ["worker"]
stop_timeout = "3s"

[components.resources]
memory = "64MiB"
cpus = 0.5
pids = 77

[[components]]
name = "worker"
image = "localhost/mcp-demo:v1"
stop_timeout = "2s"
"""


@pytest.fixture
def full(node: Node, tmp_path: Path) -> Iterator[Node]:
    """A node that has the definition above, and none of its containers."""
    (tmp_path / "data").mkdir()
    node.define("full", FULL.replace("PORT", str(free_port())).replace("FOLDER", str(tmp_path / "data")))
    try:
        yield node
    finally:
        node.podman("rm", "--all", "--force", "--time", "0", status=None)
        node.podman("volume", "rm", "--force", "full-cache")


def export(node: Node, form: str, to: Path) -> list[str]:
    """Returns the paths of what was lost."""
    done = node.mcpctl("service", "export", "full", "--format", form, "--to", str(to))
    return [line.split(": ")[1] for line in done.stderr.splitlines() if line.startswith("lost: ")]


def deployed(node: Node) -> dict[str, dict[str, Any]]:
    """What a deploy makes, by component; nothing of it is left."""
    node.mcpctl("deploy", "full")
    found = {name: facts(node.inspect(f"full-{name}")) for name in ("api", "worker")}
    node.mcpctl("undeploy", "full")
    assert not node.containers()
    assert found["api"]["ports"], "what is compared is there"
    return found


def facts(inspected: dict[str, Any]) -> dict[str, Any]:
    config, host = inspected["Config"], inspected["HostConfig"]
    # What podman itself puts there depends on the network and the name.
    env = dict(each.split("=", 1) for each in config["Env"])
    return {
        "image": inspected["Image"],
        "cmd": config["Cmd"],
        "entrypoint": config["Entrypoint"],
        "user": config["User"],
        "env": {name: value for name, value in env.items() if name in ("LOG_LEVEL", "ODD", "YES")},
        "ports": {
            (key, each["HostIp"], each["HostPort"])
            for key, bindings in inspected["NetworkSettings"]["Ports"].items()
            for each in bindings or ()
        },
        "mounts": {
            (each["Type"], each.get("Name") or each["Source"], each["Destination"], each["RW"])
            for each in inspected["Mounts"]
        },
        "memory": host["Memory"],
        "cpu": (host["CpuQuota"], host["CpuPeriod"]),
        "restart": host["RestartPolicy"]["Name"],
    }


def limited(inspected: dict[str, Any]) -> tuple[int, int]:
    return inspected["HostConfig"]["PidsLimit"], inspected["Config"]["StopTimeout"]


# -- a definition


def test_the_definition_that_a_registry_gives_changes_nothing(full: Node) -> None:
    full.mcpctl("deploy", "full")
    path = full.folder / "services/full.toml"
    path.unlink()
    done = full.mcpctl("service", "export", "full")
    assert f"{path}: written, from the registry of node {full.name}" in done.stderr
    (plan,) = full.json("plan", "full")
    assert {each["action"] for each in plan["components"]} == {"none"}


# -- kube


@pytest.fixture
def played(full: Node, tmp_path: Path) -> Iterator[Path]:
    """A file to play; what was played is gone afterwards."""
    before = _listed(full, "images"), _listed(full, "network", "ls")
    path = tmp_path / "full.yaml"
    try:
        yield path
    finally:
        full.podman("kube", "down", str(path), status=None)
        full.podman("pod", "rm", "--all", "--force", "--time", "0")
        # podman's own, made by the first Pod: its pause image and its network.
        for image in _listed(full, "images") - before[0]:
            full.podman("rmi", "--force", image)
        for network in _listed(full, "network", "ls") - before[1]:
            full.podman("network", "rm", "--force", network)


def _listed(node: Node, *words: str) -> set[str]:
    return set(node.podman(*words, "--quiet").split())


def test_podman_plays_the_same_containers(full: Node, played: Path) -> None:
    lost = export(full, "kube", played)
    assert lost == [
        "components[worker].name",
        "components[worker].stop_timeout",
        "components[api].name",
        "components[api].depends_on",
        "components[api].stop_timeout",
        "components[api].resources.pids",
    ]
    expected = deployed(full)
    full.podman("kube", "play", str(played))
    found = {name: facts(full.inspect(f"full-{name}-{name}")) for name in ("api", "worker")}
    # Kubernetes' word for what podman calls "no".
    found["worker"]["restart"] = {"never": "no"}.get(found["worker"]["restart"], found["worker"]["restart"])
    assert found == expected
    full.podman("kube", "down", str(played))
    assert not full.containers()


def test_a_single_component_keeps_its_containers_name(full: Node, played: Path) -> None:
    text = f'name = "full"\nnode = "NODE"\n[[components]]\nname = "api"\nimage = "{IMAGE}"\n'
    full.define("full", text)
    assert export(full, "kube", played) == []
    full.podman("kube", "play", str(played))
    assert "full-api" in full.containers()


# -- compose


def compose(node: Node, file: Path, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
    """podman-compose from our own environment, with the node's podman."""
    return run([sys.executable, "-m", "podman_compose", "-f", str(file), *words], env=node.environment, status=status)


def test_compose_makes_the_same_containers(full: Node, tmp_path: Path) -> None:
    pytest.importorskip("podman_compose", reason="podman-compose is not installed here")
    file = tmp_path / "compose.yaml"
    assert export(full, "compose", file) == []
    expected = deployed(full)
    networks = _listed(full, "network", "ls")
    try:
        compose(full, file, "up", "--detach")
        inspected = {name: full.inspect(f"full-{name}") for name in ("api", "worker")}
        assert {name: facts(each) for name, each in inspected.items()} == expected
        assert limited(inspected["api"])[0] == 77
    finally:
        compose(full, file, "down", status=None)
        for network in _listed(full, "network", "ls") - networks:
            full.podman("network", "rm", "--force", network)
    assert not full.containers()


# -- quadlet


def test_quadlet_runs_the_same_containers(full: Node, tmp_path: Path) -> None:
    quadlet.needed()
    definition = full.folder / "services/full.toml"
    definition.write_text(definition.read_text().replace('user = "1000', 'network = "fullnet"\nuser = "1000'))
    folder = tmp_path / "units"
    assert export(full, "quadlet", folder) == []
    units = quadlet.units(folder)
    assert set(units) == {
        *("full-api.service", "full-worker.service"),
        *("full-network.service", "fullnet-network.service"),
    }
    api = units["full-api.service"]
    place = api.index(IMAGE)
    assert api[place + 1 :] == ["/bin/sh", "-c", LOOP, "a b", "$HOME %h", r'"q" \\ back']
    assert quadlet.option(api, "--env") == {
        "LOG_LEVEL=info",
        "ODD=a b $HOME ${X} %h 'q' \"d\"\nnext line",
        "YES=yes",
    }
    (port,) = {each.split(":")[1] for each in quadlet.option(api, "--publish")}
    assert quadlet.option(api, "--publish") == {f"127.0.0.1:{port}:8080", f"127.0.0.1:{port}:8080/udp"}
    assert quadlet.option(api, "-v") == {f"{tmp_path}/data:/data:ro", "full-cache:/cache"}
    assert quadlet.option(api, "--user") == {"1000:1001"}
    assert quadlet.option(api, "--name") == {"full-api"}
    assert quadlet.option(api, "--network") == {"fullnet"}
    assert quadlet.option(api, "--memory") == {str(64 * 2**20) + "b"}
    assert quadlet.option(api, "--pids-limit") == {"77"}
    assert quadlet.option(api, "--cpus") == {"0.5"}
    assert quadlet.option(api, "--stop-timeout") == {"3"}


def test_quadlet_keeps_every_character(full: Node, tmp_path: Path) -> None:
    quadlet.needed()
    probe = ("sh", "-c", "test \"$A\" = 'b c'\n% \\n")
    components = (
        Component("api", IMAGE, cmd=HOSTILE, env={"A": HOSTILE[0], "B": HOSTILE[1]}, health=Health(cmd=probe)),
        Component("one", IMAGE, volumes=("/a\tb:/c",), depends_on=("api",), health=Health(cmd=("/bin/a b",))),
    )
    (full.folder / "services/full.toml").write_text(toml.text(Service("full", full.name, components)))
    assert export(full, "quadlet", tmp_path / "units") == []
    units = quadlet.units(tmp_path / "units")
    api, one = (units[f"full-{name}.service"] for name in ("api", "one"))
    assert tuple(api[api.index(IMAGE) + 1 :]) == HOSTILE
    assert quadlet.option(api, "--env") == {f"A={HOSTILE[0]}", f"B={HOSTILE[1]}"}
    assert [json.loads(each) for each in quadlet.option(api, "--health-cmd")] == [list(probe)]
    assert [json.loads(each) for each in quadlet.option(one, "--health-cmd")] == [["'/bin/a b'"]]
    assert quadlet.option(one, "--volume") == {"/a\tb:/c"}
    assert quadlet.option(api, "--sdnotify") == {"healthy"}


def test_systemds_words_are_read_as_systemd_does() -> None:
    assert quadlet.systemd_words(r'/bin/podman "a b" $$x "d\"q\" \\ %%h" "l\nm"') == [
        "/bin/podman",
        "a b",
        "$x",
        'd"q" \\ %h',
        "l\nm",
    ]
