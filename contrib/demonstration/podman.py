"""A podman of the node's own: its configuration, its network, and what of it a reboot leaves."""

from __future__ import annotations

import datetime
import ipaddress
import json
import re
import resource
import shutil
import subprocess
from pathlib import Path

from contrib.demonstration.node import BOOT_ID, Node, has_pure_cgroup_v2, write_once
from contrib.demonstration.output import Failure, say
from contrib.demonstration.settings import toml

# podman refuses a --runroot of more than 50 characters; conmon's clean-up, without which no restart policy acts, always
# gives one. Root's is reached through a link with a short name. A rootless podman looks through the link, so there
# only a short folder helps.
MAX_RUNROOT = 50
_PID_MAX = Path("/proc/sys/kernel/pid_max")
# What podman would set where it may.
_WANTED_FILES = 1048576

_PRIVATE = ipaddress.ip_network("10.0.0.0/8")
_NODE_PREFIX = 20
_CANDIDATES = 1 << _NODE_PREFIX - _PRIVATE.prefixlen
# 10.88 and 10.89 are podman's own.
_PODMANS = ipaddress.ip_network("10.88.0.0/15")
_ADDRESS = re.compile(r"(?<![\d.])10\.\d+\.\d+\.\d+(?:/\d+)?")


def set_up_podman(node: Node) -> None:
    """Raises Failure when podman does not work with it on this machine."""
    (node.podman / "networks").mkdir(parents=True, exist_ok=True)
    write_once(node.storage_conf, storage_conf(node))
    if not node.containers_conf.exists():
        routes = ["ip", "-4", "route", "show", "table", "all"]
        subnet = choose_subnet(node, subprocess.run(routes, capture_output=True, text=True, check=True).stdout)
        write_once(node.podman / f"networks/{node.network}.json", json.dumps(network(node, subnet), indent=2) + "\n")
        write_once(node.containers_conf, containers_conf(node, subnet))
    forget_other_boots(node)
    if node.is_root:
        _link_short_name(node)
    else:
        runtime = Path(node.environment["XDG_RUNTIME_DIR"])
        runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
        if len(str(runroot := runtime / "containers")) > MAX_RUNROOT:
            say(
                f"{node.folder} is too long for podman's own restart policies to act "
                f'({runroot} has over {MAX_RUNROOT} characters); heal = "restart" does'
            )
    info = subprocess.run(["podman", "info"], env=node.environment, capture_output=True, text=True, check=False)
    if info.returncode:
        raise Failure(f"podman does not work here:\n{info.stderr.rstrip()}")


def storage_conf(node: Node) -> str:
    graph = toml(node.podman / "graph")
    return (
        f'[storage]\ndriver = "overlay"\ngraphroot = {graph}\nrootless_storage_path = {graph}\n'
        f"runroot = {toml(node.short_name / 'runroot')}\n"
    )


def containers_conf(node: Node, subnet: ipaddress.IPv4Network) -> str:
    # podman lowers its own process limit to the kernel's pid_max, so no container can have more.
    limits = (
        _at_most("nofile", _WANTED_FILES, resource.RLIMIT_NOFILE),
        _at_most("nproc", int(_PID_MAX.read_text()), resource.RLIMIT_NPROC),
    )
    lines = ["[containers]", f"default_ulimits = [{', '.join(limits)}]", "[engine]"]
    if not _has_systemd_cgroups(node):
        lines.append('cgroup_manager = "cgroupfs"')
    if not has_pure_cgroup_v2():
        lines.append('runtime = "runc"')  # crun refuses cgroup v1 beside v2
    lines += [
        'events_logger = "file"',  # there may be no journald
        "exit_command_delay = 1",  # what a probe's command leaves behind
        'lock_type = "file"',  # the default, shared memory, is one for the whole machine
        # Where --root puts it: conmon's clean-up, which restarts containers, is told no more than --root.
        f"static_dir = {toml(node.podman / 'graph/libpod')}",
        f"tmp_dir = {toml(node.podman / 'tmp')}",
        f"volume_path = {toml(node.podman / 'volumes')}",
        "[network]",
        'network_backend = "netavark"',
        f"network_config_dir = {toml(node.podman / 'networks')}",
        f"default_network = {toml(node.network)}",
        # The first /24 is the default network's; `podman network create` takes the others.
        f"default_subnet_pools = [{{ base = {toml(subnet)}, size = 24 }}]",
    ]
    return "\n".join(lines) + "\n"


def network(node: Node, subnet: ipaddress.IPv4Network) -> dict[str, object]:
    """The default network, as podman keeps one.

    Two nodes with podman's own would share its bridge, its subnet and its firewall chains, which are named by a hash
    of the network's name; the first to stop would cut off the other.
    """
    first = next(subnet.subnets(new_prefix=24))
    return {
        "name": node.network,
        "id": node.digest,
        "driver": "bridge",
        "network_interface": node.bridge,
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "subnets": [{"subnet": str(first), "gateway": str(first[1])}],
        "ipv6_enabled": False,
        "internal": False,
        "dns_enabled": False,
        "ipam_options": {"driver": "host-local"},
    }


def choose_subnet(node: Node, routes: str) -> ipaddress.IPv4Network:
    """A /20 of 10.0.0.0/8 that this machine, by its ``routes``, has no route into.

    The node's digest says where the search begins, so that nodes that don't run at the moment differ too. Raises
    Failure when none is free.
    """
    taken = [_PODMANS, *(ipaddress.ip_network(each, strict=False) for each in _ADDRESS.findall(routes))]
    start = int(node.digest[:8], 16)
    for number in range(start, start + _CANDIDATES):
        address = int(_PRIVATE.network_address) + (number % _CANDIDATES << 32 - _NODE_PREFIX)
        subnet = ipaddress.IPv4Network((address, _NODE_PREFIX))
        if not any(subnet.overlaps(each) for each in taken):
            return subnet
    raise Failure("no /20 in 10.0.0.0/8 is free on this machine")


def forget_other_boots(node: Node) -> None:
    """podman sees a reboot by its temporary files being gone, which it expects on a tmpfs; ours are on a disk."""
    boot = BOOT_ID.read_text()
    if node.marker.read_text().strip() == boot.strip():
        return
    for name in ("podman/tmp", "podman/runroot", "run"):
        if (node.folder / name).exists():
            shutil.rmtree(node.folder / name)
    node.marker.write_text(boot)


def _link_short_name(node: Node) -> None:
    link = node.short_name
    if link.is_symlink() and link.readlink() == node.podman:
        return
    if link.is_symlink():
        link.unlink()  # of a folder with the same digest's beginning, or that was moved
    elif link.exists():
        raise Failure(f"{link} is something else's, and this node needs that name")
    link.symlink_to(node.podman)


def _has_systemd_cgroups(node: Node) -> bool:
    """Whether systemd can be asked for cgroups: it runs, and for an ordinary user there is its bus."""
    has_bus = node.is_root or bool(node.environment.get("DBUS_SESSION_BUS_ADDRESS"))
    return has_pure_cgroup_v2() and Path("/run/systemd/system").is_dir() and has_bus


def _at_most(name: str, wanted: int, limit: int) -> str:
    """A ulimit that podman may set.

    It asks for more than the hard limit by default, and without CAP_SYS_RESOURCE every container then fails to start.
    """
    _, hard = resource.getrlimit(limit)
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    return toml(f"{name}={value}:{value}")
