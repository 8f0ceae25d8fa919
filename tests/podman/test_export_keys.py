"""Exports of keys beyond an image and a port, played by podman: the container is the one that podman-run(1) makes."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcpctl.definitions import exporting
from mcpctl.definitions.exporting.formats import Format
from tests.podman import quadlet
from tests.podman.node import Node, run
from tests.support.every_key import example

IMAGE = "localhost/mcp-demo:v1"
LOOP = "trap 'exit 0' TERM INT; while :; do sleep 1; done"
DEFINITION = f"""\
name = "keys"
node = "NODE"

[[components]]
name = "api"
image = "{IMAGE}"
entrypoint = ["/bin/sh", "-c"]
cmd = ["{LOOP}", "a b", "$HOME"]
workdir = "/tmp"
hostname = "web"
user = "1000:1000"
group_add = ["44"]
add_hosts = ["a.example.net:10.0.0.1"]
dns = ["9.9.9.9"]
dns_search = ["example.net"]
dns_options = ["ndots:1"]
networks = ["keys", {{ name = "keys-front", aliases = ["shop"], ip = "10.89.77.5" }}]
read_only = true
tty = true
labels = {{ "a.b" = "c" }}
annotations = {{ "d.e" = "f g" }}
cap_add = ["NET_ADMIN"]
cap_drop = ["CHOWN"]
security_opt = ["no-new-privileges"]
sysctls = {{ "net.ipv4.ip_unprivileged_port_start" = "80" }}
depends_on = ["migrate"]
MORE
[components.resources]
memory = "64MiB"
memory_reservation = "32MiB"

[[components]]
name = "migrate"
image = "{IMAGE}"
oneshot = true
entrypoint = ["/bin/true"]

