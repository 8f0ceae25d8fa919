"""What a container has and no definition can say: every option of podman-run(1), in one table. Pure functions.

An option is in exactly one place: among those that a definition says (`SAID`), among those that leave nothing in a
container (`PASSING`), or in `SETTINGS`, each with how it is read. One that becomes part of definitions moves from
`SETTINGS` to `SAID`, and `mcpd.runtime.describe` reads it. What is in none of them is named as well: podman learns new
options.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from mcpd.runtime.asked import Asked
from mcpd.runtime.inspected import Config, Details, Host, ImageDefaults, Probe, Rate

# What `describe` makes a part of the component; it names itself what it cannot say of these.
SAID = frozenset(
    (
        *("--cpu-period", "--cpu-quota", "--cpus", "--entrypoint", "--env", "--env-file", "--env-host"),
        *("--env-merge", "--health-cmd", "--health-interval", "--health-retries", "--health-start-period"),
        *("--health-timeout", "--memory", "--mount", "--network", "--pids-limit", "--publish"),
        *("--publish-all", "--requires", "--restart", "--secret", "--stop-timeout", "--user", "--volume"),
        *("--volumes-from",),
    )
)
# What acts when a container is made or on the command that makes it, and is no part of the container.
PASSING = frozenset(
    (
        *("--attach", "--authfile", "--cert-dir", "--cidfile", "--conmon-pidfile", "--creds"),
        *("--decryption-key", "--detach", "--detach-keys", "--disable-content-trust", "--expose", "--help"),
        *("--label-file", "--name", "--pod-id-file", "--pull", "--quiet", "--replace", "--retry"),
        *("--retry-delay", "--rmi", "--sig-proxy", "--tls-verify"),
    )
)

# The labels by which a tool finds what it has made. They are its own affair, and ours.
_LABELS_OF_TOOLS = ("mcp.", "com.docker.compose.", "io.podman.compose.")
# podman and the image write these themselves.
_OWN_ANNOTATIONS = ("io.podman.", "io.kubernetes.cri-o.", "io.container.", "org.opencontainers.image.")
# An annotation by which podman remembers `--group-add keep-groups`.
_KEEPS_GROUPS = "run.oci.keep_original_groups"
# podman-run(1), --shm-size: what a container has that asks for none.
_SHM_SIZE = 65536000
# The limits that podman sets by itself where containers.conf(5) says nothing, and the value.
_OWN_LIMITS = ("RLIMIT_NOFILE", "RLIMIT_NPROC")
_OWN_LIMIT = 1048576
# What a read-only container gets inside without asking.
_TMPFS_OF_READ_ONLY = frozenset({"/run", "/tmp", "/var/tmp"})  # noqa: S108
_SECURITY_UNSEEN = ("mask=", "unmask=", "proc-opts=", "systempaths=")
# podman's for a container that runs systemd.
_STOP_OF_SYSTEMD = signal.SIGRTMIN + 3
_YES = ("true", "")
_NO = "false"


class Made(NamedTuple):
    """How a container was made, and what its image sets by itself."""

    details: Details
    image: ImageDefaults

    @property
    def config(self) -> Config:
        return self.details.config

    @property
    def host(self) -> Host:
        return self.details.host_config

    @property
    def asked(self) -> Asked:
        return self.details.asked


_Read = Callable[[Made], Iterable[str]]


class Setting(msgspec.Struct, frozen=True):
    """An option, and how to find whether a container has it.

    ``shown`` are its values by an inspection, "" for a switch; ``asks`` whether the command line is asked when an
    inspection shows none, ``usual`` are the values there that change nothing.
    """

    option: str
    shown: _Read | None = None
    asks: bool = False
    usual: frozenset[str] = frozenset()

    def values(self, it: Made) -> tuple[str, ...]:
        found = tuple(self.shown(it)) if self.shown else ()
        if found or not self.asks:
            return found
        return tuple(each for each in it.asked.values(self.option) if each not in self.usual)


def unsayable(details: Details, image: ImageDefaults) -> Iterator[str]:
    """The settings that have no place in a definition, as the options of podman-run(1) that make them."""
    it = Made(details, image)
    for each in SETTINGS:
        for value in each.values(it):
            yield f"{each.option} {clipped(value)}" if value not in _YES else each.option
    known = SAID | PASSING | {each.option for each in SETTINGS}
    yield from dict.fromkeys(clipped(option) for option, _ in it.asked.options if option not in known)


def clipped(text: str, longest: int = 120) -> str:
    """What a stranger wrote, on one line."""
    shown = "".join(each if each.isprintable() else "?" for each in text)
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."


# -- how single settings are read


def _switch(is_on: Callable[[Made], object]) -> _Read:
    return lambda it: [""] if is_on(it) else []


def _value(value: Callable[[Made], object], *usual: object) -> _Read:
    """One value, unless it is empty or ``usual``."""

    def read(it: Made) -> Iterable[str]:
        found = value(it)
        return [str(found)] if found and found not in usual else []

    return read


def _each(values: Callable[[Made], Iterable[str] | None]) -> _Read:
    return lambda it: list(values(it) or ())


def _rates(values: Callable[[Made], Sequence[Rate] | None]) -> _Read:
    return lambda it: [f"{each.path}:{each.rate or each.weight}" for each in values(it) or ()]


def _hostname(it: Made) -> Iterable[str]:
    name, shares = it.config.hostname, "host" in (it.host.network_mode, it.host.uts_mode)
    return [] if shares or name in ("", it.details.id[:12]) else [name]


def _workdir(it: Made) -> Iterable[str]:
    found = it.config.working_dir
    return [found] if found not in ("", it.image.config.working_dir or "/") else []


def _stop_signal(it: Made) -> Iterable[str]:
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


def _cap_add(it: Made) -> Iterable[str]:
    # Of a privileged container podman lists every capability.
    return () if it.host.privileged else it.host.cap_add or ()


def _cap_drop(it: Made) -> Iterable[str]:
    # A privileged one drops what its maker has not.
    if it.host.privileged and not it.asked.has("--cap-drop"):
        return ()
    return it.host.cap_drop or ()


def _devices(it: Made) -> Iterable[str]:
    if it.host.privileged:
        return ()
    return [f"{each.path_on_host}:{each.path_in_container}" for each in it.host.devices or ()]


def _group_add(it: Made) -> Iterable[str]:
    keeps = _KEEPS_GROUPS in (it.config.annotations or {})
    return [*(it.host.group_add or ()), *(["keep-groups"] * keeps)]


def _security(it: Made) -> Iterable[str]:
    unseen = (each for each in it.asked.values("--security-opt") if each.startswith(_SECURITY_UNSEEN))
    return dict.fromkeys([*(it.host.security_opt or ()), *unseen])


def _tmpfs(it: Made) -> Iterable[str]:
    asked = {each.partition(":")[0] for each in it.asked.values("--tmpfs")}
    own = _TMPFS_OF_READ_ONLY - asked if it.host.readonly_rootfs else frozenset()
    return [each for each in it.host.tmpfs or () if each not in own]


def _aliases(it: Made) -> Iterable[str]:
    """But for those that podman gives by itself."""
    own = (it.details.id[:12], it.details.name, it.config.hostname)
    joined = (it.details.network_settings.networks or {}).values()
    found = dict.fromkeys(alias for each in joined for alias in each.aliases or () if alias not in own)
    return found or it.asked.values("--network-alias")


def _labels(it: Made) -> Iterable[str]:
    own, of_image = it.config.labels or {}, it.image.config.labels or {}
    return _named(name for name in own if of_image.get(name) != own[name] and not name.startswith(_LABELS_OF_TOOLS))


def _annotations(it: Made) -> Iterable[str]:
    names = (name for name in it.config.annotations or () if name != _KEEPS_GROUPS)
    return _named(name for name in names if not name.startswith(_OWN_ANNOTATIONS))


def _named(names: Iterable[str]) -> Iterable[str]:
    """Names without their values, where people keep passwords too."""
    return sorted(names)


def _memory_swap(it: Made) -> Iterable[str]:
    # podman's own: as much again as the memory.
    host = it.host
    return [str(host.memory_swap)] if host.memory_swap not in (0, 2 * host.memory) else []


def _swappiness(it: Made) -> Iterable[str]:
    return [str(it.host.memory_swappiness)] if it.host.memory_swappiness > 0 else []


def _ulimits(it: Made) -> Iterable[str]:
    # An inspection shows podman's own limits too, whatever they are on this node.
    if it.asked.is_known:
        return it.asked.values("--ulimit")
    return [
        f"{each.name.removeprefix('RLIMIT_').lower()}={each.soft}:{each.hard}"
        for each in it.host.ulimits or ()
        if each.name not in _OWN_LIMITS or {each.soft, each.hard} != {_OWN_LIMIT}
    ]


def _log_driver(it: Made) -> Iterable[str]:
    # Which one podman takes by itself differs between systems; none of these two is a setting of the container's.
    found, usual = it.host.log_config.type, ("", "k8s-file", "json-file")
    if it.asked.is_known:
        return [each for each in it.asked.values("--log-driver") if each not in usual]
    return [found] if found not in (*usual, "journald") else []


def _log_options(it: Made) -> Iterable[str]:
    # What was made without a command line may be ours, with our limit.
    return it.asked.values("--log-opt") or [f"tag={tag}" for tag in [it.host.log_config.tag] if tag]


def _health_off(it: Made) -> Iterable[str]:
    """It counts where the image has a check."""
    return [""] if _is_off(it.config.healthcheck) and not _is_off(it.image.healthcheck, missing=True) else []


def _is_off(probe: Probe | None, *, missing: bool = False) -> bool:
    return missing if probe is None else (probe.test or ["NONE"])[0] == "NONE"


def _startup_health(it: Made) -> Iterable[str]:
    probe = it.config.startup_healthcheck
    return [" ".join((probe.test or [])[1:])] if probe and not _is_off(probe) else []


def _unset(it: Made) -> Iterable[str]:
    """Variables of the image that the container has not; of podman's own, those that were asked away."""
    has = {each.partition("=")[0] for each in it.config.env or ()}
    asked = it.asked.values("--unsetenv")
    return dict.fromkeys(
        [*(name for each in it.image.config.env or () if (name := each.partition("=")[0]) not in has), *asked]
    )


