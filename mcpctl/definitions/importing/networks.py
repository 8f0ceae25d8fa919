"""The networks that components join, by the names that compose gives them, and who finds them there by which names."""

from __future__ import annotations

import ipaddress
from typing import Any

from mcpctl.definitions.importing.declared import Declared, Entry
from mcpctl.definitions.importing.diagnostics import Diagnostics
from mcpctl.definitions.importing.names import Names
from protos import podman_notation

_DEFAULT = "default"
_OF_SERVICE, _OF_CONTAINER = "service:", "container:"
_JOIN_KEYS = ("aliases", "ipv4_address", "ipv6_address", "priority", "gw_priority", "driver_opts")
_LOST_OF_JOIN = ("mac_address", "link_local_ips", "interface_name")
_KEYS = ("name", "external", "driver", "driver_opts", "ipam", "internal", "enable_ipv6", "enable_ipv4", "labels")
# On one node a network over several is a bridge.
_BRIDGES = ("", "bridge", "default", "overlay", "nat")
_DRIVERS = ("macvlan", "ipvlan")
# podman-network-create(1), --opt; and what Docker calls the same.
_OPTIONS = ("mtu", "vlan", "isolate", "parent", "mode", "metric", "no_default_route")
_RENAMED = {"com.docker.network.driver.mtu": "mtu", "macvlan_mode": "mode", "ipvlan_mode": "mode"}
# The name of an interface on the node.
# What podman does anyway.
_USUAL = {
    "com.docker.network.bridge.enable_icc": "true",
    "com.docker.network.bridge.enable_ip_masquerade": "true",
    "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",  # noqa: S104
}
_IPV6 = "com.docker.network.enable_ipv6"
_NAMELESS = ("com.docker.network.bridge.name", "com.docker.network.container_iface_prefix")


