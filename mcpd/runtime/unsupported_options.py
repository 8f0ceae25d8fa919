"""Settings of containers that a definition cannot express: a table of podman-run(1)'s options. Pure functions.

An option is in exactly one place: in `SUPPORTED` when a definition says it, in `TRANSIENT` when it leaves nothing in a
container, and in `SETTINGS`, with how it is read, otherwise. An option that becomes part of definitions moves from
`SETTINGS` to `SUPPORTED`, and `mcpd.runtime.describe` reads it. An option that is in none of them is named as well,
since podman learns new ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from mcpd.runtime import option_values as values
from mcpd.runtime.inspected import Details, ImageDefaults
from mcpd.runtime.option_values import Made, Read

# The options that `describe` reads into the component; it reports itself what it cannot express of them.
SUPPORTED = frozenset(
    (
        *("--cpu-period", "--cpu-quota", "--cpus", "--entrypoint", "--env", "--env-file", "--env-host"),
        *("--env-merge", "--health-cmd", "--health-interval", "--health-retries", "--health-start-period"),
        *("--health-timeout", "--memory", "--mount", "--network", "--pids-limit", "--publish"),
        *("--publish-all", "--requires", "--restart", "--secret", "--stop-timeout", "--user", "--volume"),
        *("--volumes-from",),
    )
)
# Options that act only while a container is created and leave nothing in it.
TRANSIENT = frozenset(
    (
        *("--attach", "--authfile", "--cert-dir", "--cidfile", "--conmon-pidfile", "--creds"),
        *("--decryption-key", "--detach", "--detach-keys", "--disable-content-trust", "--expose", "--help"),
        *("--label-file", "--name", "--pod-id-file", "--pull", "--quiet", "--replace", "--retry"),
        *("--retry-delay", "--rmi", "--sig-proxy", "--tls-verify"),
    )
)

_YES = ("true", "")
_NO = "false"
# podman-run(1), --shm-size: the default.
_SHM_SIZE = 65536000


class Setting(msgspec.Struct, frozen=True):
    """An option, and how to find out whether a container has it.

    ``shown`` are its values by an inspection, "" for a switch; ``asks`` whether the command line is asked when an
    inspection shows none, ``usual`` are the values there that change nothing.
    """

    option: str
    shown: Read | None = None
    asks: bool = False
    usual: frozenset[str] = frozenset()

    def values(self, it: Made) -> tuple[str, ...]:
        found = tuple(self.shown(it)) if self.shown else ()
        if found or not self.asks:
            return found
        return tuple(each for each in it.command.values(self.option) if each not in self.usual)


def clipped(text: str, longest: int = 120) -> str:
    """Untrusted text, on one line and cut to ``longest`` characters."""
    shown = "".join(each if each.isprintable() else "?" for each in text)
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."


def unsupported(details: Details, image: ImageDefaults) -> Iterator[str]:
    """The settings that a definition cannot express, as options of podman-run(1)."""
    it = Made(details, image)
    for each in SETTINGS:
        for value in each.values(it):
            yield f"{each.option} {clipped(value)}" if value not in _YES else each.option
    known = SUPPORTED | TRANSIENT | {each.option for each in SETTINGS}
    yield from dict.fromkeys(clipped(option) for option, _ in it.command.options if option not in known)


def _asked(option: str, *usual: str) -> Setting:
    """An option that an inspection cannot tell from its default."""
    return Setting(option, asks=True, usual=frozenset(usual))


SETTINGS: tuple[Setting, ...] = (
    # What it may do.
    Setting("--privileged", values.switch(lambda it: it.host.privileged)),
    Setting("--cap-add", values.cap_add),
    Setting("--cap-drop", values.cap_drop),
    Setting("--security-opt", values.security),
    Setting("--device", values.devices, asks=True),
    _asked("--device-cgroup-rule"),
    _asked("--gpus"),
    Setting("--group-add", values.group_add),
    _asked("--seccomp-policy", "default"),
    Setting("--read-only", values.switch(lambda it: it.host.readonly_rootfs)),
    _asked("--read-only-tmpfs", *_YES),
    # How it runs.
    Setting("--rm", lambda it: ["(it goes when it ends)"] if it.host.auto_remove else []),
    Setting("--init", values.switch(lambda it: it.details.has_init)),
    _asked("--init-path"),
    _asked("--init-ctr"),
    Setting("--tty", values.switch(lambda it: it.config.tty)),
    Setting("--interactive", values.switch(lambda it: it.config.open_stdin)),
    Setting("--workdir", values.workdir),
    Setting("--stop-signal", values.stop_signal),
    Setting("--timeout", values.single(lambda it: it.config.timeout)),
    _asked("--systemd", *_YES),
    _asked("--sdnotify", "container"),
    Setting("--tz", values.single(lambda it: it.config.timezone), asks=True),
    Setting(
        "--umask", values.single(lambda it: it.config.umask, "0022", "022"), asks=True, usual=frozenset({"0022", "022"})
    ),
    _asked("--personality"),
    _asked("--runtime"),
    Setting("--unsetenv", values.unset),
    _asked("--unsetenv-all", _NO),
    _asked("--http-proxy", *_YES),
    Setting("--no-healthcheck", values.health_off),
    Setting("--health-on-failure", values.single(lambda it: it.config.healthcheck_on_failure_action, "none")),
    Setting("--health-startup-cmd", values.startup_health, asks=True),
    _asked("--health-startup-interval"),
    _asked("--health-startup-retries"),
    _asked("--health-startup-success"),
    _asked("--health-startup-timeout"),
    _asked("--health-log-destination", "local"),
    _asked("--health-max-log-count"),
    _asked("--health-max-log-size"),
    Setting("--log-driver", values.log_driver),
    Setting("--log-opt", values.log_options),
    # Where it is.
    Setting("--hostname", values.hostname),
    Setting("--network-alias", values.aliases),
    _asked("--ip"),
    _asked("--ip6"),
    _asked("--mac-address"),
    Setting("--dns", values.several(lambda it: it.host.dns)),
    Setting("--dns-option", values.several(lambda it: it.host.dns_options)),
    Setting("--dns-search", values.several(lambda it: it.host.dns_search)),
    Setting("--add-host", values.several(lambda it: it.host.extra_hosts)),
    _asked("--no-hosts", _NO),
    _asked("--no-hostname", _NO),
    _asked("--hosts-file"),
    Setting("--pod", values.switch(lambda it: it.details.pod)),
    # What it shares with the node.
    Setting(
        "--ipc",
        values.single(lambda it: it.host.ipc_mode, "shareable", "private"),
        asks=True,
        usual=frozenset({"shareable"}),
    ),
    Setting("--pid", values.single(lambda it: it.host.pid_mode, "private")),
    Setting("--uts", values.single(lambda it: it.host.uts_mode, "private")),
    Setting("--userns", values.userns),
    _asked("--uidmap"),
    _asked("--gidmap"),
    _asked("--subuidname"),
    _asked("--subgidname"),
    _asked("--hostuser"),
    _asked("--passwd", *_YES),
    # Its value may hold a password.
    Setting("--passwd-entry", values.switch(lambda it: it.command.has("--passwd-entry"))),
    _asked("--group-entry"),
    # Its files.
    Setting("--tmpfs", values.tmpfs),
    Setting("--shm-size", values.single(lambda it: it.host.shm_size, _SHM_SIZE)),
    _asked("--shm-size-systemd"),
    Setting("--chrootdirs", values.several(lambda it: it.config.chroot_dirs)),
    _asked("--image-volume", "anonymous", "bind"),
    _asked("--rootfs", _NO),
    _asked("--pidfile"),
    _asked("--preserve-fd"),
    _asked("--preserve-fds"),
    # What it may use.
    Setting("--ulimit", values.ulimits),
    _asked("--sysctl"),
    Setting("--cpu-shares", values.single(lambda it: it.host.cpu_shares)),
    Setting("--cpuset-cpus", values.single(lambda it: it.host.cpuset_cpus)),
    Setting("--cpuset-mems", values.single(lambda it: it.host.cpuset_mems)),
    Setting("--cpu-rt-period", values.single(lambda it: it.host.cpu_realtime_period)),
    Setting("--cpu-rt-runtime", values.single(lambda it: it.host.cpu_realtime_runtime)),
    Setting("--memory-reservation", values.single(lambda it: it.host.memory_reservation)),
    Setting("--memory-swap", values.memory_swap),
    Setting("--memory-swappiness", values.swappiness),
    Setting("--oom-score-adj", values.single(lambda it: it.host.oom_score_adj)),
    Setting("--oom-kill-disable", values.switch(lambda it: it.host.oom_kill_disable)),
    Setting("--blkio-weight", values.single(lambda it: it.host.blkio_weight)),
    Setting("--blkio-weight-device", values.rates(lambda it: it.host.blkio_weight_device)),
    Setting("--device-read-bps", values.rates(lambda it: it.host.blkio_device_read_bps)),
    Setting("--device-write-bps", values.rates(lambda it: it.host.blkio_device_write_bps)),
    Setting("--device-read-iops", values.rates(lambda it: it.host.blkio_device_read_iops)),
    Setting("--device-write-iops", values.rates(lambda it: it.host.blkio_device_write_iops)),
    _asked("--cgroupns"),
    _asked("--cgroups", "enabled"),
    Setting("--cgroup-parent", values.cgroup_parent),
    _asked("--cgroup-conf"),
    _asked("--rdt-class"),
    # What it is called by.
    Setting("--label", values.label_names),
    Setting("--annotation", values.annotation_names),
    # Which image it is of: a pull would take that of the node's own kind.
    _asked("--platform"),
    _asked("--arch"),
    _asked("--os"),
    _asked("--variant"),
)
