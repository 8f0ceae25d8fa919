"""What two containers of one compose service are: podman-compose's and ours, as facts that can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from mcpd.runtime.healthcheck import Probe, probe_of
from protos import podman_notation

# Labels by which a tool finds its containers.
_LABELS_OF_TOOLS = ("mcp.", "com.docker.compose.", "io.podman.compose.", "PODMAN_SYSTEMD_UNIT")
# podman sets these in every container.
_PODMANS_ENV = ("PATH", "TERM", "container", "HOME", "HOSTNAME")
_PODMANS_ANNOTATIONS = ("io.podman.", "io.container.", "io.kubernetes.", "org.opencontainers.", "run.oci.")
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
# Where mcpd keeps configs, and podman-compose what it writes for them.
_OF_CONFIGS = "/configs/"


class Difference(NamedTuple):
    component: str
    field: str
    theirs: Any
    ours: Any


def facts(found: Mapping[str, Any], project: str, folder: str = "") -> dict[str, Any]:
    """One container's inspection, without what a tool or podman adds for itself."""
    config, host = found["Config"], found["HostConfig"]
    return {
        "entrypoint": _words(config.get("Entrypoint")),
        "command": config.get("Cmd") or [],
        "environment": sorted(each for each in config.get("Env") or () if each.partition("=")[0] not in _PODMANS_ENV),
        "user": config.get("User", ""),
        "workdir": config.get("WorkingDir", ""),
        "hostname": _hostname(found),
        "tty": config.get("Tty", False),
        "interactive": config.get("OpenStdin", False),
        "labels": {
            name: value for name, value in (config.get("Labels") or {}).items() if not name.startswith(_LABELS_OF_TOOLS)
        },
        "annotations": {
            name: value
            for name, value in (config.get("Annotations") or {}).items()
            if not name.startswith(_PODMANS_ANNOTATIONS)
        },
        "stop signal": podman_notation.signal(str(config.get("StopSignal", 15))),
        "stop timeout": config.get("StopTimeout", 10),
        "health check": _healthcheck(config.get("Healthcheck")),
        "secrets": sorted(
            (each["Name"], each["UID"], each["GID"], each["Mode"]) for each in config.get("Secrets") or ()
        ),
        "mounts": sorted(_mounts(found, (folder, f"/srv/{project}"))),
        "tmpfs": sorted((host.get("Tmpfs") or {}).keys()),
        "networks": dict(_networks(found, project)),
        "network mode": _mode(host.get("NetworkMode", "")),
        "ports": sorted(_ports(host.get("PortBindings") or {})),
        "restart": (host["RestartPolicy"]["Name"] or "no", host["RestartPolicy"]["MaximumRetryCount"]),
        "capabilities": (sorted(host.get("CapAdd") or ()), sorted(host.get("CapDrop") or ())),
        "security options": sorted(host.get("SecurityOpt") or ()),
        "devices": sorted((each["PathOnHost"], each["PathInContainer"]) for each in host.get("Devices") or ()),
        "limits": {
            name: host.get(name)
            for name in (
                *("Memory", "MemoryReservation", "MemorySwap", "NanoCpus", "CpuShares", "CpusetCpus"),
                *("PidsLimit", "OomScoreAdj", "ShmSize"),
            )
        },
        "ulimits": sorted((each["Name"], each["Soft"], each["Hard"]) for each in host.get("Ulimits") or ()),
        "extra hosts": sorted(host.get("ExtraHosts") or ()),
        "dns": [host.get(name) or [] for name in ("Dns", "DnsOptions", "DnsSearch")],
        "namespaces": [host.get(name, "") for name in ("IpcMode", "PidMode", "UsernsMode")],
        "groups": sorted(host.get("GroupAdd") or ()),
        "switches": [host.get(name, False) for name in ("Privileged", "ReadonlyRootfs", "Init")],
        "log": (host["LogConfig"]["Type"].replace("json-file", "k8s-file")),
    }


def differences(component: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[Difference]:
    for field, one in theirs.items():
        if one != ours[field]:
            yield Difference(component, field, one, ours[field])


def _words(entrypoint: Any) -> str:
    return entrypoint if isinstance(entrypoint, str) else " ".join(entrypoint or ())


def _hostname(found: Mapping[str, Any]) -> str:
    name: str = found["Config"].get("Hostname", "")
    return "" if name == found["Id"][:12] else name


def _healthcheck(probe: Mapping[str, Any] | None) -> Any:
    """As our probe, which takes its place: podman's shell is called by its path."""
    found = probe_of(msgspec.convert(probe, Probe)) if probe else None
    if found and found.cmd[:1] == ("/bin/sh",):
        found = msgspec.structs.replace(found, cmd=("sh", *found.cmd[1:]))
    return found


def _mounts(found: Mapping[str, Any], beside: tuple[str, str]) -> Iterator[tuple[str, str, str, bool]]:
    """``beside``: folders that stand for what is beside the compose file."""
    for each in found.get("Mounts") or ():
        source = each.get("Name") if each["Type"] == "volume" else each.get("Source", "")
        if each["Type"] == "volume" and _ANONYMOUS.fullmatch(source):
            source = "(anonymous)"
        if each["Type"] == "bind":
            source = "(config)" if _OF_CONFIGS in source else source
            for folder in filter(None, beside):
                source = f"(beside){source.removeprefix(folder)}" if source.startswith(folder) else source
        yield each["Type"], source, each["Destination"], each.get("RW", True)


def _networks(found: Mapping[str, Any], project: str) -> Iterator[tuple[str, list[str]]]:
    """The names by which others find it, but for those that only one of the two tools gives to containers."""
    for name, each in (found["NetworkSettings"].get("Networks") or {}).items():
        aliases = {found["Name"], *(each.get("Aliases") or ())} - {found["Id"][:12]}
        yield _network(name, project), sorted(alias for alias in aliases if not alias.startswith(project))


def _network(name: str, project: str) -> str:
    return "(default)" if name in (project, f"{project}_default") else name


def _mode(mode: str) -> str:
    return "component" if mode.startswith("container:") else mode


def _ports(bindings: Mapping[str, Iterable[Mapping[str, str]] | None]) -> Iterator[tuple[str, str, str]]:
    for inside, several in bindings.items():
        for each in several or ():
            ip = each.get("HostIp", "")
            yield inside, "" if ip in ("0.0.0.0", "::") else ip, each["HostPort"]