def _userns(it: Made) -> Iterable[str]:
    # An inspection says "private" for every kind of mapping.
    asked = [each for each in it.asked.values("--userns") if each != "host"]
    return asked or [each for each in [it.host.userns_mode] if each not in ("", "host")]


def _cgroup_parent(it: Made) -> Iterable[str]:
    # Which one is podman's own differs between nodes.
    if it.asked.is_known:
        return it.asked.values("--cgroup-parent")
    return [each for each in [it.host.cgroup_parent] if each not in ("", "machine.slice", "user.slice")]


def _asked(option: str, *usual: str) -> Setting:
    """One that leaves nothing in an inspection that could be told from a default."""
    return Setting(option, asks=True, usual=frozenset(usual))


SETTINGS: tuple[Setting, ...] = (
    # What it may do.
    Setting("--privileged", _switch(lambda it: it.host.privileged)),
    Setting("--cap-add", _cap_add),
    Setting("--cap-drop", _cap_drop),
    Setting("--security-opt", _security),
    Setting("--device", _devices, asks=True),
    _asked("--device-cgroup-rule"),
    _asked("--gpus"),
    Setting("--group-add", _group_add),
    _asked("--seccomp-policy", "default"),
    Setting("--read-only", _switch(lambda it: it.host.readonly_rootfs)),
    _asked("--read-only-tmpfs", *_YES),
    # How it runs.
    Setting("--rm", lambda it: ["(it goes when it ends)"] if it.host.auto_remove else []),
    Setting("--init", _switch(lambda it: it.details.has_init)),
    _asked("--init-path"),
    _asked("--init-ctr"),
    Setting("--tty", _switch(lambda it: it.config.tty)),
    Setting("--interactive", _switch(lambda it: it.config.open_stdin)),
    Setting("--workdir", _workdir),
    Setting("--stop-signal", _stop_signal),
    Setting("--timeout", _value(lambda it: it.config.timeout)),
    _asked("--systemd", *_YES),
    _asked("--sdnotify", "container"),
    Setting("--tz", _value(lambda it: it.config.timezone), asks=True),
    Setting("--umask", _value(lambda it: it.config.umask, "0022", "022"), asks=True, usual=frozenset({"0022", "022"})),
    _asked("--personality"),
    _asked("--runtime"),
    Setting("--unsetenv", _unset),
    _asked("--unsetenv-all", _NO),
    _asked("--http-proxy", *_YES),
    Setting("--no-healthcheck", _health_off),
    Setting("--health-on-failure", _value(lambda it: it.config.healthcheck_on_failure_action, "none")),
    Setting("--health-startup-cmd", _startup_health, asks=True),
    _asked("--health-startup-interval"),
    _asked("--health-startup-retries"),
    _asked("--health-startup-success"),
    _asked("--health-startup-timeout"),
    _asked("--health-log-destination", "local"),
    _asked("--health-max-log-count"),
    _asked("--health-max-log-size"),
    Setting("--log-driver", _log_driver),
    Setting("--log-opt", _log_options),
    # Where it is.
    Setting("--hostname", _hostname),
    Setting("--network-alias", _aliases),
    _asked("--ip"),
    _asked("--ip6"),
    _asked("--mac-address"),
    Setting("--dns", _each(lambda it: it.host.dns)),
    Setting("--dns-option", _each(lambda it: it.host.dns_options)),
    Setting("--dns-search", _each(lambda it: it.host.dns_search)),
    Setting("--add-host", _each(lambda it: it.host.extra_hosts)),
    _asked("--no-hosts", _NO),
    _asked("--no-hostname", _NO),
    _asked("--hosts-file"),
    Setting("--pod", _switch(lambda it: it.details.pod)),
    # What it shares with the node.
    Setting(
        "--ipc",
        _value(lambda it: it.host.ipc_mode, "shareable", "private"),
        asks=True,
        usual=frozenset({"shareable"}),
    ),
    Setting("--pid", _value(lambda it: it.host.pid_mode, "private")),
    Setting("--uts", _value(lambda it: it.host.uts_mode, "private")),
    Setting("--userns", _userns),
    _asked("--uidmap"),
    _asked("--gidmap"),
    _asked("--subuidname"),
    _asked("--subgidname"),
    _asked("--hostuser"),
    _asked("--passwd", *_YES),
    # Its value may hold a password.
    Setting("--passwd-entry", _switch(lambda it: it.asked.has("--passwd-entry"))),
    _asked("--group-entry"),
    # Its files.
    Setting("--tmpfs", _tmpfs),
    Setting("--shm-size", _value(lambda it: it.host.shm_size, _SHM_SIZE)),
    _asked("--shm-size-systemd"),
    Setting("--chrootdirs", _each(lambda it: it.config.chroot_dirs)),
    _asked("--image-volume", "anonymous", "bind"),
    _asked("--rootfs", _NO),
    _asked("--pidfile"),
    _asked("--preserve-fd"),
    _asked("--preserve-fds"),
    # What it may use.
    Setting("--ulimit", _ulimits),
    _asked("--sysctl"),
    Setting("--cpu-shares", _value(lambda it: it.host.cpu_shares)),
    Setting("--cpuset-cpus", _value(lambda it: it.host.cpuset_cpus)),
    Setting("--cpuset-mems", _value(lambda it: it.host.cpuset_mems)),
    Setting("--cpu-rt-period", _value(lambda it: it.host.cpu_realtime_period)),
    Setting("--cpu-rt-runtime", _value(lambda it: it.host.cpu_realtime_runtime)),
    Setting("--memory-reservation", _value(lambda it: it.host.memory_reservation)),
    Setting("--memory-swap", _memory_swap),
    Setting("--memory-swappiness", _swappiness),
    Setting("--oom-score-adj", _value(lambda it: it.host.oom_score_adj)),
    Setting("--oom-kill-disable", _switch(lambda it: it.host.oom_kill_disable)),
    Setting("--blkio-weight", _value(lambda it: it.host.blkio_weight)),
    Setting("--blkio-weight-device", _rates(lambda it: it.host.blkio_weight_device)),
    Setting("--device-read-bps", _rates(lambda it: it.host.blkio_device_read_bps)),
    Setting("--device-write-bps", _rates(lambda it: it.host.blkio_device_write_bps)),
    Setting("--device-read-iops", _rates(lambda it: it.host.blkio_device_read_iops)),
    Setting("--device-write-iops", _rates(lambda it: it.host.blkio_device_write_iops)),
    _asked("--cgroupns"),
    _asked("--cgroups", "enabled"),
    Setting("--cgroup-parent", _cgroup_parent),
    _asked("--cgroup-conf"),
    _asked("--rdt-class"),
    # What it is called by.
    Setting("--label", _labels),
    Setting("--annotation", _annotations),
    # Which image it is of: a pull would take that of the node's own kind.
    _asked("--platform"),
    _asked("--arch"),
    _asked("--os"),
    _asked("--variant"),
)
