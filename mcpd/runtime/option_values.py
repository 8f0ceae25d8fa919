"""How the values of single options are read, from a container's inspection or from its command line. Pure functions.

`mcpd.runtime.unsupported_options` has the table of options that uses them.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mcpd.runtime.healthcheck import Probe
from mcpd.runtime.inspected import Config, Details, Host, ImageDefaults, Rate
from mcpd.runtime.original_command import CreateCommand

# The labels by which a tool finds its containers: not settings of the container.
_LABELS_OF_TOOLS = ("mcp.", "com.docker.compose.", "io.podman.compose.")
# podman and the image set these themselves.
_OWN_ANNOTATIONS = ("io.podman.", "io.kubernetes.cri-o.", "io.container.", "org.opencontainers.image.")
# An annotation by which podman remembers `--group-add keep-groups`.
_KEEPS_GROUPS = "run.oci.keep_original_groups"
# The limits that podman sets when containers.conf(5) has none, and their value.
_OWN_LIMITS = ("RLIMIT_NOFILE", "RLIMIT_NPROC")
_OWN_LIMIT = 1048576
# The mounts that every read-only container gets.
_TMPFS_OF_READ_ONLY = frozenset({"/run", "/tmp", "/var/tmp"})  # noqa: S108
_SECURITY_UNSEEN = ("mask=", "unmask=", "proc-opts=", "systempaths=")
# podman's for a container that runs systemd.
_STOP_OF_SYSTEMD = signal.SIGRTMIN + 3


class Made(NamedTuple):
    """How a container was created, and what its image sets."""

    details: Details
    image: ImageDefaults

    @property
    def config(self) -> Config:
        return self.details.config

    @property
    def host(self) -> Host:
        return self.details.host_config

    @property
    def command(self) -> CreateCommand:
        return self.details.command


Read = Callable[[Made], Iterable[str]]


def switch(is_on: Callable[[Made], object]) -> Read:
    return lambda it: [""] if is_on(it) else []


def single(value: Callable[[Made], object], *usual: object) -> Read:
    """One value, unless it is empty or ``usual``."""

    def read(it: Made) -> Iterable[str]:
        found = value(it)
        return [str(found)] if found and found not in usual else []

    return read


def several(values: Callable[[Made], Iterable[str] | None]) -> Read:
    return lambda it: list(values(it) or ())


def rates(values: Callable[[Made], Sequence[Rate] | None]) -> Read:
    return lambda it: [f"{each.path}:{each.rate or each.weight}" for each in values(it) or ()]


def hostname(it: Made) -> Iterable[str]:
    name, shares = it.config.hostname, "host" in (it.host.network_mode, it.host.uts_mode)
    return [] if shares or name in ("", it.details.id[:12]) else [name]


def workdir(it: Made) -> Iterable[str]:
    found = it.config.working_dir
    return [found] if found not in ("", it.image.config.working_dir or "/") else []


def stop_signal(it: Made) -> Iterable[str]:
    found = it.config.stop_signal
    usual = {_signal(it.image.config.stop_signal) or signal.SIGTERM}
    if it.config.systemd_mode:
        usual.add(_STOP_OF_SYSTEMD)
    return [str(found)] if found and _signal(found) not in usual else []


def _signal(text: int | str) -> int | None:
    """``15``, ``"TERM"``, ``"SIGTERM"``, ``"SIGRTMIN+3"`` as a number."""
    name = str(text).upper().removeprefix("SIG")
    if name.isdecimal():
        return int(name)
    base, plus, more = name.partition("+")
    number = getattr(signal, f"SIG{base}", None)
    return None if number is None else int(number) + (int(more) if plus and more.isdecimal() else 0)


def cap_add(it: Made) -> Iterable[str]:
    # For a privileged container podman lists every capability.
    return () if it.host.privileged else it.host.cap_add or ()


def cap_drop(it: Made) -> Iterable[str]:
    # A privileged one drops what its maker has not.
    if it.host.privileged and not it.command.has("--cap-drop"):
        return ()
    return it.host.cap_drop or ()


def devices(it: Made) -> Iterable[str]:
    if it.host.privileged:
        return ()
    return [f"{each.path_on_host}:{each.path_in_container}" for each in it.host.devices or ()]


def group_add(it: Made) -> Iterable[str]:
    keeps = _KEEPS_GROUPS in (it.config.annotations or {})
    return [*(it.host.group_add or ()), *(["keep-groups"] * keeps)]


def security(it: Made) -> Iterable[str]:
    unseen = (each for each in it.command.values("--security-opt") if each.startswith(_SECURITY_UNSEEN))
    return dict.fromkeys([*(it.host.security_opt or ()), *unseen])


def tmpfs(it: Made) -> Iterable[str]:
    asked = {each.partition(":")[0] for each in it.command.values("--tmpfs")}
    own = _TMPFS_OF_READ_ONLY - asked if it.host.readonly_rootfs else frozenset()
    return [each for each in it.host.tmpfs or () if each not in own]


def aliases(it: Made) -> Iterable[str]:
    """Network aliases, except those that podman sets itself."""
    own = (it.details.id[:12], it.details.name, it.config.hostname)
    joined = (it.details.network_settings.networks or {}).values()
    found = dict.fromkeys(alias for each in joined for alias in each.aliases or () if alias not in own)
    return found or it.command.values("--network-alias")


def label_names(it: Made) -> Iterable[str]:
    own, of_image = it.config.labels or {}, it.image.config.labels or {}
    return _named(name for name in own if of_image.get(name) != own[name] and not name.startswith(_LABELS_OF_TOOLS))


def annotation_names(it: Made) -> Iterable[str]:
    names = (name for name in it.config.annotations or () if name != _KEEPS_GROUPS)
    return _named(name for name in names if not name.startswith(_OWN_ANNOTATIONS))


def _named(names: Iterable[str]) -> Iterable[str]:
    """Only the names: values may hold passwords."""
    return sorted(names)


def memory_swap(it: Made) -> Iterable[str]:
    # podman's own: as much again as the memory.
    host = it.host
    return [str(host.memory_swap)] if host.memory_swap not in (0, 2 * host.memory) else []


def swappiness(it: Made) -> Iterable[str]:
    return [str(it.host.memory_swappiness)] if it.host.memory_swappiness > 0 else []


def ulimits(it: Made) -> Iterable[str]:
    # An inspection shows podman's own limits too, whatever they are on this node.
    if it.command.is_known:
        return it.command.values("--ulimit")
    return [
        f"{each.name.removeprefix('RLIMIT_').lower()}={each.soft}:{each.hard}"
        for each in it.host.ulimits or ()
        if each.name not in _OWN_LIMITS or {each.soft, each.hard} != {_OWN_LIMIT}
    ]


def log_driver(it: Made) -> Iterable[str]:
    # Which one podman takes by itself differs between systems; none of these two is a setting of the container's.
    found, usual = it.host.log_config.type, ("", "k8s-file", "json-file")
    if it.command.is_known:
        return [each for each in it.command.values("--log-driver") if each not in usual]
    return [found] if found not in (*usual, "journald") else []


def log_options(it: Made) -> Iterable[str]:
    # What was made without a command line may be ours, with our limit.
    return it.command.values("--log-opt") or [f"tag={tag}" for tag in [it.host.log_config.tag] if tag]


def health_off(it: Made) -> Iterable[str]:
    """Only relevant when the image has a health check."""
    return [""] if _is_off(it.config.healthcheck) and not _is_off(it.image.healthcheck, missing=True) else []


def _is_off(probe: Probe | None, *, missing: bool = False) -> bool:
    return missing if probe is None else (probe.test or ["NONE"])[0] == "NONE"


def startup_health(it: Made) -> Iterable[str]:
    probe = it.config.startup_healthcheck
    return [" ".join((probe.test or [])[1:])] if probe and not _is_off(probe) else []


def unset(it: Made) -> Iterable[str]:
    """Variables of the image that the container has not; of podman's own, those that were asked away."""
    has = {each.partition("=")[0] for each in it.config.env or ()}
    asked = it.command.values("--unsetenv")
    return dict.fromkeys(
        [*(name for each in it.image.config.env or () if (name := each.partition("=")[0]) not in has), *asked]
    )


def userns(it: Made) -> Iterable[str]:
    # An inspection shows "private" for every kind of mapping.
    asked = [each for each in it.command.values("--userns") if each != "host"]
    return asked or [each for each in [it.host.userns_mode] if each not in ("", "host")]


def cgroup_parent(it: Made) -> Iterable[str]:
    # podman's default differs between nodes.
    if it.command.is_known:
        return it.command.values("--cgroup-parent")
    return [each for each in [it.host.cgroup_parent] if each not in ("", "machine.slice", "user.slice")]
