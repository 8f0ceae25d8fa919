"""A container's networks, addresses and ports, to podman and back. Pure functions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from mcpd.runtime import route_ports
from mcpd.runtime.setting import Context, Made, Part, clipped
from protos import grammar, podman_notation
from protos.parts import Network
from protos.spec import Component

_BRIDGE = "bridge"
_PRIVATE = "private"
# Ways to the outside for a container of an ordinary user, who has one of the two by default.
_USERS_OWN = ("slirp4netns", "pasta")
# podman's name of its default network, unless containers.conf(5) says another.
_DEFAULT = "podman"
# What a network is joined with, and the key that says so.
_SAYABLE = {"alias": "aliases", "ip": "ip", "ip6": "ip6"}
_HOST_GATEWAY = "host-gateway"


def namespace(text: str, context: Context) -> dict[str, str]:
    """libpod's namespace for ``host``, ``component:NAME`` and the like."""
    if name := podman_notation.named_component(text):
        return {"nsmode": "container", "value": context.among.containers[name]}
    return {"nsmode": text}


def component_of(mode: str, it: Made) -> str:
    """``component:NAME`` for podman's ``container:ID``; "" when it is no component of the service."""
    kind, _, number = mode.partition(":")
    return f"{podman_notation.COMPONENT}{it.names[number]}" if kind == "container" and number in it.names else ""


def send_networks(component: Component, context: Context) -> Part:
    joined = component.joins(context.service)
    if not joined:
        return {"netns": namespace(component.network_mode, context)}
    return {
        "netns": {"nsmode": _BRIDGE},
        "networks": {each.name: _joined(each, component.name, context) for each in joined},
    }


def _joined(network: Network, component: str, context: Context) -> dict[str, Any]:
    own = (component,) if network.name in context.among.own_networks else ()
    found = {
        "aliases": list(dict.fromkeys((*own, *network.aliases, *filter(None, (context.among.called,))))),
        "static_ips": list(filter(None, (network.ip, network.ip6))),
    }
    return {key: value for key, value in found.items() if value}


class _Found(NamedTuple):
    """``mode`` is what ``network`` says, if anything; otherwise it joins ``networks``."""

    mode: str | None
    networks: list[dict[str, Any]]


def read_network(it: Made, losses: list[str]) -> str | None:
    found = _read(it, losses)
    if len(found.networks) == 1 and found.networks[0].keys() == {"name"}:
        return str(found.networks[0]["name"])
    return found.mode


def read_networks(it: Made, losses: list[str]) -> list[dict[str, Any]]:
    networks = _read(it, losses).networks
    return [] if len(networks) == 1 and networks[0].keys() == {"name"} else networks


def _read(it: Made, losses: list[str]) -> _Found:
    asked = [_parsed(each) for each in it.asked("--network")]
    losses += [clipped(f"--network {each.text}") for each in asked if each.more]
    mode = it.host.network_mode
    if mode in ("host", "none"):
        return _Found(mode, [])
    if mode.startswith(("container:", "ns:")):
        component = component_of(mode, it)
        losses += [] if component else [f"--network {mode}"]
        return _Found(component or None, [])
    if mode in _USERS_OWN:
        return _Found(mode if any(each.name == mode for each in asked) else _PRIVATE, [])
    networks = [_with_options(it, name, asked) for name in it.details.network_settings.networks or {}]
    if not _is_default(it, [each["name"] for each in networks]):
        return _Found(None, networks)
    if networks and len(networks[0]) > 1:
        return _Found(None, networks[:1])
    is_bridge = any(each.name in (_BRIDGE, _DEFAULT) for each in asked)
    return _Found(_BRIDGE if is_bridge else _PRIVATE, [])