[networks.keys-front]
subnets = ["10.89.77.0/24"]
labels = {{ made = "here" }}
"""
# What Kubernetes cannot say to podman 4.3.
MORE = """\
interactive = true
init = true
tmpfs = ["/scratch:size=1m"]
shm_size = "32MiB"
stop_signal = "SIGINT"
userns = "host"
secrets = [{ name = "keys-secret", target = "/run/key", mode = "0440" }]
devices = ["/dev/null:/dev/mine:r"]
ulimits = { nofile = "1000:2000", nproc = "1000" }
[components.health]
cmd = ["/bin/true", "a b"]
interval = "1h"
[components.log]
driver = "json-file"
max_size = "1MB"
"""
COMMON = {
    "entrypoint": ["/bin/sh", "-c"],
    "cmd": [LOOP, "a b", "$HOME"],
    "workdir": "/tmp",
    "hostname": "web",
    "user": "1000:1000",
    "groups": ["44"],
    "hosts": ["a.example.net:10.0.0.1"],
    "resolver": (["9.9.9.9"], ["example.net"], ["ndots:1"]),
    "read_only": True,
    "tty": True,
    "label": "c",
    "annotation": "f g",
    "capabilities": (["CAP_NET_ADMIN"], ["CAP_CHOWN"]),
    "no_new_privileges": True,
    "memory": (64 * 2**20, 32 * 2**20),
}
WHOLE = COMMON | {
    "interactive": True,
    "init": True,
    "tmpfs": True,
    "shm_size": 32 * 2**20,
    "stop_signal": True,
    "user_namespace": "host",
    "secrets": [("keys-secret", 0o440)],
    "devices": [("/dev/null", "/dev/mine")],
    "ulimits": [("RLIMIT_NOFILE", 1000, 2000)],
    "health": (["CMD", "/bin/true", "a b"], 3600 * 10**9),
    "log": ("json-file", "1MB"),
}


def facts(inspected: dict[str, Any]) -> dict[str, Any]:
    config, host = inspected["Config"], inspected["HostConfig"]
    entrypoint = config["Entrypoint"]
    health = config.get("Healthcheck") or {}
    return {
        # podman 4 joins the words with blanks, and 5 has them one by one.
        "entrypoint": entrypoint.split() if isinstance(entrypoint, str) else entrypoint,
        "cmd": config["Cmd"],
        "workdir": config["WorkingDir"],
        "hostname": config["Hostname"],
        "user": config["User"],
        "groups": host["GroupAdd"],
        "hosts": host["ExtraHosts"],
        "resolver": (host["Dns"], host["DnsSearch"], host["DnsOptions"]),
        "read_only": host["ReadonlyRootfs"],
        "tty": config["Tty"],
        "label": config["Labels"].get("a.b"),
        "annotation": config["Annotations"].get("d.e"),
        "capabilities": (host["CapAdd"], host["CapDrop"]),
        "no_new_privileges": "no-new-privileges" in host["SecurityOpt"],
        "memory": (host["Memory"], host["MemoryReservation"]),
        "interactive": config["OpenStdin"],
        "init": host.get("Init", False),
        "tmpfs": "/scratch" in host["Tmpfs"],
        "shm_size": host["ShmSize"],
        # podman 4 shows the number, and 5 the name.
        "stop_signal": config["StopSignal"] in (signal.SIGINT, "SIGINT"),
        "user_namespace": host["UsernsMode"] or "host",
        "secrets": [(each["Name"], each["Mode"]) for each in config.get("Secrets") or ()],
        "devices": [(each["PathOnHost"], each["PathInContainer"]) for each in host["Devices"]],
        "ulimits": [(each["Name"], each["Soft"], each["Hard"]) for each in host["Ulimits"] if "NOFILE" in each["Name"]],
        "health": (health.get("Test"), health.get("Interval")),
        "log": (host["LogConfig"]["Type"], host["LogConfig"]["Size"]),
    }


def aliases(inspected: dict[str, Any]) -> dict[str, set[str]]:
    """Those that somebody chose, by network."""
    short = inspected["Id"][:12]
    return {
        name: set(each["Aliases"] or ()) - {short, inspected["Config"]["Hostname"]}
        for name, each in inspected["NetworkSettings"]["Networks"].items()
    }


@pytest.fixture
def keys(node: Node) -> Iterator[Node]:
    """A node that has the definition above with everything in it, and nothing of it afterwards."""
    node.define("keys", DEFINITION.replace("MORE\n", MORE))
    node.podman("secret", "create", "keys-secret", "-", stdin=b"x")
    before = {words: set(node.podman(*words, "--quiet").split()) for words in (("images",), ("network", "ls"))}
    try:
        yield node
    finally:
        node.podman("pod", "rm", "--all", "--force", "--time", "0")
        node.podman("rm", "--all", "--force", "--time", "0")
        node.podman("secret", "rm", "keys-secret")
        for words, remove in ((("images",), "rmi"), (("network", "ls"), "network rm")):
            for each in set(node.podman(*words, "--quiet").split()) - before[words]:
                node.podman(*remove.split(), "--force", each)
        for volume in node.podman("volume", "ls", "--quiet").split():
            node.podman("volume", "rm", "--force", volume)


def export(node: Node, form: str, to: Path) -> set[str]:
    """Returns the paths of what was lost."""
    done = node.mcpctl("service", "export", "keys", "--format", form, "--to", str(to))
    return {line.split(": ")[1] for line in done.stderr.splitlines() if line.startswith("lost: ")}


def test_compose_makes_the_container_that_is_declared(keys: Node, tmp_path: Path) -> None:
    pytest.importorskip("podman_compose", reason="podman-compose is not installed here")
    file = tmp_path / "compose.yaml"
    assert export(keys, "compose", file) == {"components[migrate].oneshot"}
    keys.mcpctl("deploy", "keys")
    deployed = keys.inspect("keys-api")
    keys.mcpctl("undeploy", "keys")
    # The probe is run by mcpd, and not by podman.
    assert facts(deployed) | {"health": WHOLE["health"]} == WHOLE
    run([sys.executable, "-m", "podman_compose", "-f", str(file), "up", "--detach"], env=keys.environment)
    api, migrate = (keys.inspect(f"keys-{name}") for name in ("api", "migrate"))
    assert facts(api) == WHOLE
    assert aliases(api) == aliases(deployed) == {"keys": {"api"}, "keys-front": {"api", "shop"}}
    assert api["NetworkSettings"]["Networks"]["keys-front"]["IPAddress"] == "10.89.77.5"
    assert (migrate["State"]["Status"], migrate["State"]["ExitCode"]) == ("exited", 0)
    (network,) = json.loads(keys.podman("network", "inspect", "keys-front"))
    assert network["labels"]["made"] == "here"


def test_podman_plays_the_container_that_is_declared(keys: Node, tmp_path: Path) -> None:
    keys.define("keys", DEFINITION.replace("MORE\n", ""))
    file = tmp_path / "keys.yaml"
    lost = export(keys, "kube", file)
    keys_lost = {"name", "networks", "read_only", "depends_on", "oneshot", "keys-front"}
    assert {each.rpartition(".")[2] for each in lost} == keys_lost
    keys.podman("kube", "play", str(file))
    found = keys.inspect("keys-api-api")
    # They belong to the Pod.
    (pod,) = [each for each in keys.containers() if each.endswith("-infra") and each[:12] == found["Pod"][:12]]
    of_pod = keys.inspect(pod)["HostConfig"]
    found["HostConfig"] |= {key: of_pod[key] for key in ("Dns", "DnsSearch", "DnsOptions", "ExtraHosts")}
    assert facts(found).items() >= COMMON.items()
    keys.podman("kube", "down", str(file))


MORE_OF_PODMAN_5 = """\
init = true
tmpfs = ["/scratch"]
ulimits = { nofile = "1000:2000", nproc = "1000" }
[[components.configs]]
target = "/etc/app.conf"
content = "hello $x"
"""


def test_podman_5_plays_more(keys: Node, tmp_path: Path) -> None:
    if int(keys.podman("version", "--format", "{{.Client.Version}}").partition(".")[0]) < 5:
        pytest.skip("podman 4 ignores what this is about, which the export tells")
    keys.define("keys", DEFINITION.replace("MORE\n", MORE_OF_PODMAN_5))
    file = tmp_path / "keys.yaml"
    export(keys, "kube", file)
    keys.podman("kube", "play", str(file))
    found = facts(keys.inspect("keys-api-api"))
    assert {key: found[key] for key in ("init", "tmpfs", "ulimits")} == {
        key: WHOLE[key] for key in ("init", "tmpfs", "ulimits")
    }
    assert keys.podman("exec", "keys-api-api", "cat", "/etc/app.conf") == "hello $x"
    keys.podman("kube", "down", str(file))


# What belongs to systemd, and not to the container.
_OF_THE_SERVICE = ("--cidfile", "--cgroups", "--sdnotify", "--replace", "--rm", "-d")


def test_quadlet_runs_the_container_that_is_declared(keys: Node, tmp_path: Path) -> None:
    quadlet.needed()
    lost = export(keys, "quadlet", tmp_path / "units")
    assert lost == {"components[migrate].oneshot"}
    units = quadlet.units(tmp_path / "units")
    for name in ("keys-network.service", "keys-front-network.service"):
        run(units.pop(name), env=keys.environment)
    assert set(units) == {"keys-api.service", "keys-migrate.service"}
    podman, _, *words = units["keys-api.service"]
    words = [each for each in words if not each.startswith(_OF_THE_SERVICE)]
    run([podman, "create", *words], env=keys.environment)
    found = keys.inspect("keys-api")
    assert facts(found) == WHOLE
    assert aliases(found) == {"keys": {"api"}, "keys-front": {"api", "shop"}}


def test_quadlet_reads_the_example_that_has_every_key(tmp_path: Path) -> None:
    quadlet.needed()
    folder = tmp_path / "units"
    folder.mkdir()
    for file in exporting.export(example(tmp_path), Format.QUADLET).files:
        (folder / file.name).write_text(file.text)
    units = quadlet.units(folder)
    # Containers of every key are compared in `tests.podman.test_every_key`.
    assert {name for name in units if name.startswith("shop-")} == {
        f"shop-{name}.service" for name in ("db", "migrate", "web", "profiler", "metrics")
    }
    created = {name: " ".join(words[1:]) for name, words in units.items() if not name.startswith("shop-")}
    assert created == {
        "back-network.service": "network create --ignore --internal back",
        "front-network.service": (
            "network create --ignore --ipv6 --driver bridge --subnet 10.89.7.0/24 --gateway 10.89.7.1 "
            "--subnet fd00:7::/64 --label org.example.team=shop --opt=mtu=1400 front"
        ),
        "data-volume.service": (
            "volume create --ignore --driver local --label backup=daily --opt=type=tmpfs --opt=device=tmpfs data"
        ),
    }
