"""What root's podman keeps outside of a node's folder, and leaves when it could not do its work."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contrib.demonstration.node import Node
from contrib.demonstration.output import say

_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
# aardvark-dns(8): its file for each network, and the one with its own pid.
_NAME_SERVERS = Path("/run/containers/networks/aardvark-dns")
_NAME_SERVERS_PID = "aardvark.pid"
_NAMESPACE = re.compile(r"/run/netns/netns-[0-9a-f-]+")


@dataclass(frozen=True)
class Leftovers:
    """What lies outside of the folder and is named by files in it, which podman removes."""

    containers: list[str]
    namespaces: list[str]
    bridges: list[str]
    subnets: list[str]

    def remove(self, node: Node) -> None:
        """Needs root. Removes what is still there, and says what it could not."""
        for container in self.containers:
            _remove_runtime_state(container)
        for namespace in self.namespaces:
            _remove_namespace(Path(namespace))
        for bridge in self.bridges:
            _remove_bridge(bridge, is_shared=bridge != node.bridge)
        for subnet in self.subnets:
            _remove_firewall_rules(subnet)
        forget_networks_that_are_gone()


def forget_networks_that_are_gone(folder: Path = _NAME_SERVERS) -> None:
    """Removes what podman's name server still has of networks whose address this machine has no more.

    It keeps a file per network of every storage, by the network's name; one that is left of containers that were killed
    is in the way of the next network with that name, and of all the others: an address that it cannot listen on ends
    its reading.
    """
    for entry in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(OSError):  # podman is writing it, or has removed it
            listens_on = entry.read_text().partition("\n")[0].partition(" ")[0].split(",")
            if entry.name != _NAME_SERVERS_PID and not any(_is_ours(address) for address in listens_on):
                entry.unlink()


def _is_ours(address: str) -> bool:
    """Whether this machine has the address."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except ValueError:
        return True  # no address: leave it to podman
    except OSError:
        return False
    return True


def outside_of(node: Node) -> Leftovers:
    """What ``node`` may leave behind."""
    containers = node.podman / "graph/overlay-containers"
    networks = list(_networks(node))
    namespaces: set[str] = set()
    for path in containers.glob("*/userdata/config.json"):
        with contextlib.suppress(OSError):
            namespaces.update(_NAMESPACE.findall(path.read_text(errors="replace")))
    return Leftovers(
        containers=[path.name for path in containers.glob("*/") if _CONTAINER_ID.fullmatch(path.name)],
        namespaces=sorted(namespaces),
        bridges=[str(each["network_interface"]) for each in networks if "network_interface" in each],
        subnets=[str(each["subnet"]) for network in networks for each in network.get("subnets") or ()],
    )


def _networks(node: Node) -> Iterator[dict[str, list[dict[str, str]]]]:
    for path in (node.podman / "networks").glob("*.json"):
        with contextlib.suppress(OSError, ValueError):  # somebody is writing it
            yield json.loads(path.read_text())


def _remove_runtime_state(container: str) -> None:
    """The OCI runtime's record of a container, and its cgroups."""
    for runtime in ("runc", "crun"):
        if (
            Path("/run", runtime, container).is_dir()
            and subprocess.run([runtime, "delete", "--force", container], check=False).returncode
        ):
            say(f"{container}: {runtime} could not remove the container")


def _remove_namespace(path: Path) -> None:
    if path.exists():
        subprocess.run(["umount", "--lazy", "--", str(path)], stderr=subprocess.DEVNULL, check=False)
        path.unlink(missing_ok=True)


def _remove_bridge(name: str, *, is_shared: bool) -> None:
    """Only our default network's bridge has a name that nobody else uses; another may have somebody's container."""
    ports = Path("/sys/class/net", name, "brif")
    if not ports.is_dir() or (is_shared and any(ports.iterdir())):
        return
    if subprocess.run(["ip", "link", "delete", name], check=False).returncode:
        say(f"{name}: the bridge is still there")


def _remove_firewall_rules(subnet: str) -> None:
    """A forwarded port would lead a later node's traffic to a container that is gone."""
    if shutil.which("iptables-save") is None:
        return
    saved = {}
    for table in ("nat", "filter"):
        done = subprocess.run(["iptables-save", "-t", table], capture_output=True, text=True, check=False)
        saved[table] = done.stdout if done.returncode == 0 else ""
    changes = rules_without(subnet, saved["nat"], saved["filter"])
    if not changes:
        return
    argv = ["iptables-restore", "--noflush"]
    if subprocess.run(argv, input=changes, text=True, check=False).returncode:
        say(f"{subnet}: rules for this network are still in iptables")


def rules_without(subnet: str, nat: str, filters: str) -> str:
    """What iptables-restore(8) has to do so that nothing leads into ``subnet``; empty when nothing does.

    netavark names the chains of a network by a hash, and jumps to one of them for its subnet. ``nat`` and ``filters``
    are what iptables-save(8) prints of these tables.
    """
    network = re.escape(subnet)
    jump = re.search(rf"^-A POSTROUTING -s {network} .*-j NETAVARK-([0-9A-F]+)$", nat, re.MULTILINE)
    if jump is None:
        return ""
    chain = rf"NETAVARK-(?:DN-)?{jump[1]}"
    lines = ["*nat"]
    lines += [f"-D {rule}" for rule in re.findall(rf"^-A (.* -j {chain})$", nat, re.MULTILINE)]
    for name in re.findall(rf"^:({chain}) ", nat, re.MULTILINE):
        lines += [f"-F {name}", f"-X {name}"]
    lines += ["COMMIT", "*filter"]
    forwarding = re.findall(rf"^-A (NETAVARK_FORWARD -[sd] {network} .*)$", filters, re.MULTILINE)
    lines += [f"-D {rule}" for rule in forwarding]
    return "\n".join([*lines, "COMMIT"]) + "\n"
