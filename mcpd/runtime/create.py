"""The body of libpod's container create (SpecGenerator) for a declared component."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from mcpd.model import LABEL_COMPONENT, LABEL_NODE, LABEL_SERVICE, LABEL_SPEC_HASH
from protos import grammar
from protos.parts import Mount
from protos.spec import Component

# Docker's and podman's own period for a CPU quota, in microseconds.
_CPU_PERIOD_US = 100_000
# A container that prints endlessly must not fill the node's disk; podman sets no limit by default.
LOG_SIZE_LIMIT = 10 * 1024 * 1024
# Values of `network` that are modes and not network names.
_NETWORK_MODES = ("host", "none")


def own_network(component: Component) -> str:
    """The podman network that the component names, or ""."""
    network = component.network or ""
    return "" if network in _NETWORK_MODES else network


class Surroundings(msgspec.Struct, frozen=True):
    """What a container is created among.

    ``containers``: what the containers of the service's components are called. ``own_networks``: those that nobody
    but the service uses, where its components have their names. ``configs``: files on the node, by their targets.
    """

    containers: Mapping[str, str] = {}
    own_networks: frozenset[str] = frozenset()
    configs: Mapping[str, str] = {}


def container_spec(
    name: str, node: str, service: str, component: Component, spec_hash: str, among: Surroundings
) -> dict[str, Any]:
    """The request body that creates ``component`` as a container called ``name``."""
    spec: dict[str, Any] = {
        "name": name,
        "image": component.image,
        "labels": {
            LABEL_SERVICE: service,
            LABEL_COMPONENT: component.name,
            LABEL_SPEC_HASH: spec_hash,
            LABEL_NODE: node,
        },
        "env": dict(component.env),
        # In whole seconds, and at least 1: 0 would mean no grace period.
        "stop_timeout": math.ceil(component.stop_timeout.total_seconds()),
        "log_configuration": {"driver": "k8s-file", "size": LOG_SIZE_LIMIT},
        "portmappings": [_port_mapping(grammar.port(text)) for text in component.ports],
        "secrets": [{"Source": each.name, "Target": each.name} for each in component.secret_list],
        "resource_limits": _limits(component),
    }
    spec |= _restart_policy(grammar.restart(component.restart))
    spec |= _mounts(component.mounts)
    spec |= _network(component.network)
    if component.cmd:
        spec["command"] = list(component.cmd)
    if component.user:
        spec["user"] = component.user
    return spec


def _port_mapping(port: grammar.Port) -> dict[str, Any]:
    return {
        "host_ip": port.host_ip,
        "host_port": port.host,
        "container_port": port.container,
        "protocol": port.protocol,
    }


def _restart_policy(restart: grammar.Restart) -> dict[str, Any]:
    policy: dict[str, Any] = {"restart_policy": restart.policy}
    if restart.tries:
        policy["restart_tries"] = restart.tries
    return policy


def _mounts(mounts: Iterable[Mount]) -> dict[str, Any]:
    return {
        "mounts": [
            {"type": "bind", "source": each.folder, "destination": each.target, "options": ["rbind", *each.options]}
            for each in mounts
            if each.folder
        ],
        "volumes": [
            {"Name": each.volume, "Dest": each.target, "Options": list(each.options)}
            for each in mounts
            if not each.folder
        ],
    }


def _network(network: str | None) -> dict[str, Any]:
    if network is None:
        return {}
    if network in _NETWORK_MODES:
        return {"netns": {"nsmode": network}}
    return {"netns": {"nsmode": "bridge"}, "networks": {network: {}}}


def _limits(component: Component) -> dict[str, Any]:
    resources = component.resources
    limits: dict[str, Any] = {}
    if resources.memory:
        limits["memory"] = {"limit": resources.memory}
    if resources.cpus:
        limits["cpu"] = {"quota": round(resources.cpus * _CPU_PERIOD_US), "period": _CPU_PERIOD_US}
    if resources.pids:
        limits["pids"] = {"limit": resources.pids}
    return limits