class Networks:
    """Those of one file. What components join is told of once."""

    def __init__(
        self,
        document: dict[str, Any],
        names: Names,
        declared: Declared,
        containers: dict[str, str],
        report: Diagnostics,
    ) -> None:
        self._names = names
        self._declared = declared
        # The file's services by the names that it gives to their containers.
        self._containers = containers
        self._report = report
        self._joined: dict[str, Entry] = {}
        networks = document.get("networks")
        self._default = self._entry(_DEFAULT) if isinstance(networks, dict) and networks.get(_DEFAULT) else None

    def of(self, key: str, service: dict[str, Any], links: list[str]) -> dict[str, Any]:
        """Our ``network`` or ``networks`` of the service called ``key``, whom others also call as in ``links``."""
        report, path = self._report, f"services.{key}"
        if mode := service.get("network_mode"):
            if service.get("networks"):
                report.ignored(f"{path}.networks", "is overridden by network_mode")
            return self._mode(report.text(mode, f"{path}.network_mode"), f"{path}.network_mode")
        joins = self._joins(service.get("networks"), f"{path}.networks") or {_DEFAULT: {}}
        common = self._aliases(key, service, links)
        found: dict[str, dict[str, Any]] = {}
        for name, said in joins.items():
            here = f"{path}.networks.{name}"
            if mode := self._mode_of(name):
                if len(joins) > 1:
                    report.lost(here, f"{mode} cannot be joined together with networks; use network_mode: {mode} alone")
                    continue
                return {"network": mode}
            made = self._join(name, said, key, common, here)
            before = found.get(made["name"], {})
            aliases = [*before.get("aliases", []), *made["aliases"]]
            found[made["name"]] = {**before, **made, "aliases": list(dict.fromkeys(aliases))}
        return self._shortest([*found.values()])

    def _shortest(self, found: list[dict[str, Any]]) -> dict[str, Any]:
        made = [{key: each for key, each in one.items() if each} for one in found]
        if not made:
            return {}
        if made == [{"name": self._names.own_network}]:
            return {}
        return {"networks": made} if len(made) > 1 or len(made[0]) > 1 else {"network": made[0]["name"]}

    def _joins(self, value: Any, path: str) -> dict[str, dict[str, Any]]:
        if isinstance(value, dict):
            return {name: self._report.mapping(each, f"{path}.{name}") for name, each in value.items()}
        return {name: {} for name in self._report.words(value, path)}

    def _aliases(self, key: str, service: dict[str, Any], links: list[str]) -> list[str]:
        """Names besides the component's own."""
        found = [*links]
        if self._names.components[key] != key:
            found.append(key)
        # podman finds a container by its own name anyway.
        if isinstance(name := service.get("container_name"), str) and name not in ("", self._names.container(key)):
            found.append(name)
        return found

    def _join(self, name: str, said: dict[str, Any], key: str, common: list[str], path: str) -> dict[str, Any]:
        report, entry = self._report, self._entry(name)
        for each in _LOST_OF_JOIN:
            if said.get(each):
                report.lost(f"{path}.{each}", "has no equivalent: podman chooses; remove what depends on it")
        report.ignore_others(said, (*_JOIN_KEYS, *_LOST_OF_JOIN), path)
        for each in ("priority", "gw_priority", "driver_opts"):
            if said.get(each):
                report.ignored(f"{path}.{each}")
        ours = self._name(entry)
        # On the service's own network the component has its name anyway; elsewhere only if it says so.
        own = self._names.components[key] if ours == self._names.own_network else ""
        aliases = [*([] if own else [key]), *common, *report.words(said.get("aliases"), f"{path}.aliases")]
        made: dict[str, Any] = {"name": ours, "aliases": self._allowed([each for each in aliases if each != own], path)}
        for theirs, field in (("ipv4_address", "ip"), ("ipv6_address", "ip6")):
            if said.get(theirs):
                made[field] = report.text(said[theirs], f"{path}.{theirs}")
        return made

    def _allowed(self, aliases: list[str], path: str) -> list[str]:
        found = []
        for each in dict.fromkeys(aliases):
            try:
                podman_notation.alias(each)
            except ValueError as error:
                self._report.lost(path, str(error))
            else:
                found.append(each)
        return found

    def _entry(self, name: str) -> Entry:
        if name not in self._joined:
            self._joined[name] = self._declared.entry("networks", name)
        return self._joined[name]

    def _name(self, entry: Entry) -> str:
        return self._names.own_network if entry.key == _DEFAULT and not entry.has_own_name else entry.name

    # -- modes

    def _mode(self, mode: str, path: str) -> dict[str, Any]:
        if mode in ("host", "none"):
            return {"network": mode}
        if mode in ("bridge", "default", "private"):
            return {"network": "bridge"}
        if (component := self.component(mode)) is not None:
            return {"network": f"{podman_notation.COMPONENT}{component}"}
        if mode.startswith((_OF_SERVICE, _OF_CONTAINER)):
            self._report.lost(path, f"{mode} is not of this service; it joins the service's own network instead")
            return {}
        if _is_network(mode):
            self._report.changed(path, f"{mode} is joined as a network")
            return {"network": mode}
        self._report.lost(path, f"{mode} is not supported; it joins the service's own network instead")
        return {}

    def component(self, mode: str) -> str | None:
        """Ours that ``service:KEY`` or ``container:NAME`` means; None: none of this file."""
        if mode.startswith(_OF_SERVICE):
            return self._names.components.get(mode.removeprefix(_OF_SERVICE))
        name = mode.removeprefix(_OF_CONTAINER)
        return self._containers.get(name) if mode.startswith(_OF_CONTAINER) else None

    def _mode_of(self, name: str) -> str:
        """Where a network stands for a mode: Docker's own networks, and the drivers of them."""
        entry = self._entry(name)
        driver = entry.said.get("driver")
        if entry.is_external and entry.name in ("host", "none", "bridge"):
            return entry.name
        return driver if driver in ("host", "none") else ""

    # -- declarations

    def declarations(self) -> dict[str, Any]:
        """Ours of those that are joined, where there is more to say than a name."""
        made = {}
        for key, entry in self._joined.items():
            if not self._mode_of(key) and (said := self._declaration(entry, f"networks.{key}")):
                made[self._name(entry)] = said
        return made

    def _declaration(self, entry: Entry, path: str) -> dict[str, Any]:
        report, said = self._report, entry.said
        if entry.is_external:
            return {"external": True}
        report.ignore_others(dict(said), _KEYS, path)
        if not entry.has_own_name and entry.key != _DEFAULT:
            report.changed(path, self._declared.called)
        made = self._driver(said, path) | self._ipam(report.mapping(said.get("ipam"), f"{path}.ipam"), f"{path}.ipam")
        for theirs, field in (("internal", "internal"), ("enable_ipv6", "ipv6")):
            if said.get(theirs) is not None and report.boolean(said[theirs], f"{path}.{theirs}"):
                made[field] = True
        if said.get("enable_ipv4") is not None and not report.boolean(said["enable_ipv4"], f"{path}.enable_ipv4"):
            report.lost(f"{path}.enable_ipv4", "the network has IPv4 addresses, too; give it an IPv6 subnet alone")
        if labels := self._report.texts(said.get("labels"), f"{path}.labels"):
            made["labels"] = labels
        return made

    def _driver(self, said: Any, path: str) -> dict[str, Any]:
        report, made = self._report, dict[str, Any]()
        driver = report.text(said.get("driver") or "", f"{path}.driver")
        if driver in _DRIVERS:
            made["driver"] = driver
        elif driver not in _BRIDGES:
            report.lost(f"{path}.driver", f"{driver}: it is a bridge; allowed are bridge, {', '.join(_DRIVERS)}")
        elif driver == "overlay":
            report.changed(f"{path}.driver", "overlay is a bridge: there is one node")
        options = {}
        for name, value in self._report.texts(said.get("driver_opts"), f"{path}.driver_opts").items():
            if (ours := _RENAMED.get(name, name)) in _OPTIONS:
                options[ours] = value
            elif name in _NAMELESS:
                report.changed(f"{path}.driver_opts.{name}", "podman names the interface itself")
            elif name == _IPV6:
                made |= {"ipv6": True} if report.boolean(value, f"{path}.driver_opts.{name}") else {}
            elif _USUAL.get(name) == value or driver == "overlay":
                report.ignored(f"{path}.driver_opts.{name}")
            else:
                report.lost(
                    f"{path}.driver_opts.{name}", f"podman has no such option; allowed are {', '.join(_OPTIONS)}"
                )
        return made | ({"options": options} if options else {})

    def _ipam(self, ipam: dict[str, Any], path: str) -> dict[str, Any]:
        report, subnets, made = self._report, list[str](), dict[str, Any]()
        report.ignore_others(ipam, ("driver", "config", "options"), path)
        if ipam.get("driver") and ipam["driver"] != "default":
            report.lost(f"{path}.driver", "podman gives the addresses itself; say subnets and fixed addresses")
        for index, each in enumerate(report.items(ipam.get("config"), f"{path}.config")):
            here = f"{path}.config[{index}]"
            config = report.mapping(each, here)
            for key in ("ip_range", "aux_addresses"):
                if config.get(key):
                    report.lost(f"{here}.{key}", "any address of the subnet is given; make the subnet smaller")
            if not config.get("subnet"):
                continue
            subnet = _subnet(report.text(config["subnet"], f"{here}.subnet"))
            subnets.append(subnet)
            if gateway := config.get("gateway"):
                gateway = report.text(gateway, f"{here}.gateway")
                if len(subnets) == 1:
                    made["gateway"] = gateway
                elif not _is_first(gateway, subnet):
                    report.lost(
                        f"{here}.gateway", f"{gateway}: only the first subnet can have one that is not its first"
                    )
        return made | ({"subnets": subnets} if subnets else {})


def _is_network(mode: str) -> bool:
    if mode in podman_notation.NETWORK_MODES:
        return False
    try:
        podman_notation.resource(mode)
    except ValueError:
        return False
    return True


def _subnet(text: str) -> str:
    """Without bits of a host, which podman refuses."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return text  # the definition's rule says what is wrong


def _is_first(gateway: str, subnet: str) -> bool:
    try:
        return ipaddress.ip_address(gateway) == ipaddress.ip_network(subnet)[1]
    except (ValueError, IndexError):
        return False