def _is_default(it: Made, names: list[str]) -> bool:
    """Whether it is on podman's default network, which has a name as well."""
    modes = (_BRIDGE, _PRIVATE, "default")
    is_asked = any(_parsed(each).name not in modes for each in it.asked("--network"))
    return not names or names == [_DEFAULT] or (len(names) == 1 and it.command.is_known and not is_asked)


class _Asked(NamedTuple):
    """``NAME[:OPTION=VALUE,...]``; ``more`` are options that no definition can say."""

    text: str
    name: str
    options: tuple[tuple[str, str], ...]
    more: bool


def _parsed(text: str) -> _Asked:
    name, _, rest = text.partition(":")
    if name in ("container", "ns"):
        return _Asked(text, text, (), False)
    pairs = [each.partition("=") for each in rest.split(",") if each]
    known = tuple((key, value) for key, _, value in pairs if key in _SAYABLE)
    is_user_own = name in _USERS_OWN and bool(pairs)
    return _Asked(text, name, known, is_user_own or len(known) < len(pairs))


def _with_options(it: Made, name: str, asked: list[_Asked]) -> dict[str, Any]:
    joined = (it.details.network_settings.networks or {})[name]
    own = (it.details.id[:12], it.details.name, it.config.hostname)
    aliases = [each for each in joined.aliases or () if each not in own]
    found: dict[str, Any] = {"name": name}
    # What nobody asked for by its name is the default network, if it was asked for as `bridge`.
    called = name if any(each.name == name for each in asked) else _BRIDGE
    for key in ("ip", "ip6"):
        here = [value for each in asked if each.name == called for option, value in each.options if option == key]
        if values := (*here, *it.asked(f"--{key}")):
            found[key] = values[0]
    if aliases := aliases or list(it.asked("--network-alias")):
        found["aliases"] = list(dict.fromkeys(aliases))
    return found


def send_ports(component: Component, _: Context) -> Part:
    return {"portmappings": [_mapping(grammar.port(text)) for text in component.ports]}


def _mapping(port: grammar.Port) -> dict[str, Any]:
    found = {
        "host_ip": port.host_ip,
        "host_port": port.host,
        "container_port": port.container,
        "protocol": port.protocol,
    }
    return found | ({"range": port.length} if port.length > 1 else {})


def read_ports(it: Made, _: list[str]) -> list[str]:
    words = [each.removesuffix("/tcp") for each in it.asked("--publish")]
    asked = [_port(each) for each in words]
    if None in asked:
        words, asked = [], []
    covered = {(port.container + offset, port.protocol) for port in asked if port for offset in range(port.length)}
    return [*words, *_bound(it, covered)]


def _bound(it: Made, covered: set[tuple[int, str]]) -> Iterator[str]:
    """What podman shows of ports that no option names, and no route of ours."""
    ours = {each.outside for each in route_ports.read(it.config.labels or {}).values()}
    for inside, bindings in (it.host.port_bindings or {}).items():
        container, _, protocol = inside.partition("/")
        if (int(container), protocol or "tcp") in covered:
            continue
        suffix = "" if protocol in ("", "tcp") else f"/{protocol}"
        if it.host.publish_all_ports and bindings:
            # podman chose the port, and would choose another.
            yield f"{container}{suffix}"
            continue
        for each in bindings or ():
            if each.host_port.isdecimal() and int(each.host_port) in ours:
                continue
            address = f"[{each.host_ip}]" if ":" in each.host_ip else each.host_ip
            yield f"{address}:" * bool(address) + f"{each.host_port}:{container}{suffix}"


def _port(text: str) -> grammar.Port | None:
    with contextlib.suppress(ValueError):
        return grammar.port(text)
    return None


def send_add_hosts(component: Component, context: Context) -> Part:
    gateway = context.among.host_gateway
    hosts = [
        f"{each.removesuffix(_HOST_GATEWAY)}{gateway}" if gateway and each.endswith(f":{_HOST_GATEWAY}") else each
        for each in component.add_hosts
    ]
    return {"hostadd": hosts} if hosts else {}
