"""Options of podman-run(1) that a definition cannot say: a table of them. Pure functions.

An option is in exactly one place: in `mcpd.runtime.settings.SUPPORTED` when a definition says it, in `TRANSIENT` when
it leaves nothing in a container, and in `UNSUPPORTED`, with how it is read, otherwise. An option that is in none of
them is named as well, since podman learns new ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from mcpd.runtime import option_values as values
from mcpd.runtime.option_values import Read
from mcpd.runtime.setting import Made, clipped
from mcpd.runtime.settings import SUPPORTED

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


class Unsupported(msgspec.Struct, frozen=True):
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
        return tuple(each for each in it.asked(self.option) if each not in self.usual)


def unsupported(it: Made) -> Iterator[str]:
    """The settings that a definition cannot express, as options of podman-run(1)."""
    for each in UNSUPPORTED:
        for value in each.values(it):
            yield f"{each.option} {clipped(value)}" if value not in _YES else each.option
    known = SUPPORTED | TRANSIENT | {each.option for each in UNSUPPORTED}
    yield from dict.fromkeys(clipped(option) for option, _ in it.command.options if option not in known)


def _asked(option: str, *usual: str) -> Unsupported:
    """An option that an inspection cannot tell from its default."""
    return Unsupported(option, asks=True, usual=frozenset(usual))


UNSUPPORTED: tuple[Unsupported, ...] = (
    # What it may do.
    _asked("--device-cgroup-rule"),
    _asked("--gpus"),
    _asked("--seccomp-policy", "default"),
    _asked("--read-only-tmpfs", *_YES),
    # How it runs.
    Unsupported("--rm", lambda it: ["(it goes when it ends)"] if it.host.auto_remove else []),
    _asked("--init-path"),
    _asked("--init-ctr"),
    _asked("--systemd", *_YES),
    _asked("--sdnotify", "container"),
    Unsupported("--tz", values.single(lambda it: it.config.timezone), asks=True),
    Unsupported(
        "--umask", values.single(lambda it: it.config.umask, "0022", "022"), asks=True, usual=frozenset({"0022", "022"})
    ),
    _asked("--personality"),
    _asked("--runtime"),
    Unsupported("--unsetenv", values.unset),
    _asked("--unsetenv-all", _NO),
    _asked("--http-proxy", *_YES),
    Unsupported("--health-on-failure", values.single(lambda it: it.config.healthcheck_on_failure_action, "none")),
    Unsupported("--health-startup-cmd", values.startup_health, asks=True),
    _asked("--health-startup-interval"),
    _asked("--health-startup-retries"),
    _asked("--health-startup-success"),
    _asked("--health-startup-timeout"),
    _asked("--health-log-destination", "local"),
    _asked("--health-max-log-count"),
    _asked("--health-max-log-size"),
    # Where it is.
    _asked("--mac-address"),
    _asked("--no-hosts", _NO),
    _asked("--no-hostname", _NO),
    _asked("--hosts-file"),
    Unsupported("--pod", values.switch(lambda it: it.details.pod)),
    # What it shares with the node.
    Unsupported("--uts", values.single(lambda it: it.host.uts_mode, "private")),
    _asked("--uidmap"),
    _asked("--gidmap"),
    _asked("--subuidname"),
    _asked("--subgidname"),
    _asked("--hostuser"),
    _asked("--passwd", *_YES),
    # Its value may hold a password.
    Unsupported("--passwd-entry", values.switch(lambda it: it.command.has("--passwd-entry"))),
    _asked("--group-entry"),
    # Its files.
    _asked("--shm-size-systemd"),
    Unsupported("--chrootdirs", values.several(lambda it: it.config.chroot_dirs)),
    _asked("--image-volume", "anonymous", "bind"),
    _asked("--rootfs", _NO),
    _asked("--pidfile"),
    _asked("--preserve-fd"),
    _asked("--preserve-fds"),
    # What it may use.
    Unsupported("--cpuset-mems", values.single(lambda it: it.host.cpuset_mems)),
    Unsupported("--cpu-rt-period", values.single(lambda it: it.host.cpu_realtime_period)),
    Unsupported("--cpu-rt-runtime", values.single(lambda it: it.host.cpu_realtime_runtime)),
    Unsupported("--memory-swappiness", values.swappiness),
    Unsupported("--oom-kill-disable", values.switch(lambda it: it.host.oom_kill_disable)),
    Unsupported("--blkio-weight", values.single(lambda it: it.host.blkio_weight)),
    Unsupported("--blkio-weight-device", values.rates(lambda it: it.host.blkio_weight_device)),
    Unsupported("--device-read-bps", values.rates(lambda it: it.host.blkio_device_read_bps)),
    Unsupported("--device-write-bps", values.rates(lambda it: it.host.blkio_device_write_bps)),
    Unsupported("--device-read-iops", values.rates(lambda it: it.host.blkio_device_read_iops)),
    Unsupported("--device-write-iops", values.rates(lambda it: it.host.blkio_device_write_iops)),
    _asked("--cgroupns"),
    _asked("--cgroups", "enabled"),
    Unsupported("--cgroup-parent", values.cgroup_parent),
    _asked("--cgroup-conf"),
    _asked("--rdt-class"),
)
