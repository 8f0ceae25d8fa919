"""The table of all keys of a component that podman has a say in: one row a key, with its way to podman and back.

A new key is a row here: a plain one says to which place of libpod's SpecGenerator its value goes and what of an
inspection is its value; one that needs more has a function for each way. `mcpd.runtime.create` and
`mcpd.runtime.describe` follow from the table, as do the options that a definition can say.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from datetime import timedelta

from mcpd.runtime import confinement, joined_networks, limits, mounts, program, route_ports
from mcpd.runtime.setting import Context, Made, Part, Setting, clipped, nothing, plain, unread
from protos import grammar, podman_notation
from protos.spec import Component

# Keys that no container is made from: only mcpd or mcpctl uses them.
NOT_OF_PODMAN = frozenset(
    {"name", "active", "oneshot", "settle", "heal", "pull", "build", "env_file", "update", "drain_timeout"}
    | {"schedule", "timezone"}
)

# The labels by which a tool finds its containers: not settings of the container.
_LABELS_OF_TOOLS = ("mcp.", "com.docker.compose.", "io.podman.compose.", "PODMAN_SYSTEMD_UNIT")
# podman and the image set these themselves.
_OWN_ANNOTATIONS = (
    *("io.podman.", "io.kubernetes.cri-o.", "io.container.", "org.opencontainers.image.", "org.systemd.property."),
    confinement.KEEPS_GROUPS,
)
# podman-run(1), --shm-size: the default.
_SHM_SIZE = 65536000
# podman's for a container that runs systemd.
_STOP_OF_SYSTEMD = signal.SIGRTMIN + 3


def _send_restart(component: Component, _: Context) -> Part:
    restart = grammar.restart(component.restart)
    tries = {"restart_tries": restart.tries} if restart.tries else {}
    return {"restart_policy": restart.policy, **tries}


def _read_restart(it: Made, _: list[str]) -> str:
    policy = it.host.restart_policy
    name = policy.name or "no"
    return f"{name}:{policy.maximum_retry_count}" if name == "on-failure" and policy.maximum_retry_count else name


def _read_stop_timeout(it: Made, _: list[str]) -> timedelta:
    return timedelta(seconds=max(it.config.stop_timeout, 0))


def _read_stop_signal(it: Made) -> str | None:
    found = _signal(it.config.stop_signal)
    usual = {_signal(it.image.config.stop_signal) or signal.SIGTERM}
    if it.config.systemd_mode:
        usual.add(_STOP_OF_SYSTEMD)
    if not found or found in usual:
        return None
    return signal.Signals(found).name if found in set(signal.Signals) else str(found)


def _signal(text: int | str) -> int | None:
    try:
        return podman_notation.signal(str(text))
    except ValueError:
        return None


def _read_user(it: Made) -> str | None:
    # `--userns keep-id` gives it one, too.
    is_asked = it.command.has("--user") or not it.command.is_known
    return it.config.user if is_asked and it.config.user not in ("", it.image.user) else None


def _read_workdir(it: Made) -> str | None:
    found = it.config.working_dir
    return found if found not in ("", it.image.config.working_dir or "/") else None


def _read_hostname(it: Made) -> str | None:
    name, shares = it.config.hostname, "host" in (it.host.network_mode, it.host.uts_mode)
    return None if shares or name in ("", it.details.id[:12]) else name


def _read_shm_size(it: Made) -> int:
    return 0 if it.host.shm_size == _SHM_SIZE else it.host.shm_size


def _send_labels(component: Component, _: Context) -> Part:
    return {"labels": component.labels}


def _read_labels(it: Made) -> dict[str, str]:
    of_image = it.image.config.labels or {}
    found = it.config.labels or {}
    return {
        name: value
        for name, value in found.items()
        if of_image.get(name) != value and not name.startswith(_LABELS_OF_TOOLS)
    }


def _read_annotations(it: Made) -> dict[str, str]:
    found = it.config.annotations or {}
    return {name: value for name, value in found.items() if not name.startswith(_OWN_ANNOTATIONS)}


def _read_depends_on(it: Made, losses: list[str]) -> Iterable[str]:
    """``--requires``; a loss where it names a container that is not one of the service's components."""
    found = [it.names[each] for each in it.details.dependencies or () if each in it.names]
    required = [name for each in it.asked("--requires") for name in each.split(",")]
    losses += [clipped(f"--requires {','.join(required)}")] if len(required) > len(found) else []
    modes = (it.host.network_mode, it.host.pid_mode, it.host.ipc_mode)
    shared = {joined_networks.component_of(mode, it) for mode in modes}
    return [each for each in found if f"{podman_notation.COMPONENT}{each}" not in shared]


_OF_HEALTH = (
    *("--health-cmd", "--health-interval", "--health-retries", "--health-start-period", "--health-timeout"),
    "--no-healthcheck",
)

SETTINGS: tuple[Setting, ...] = (
    # What it runs.
    Setting("image", (), program.send_image, program.read_image),
    Setting(
        "platform",
        ("--platform", "--os", "--arch", "--variant"),
        program.send_platform,
        lambda it, _: program.read_platform(it),
    ),
    Setting("entrypoint", ("--entrypoint",), program.send_entrypoint, program.read_entrypoint),
    plain("cmd", (), "command", program.read_cmd),
    plain("workdir", "--workdir", "work_dir", _read_workdir),
    plain("user", "--user", "user", _read_user),
    Setting("group_add", ("--group-add",), confinement.send_group_add, confinement.read_group_add),
    Setting("env", ("--env", "--env-file", "--env-host", "--env-merge"), program.send_env, program.read_env),
    Setting("secrets", ("--secret",), program.send_secrets, program.read_secrets),
    Setting("configs", (), mounts.send_configs, unread),
    plain("init", "--init", "init", lambda it: it.details.has_init),
    plain("tty", "--tty", "terminal", lambda it: it.config.tty),
    plain("interactive", "--interactive", "stdin", lambda it: it.config.open_stdin),
    plain("stop_signal", "--stop-signal", "stop_signal", _read_stop_signal, podman_notation.signal),
    Setting("stop_timeout", ("--stop-timeout",), limits.send_stop_timeout, _read_stop_timeout),
    Setting("timeout", ("--timeout",), limits.send_timeout, limits.read_timeout),
    Setting("restart", ("--restart",), _send_restart, _read_restart),
    Setting("depends_on", ("--requires",), nothing, _read_depends_on),
    Setting("health", _OF_HEALTH, limits.send_health, limits.read_health),
    # Where it is.
    plain("hostname", "--hostname", "hostname", _read_hostname),
    Setting("network", ("--network",), joined_networks.send_networks, joined_networks.read_network),
    Setting("networks", ("--network-alias", "--ip", "--ip6"), nothing, joined_networks.read_networks),
    Setting("ports", ("--publish", "--publish-all"), joined_networks.send_ports, joined_networks.read_ports),
    Setting("routes", (), route_ports.send_routes, unread),
    Setting("add_hosts", ("--add-host",), joined_networks.send_add_hosts, lambda it, _: it.host.extra_hosts),
    plain("dns", "--dns", "dns_server", lambda it: it.host.dns),
    plain("dns_search", "--dns-search", "dns_search", lambda it: it.host.dns_search),
    plain("dns_options", "--dns-option", "dns_option", lambda it: it.host.dns_options),
    # Its files.
    Setting("volumes", ("--volume", "--mount", "--volumes-from"), mounts.send_volumes, mounts.read_volumes),
    Setting("tmpfs", ("--tmpfs",), mounts.send_tmpfs, mounts.read_tmpfs),
    Setting("read_only", ("--read-only",), mounts.send_read_only, lambda it, _: it.host.readonly_rootfs),
    plain("shm_size", "--shm-size", "shm_size", _read_shm_size),
    # What it is called by.
    Setting("labels", ("--label",), _send_labels, lambda it, _: _read_labels(it)),
    plain("annotations", "--annotation", "annotations", _read_annotations),
    # What it shares with the node, and what it may do there.
    Setting("userns", ("--userns",), confinement.send_userns, confinement.read_userns),
    Setting("pid", ("--pid",), confinement.send_namespace("pid", "pidns"), confinement.read_pid),
    Setting("ipc", ("--ipc",), confinement.send_namespace("ipc", "ipcns"), confinement.read_ipc),
    Setting("devices", ("--device",), confinement.send_devices, confinement.read_devices),
    plain("cap_add", "--cap-add", "cap_add", confinement.read_cap_add),
    plain("cap_drop", "--cap-drop", "cap_drop", confinement.read_cap_drop),
    plain("privileged", "--privileged", "privileged", lambda it: it.host.privileged),
    Setting("security_opt", ("--security-opt",), confinement.send_security_opt, confinement.read_security_opt),
    Setting("ulimits", ("--ulimit",), confinement.send_ulimits, confinement.read_ulimits),
    plain("sysctls", "--sysctl", "sysctl", confinement.read_sysctls),
    # What it may use.
    plain("resources.memory", "--memory", "resource_limits.memory.limit", lambda it: max(it.host.memory, 0)),
    plain(
        "resources.memory_reservation",
        "--memory-reservation",
        "resource_limits.memory.reservation",
        lambda it: it.host.memory_reservation,
    ),
    Setting("resources.memory_swap", ("--memory-swap",), limits.send_memory_swap, limits.read_memory_swap),
    Setting("resources.cpus", ("--cpus", "--cpu-period", "--cpu-quota"), limits.send_cpus, limits.read_cpus),
    plain("resources.cpu_shares", "--cpu-shares", "resource_limits.cpu.shares", lambda it: it.host.cpu_shares),
    plain("resources.cpuset", "--cpuset-cpus", "resource_limits.cpu.cpus", lambda it: it.host.cpuset_cpus or None),
    Setting("resources.pids", ("--pids-limit",), limits.send_pids, limits.read_pids),
    plain("resources.oom_score_adj", "--oom-score-adj", "oom_score_adj", lambda it: it.host.oom_score_adj),
    Setting("log.driver", ("--log-driver",), limits.send_log, limits.read_log_driver),
    Setting("log.max_size", ("--log-opt",), nothing, limits.read_log_size),
    Setting("log.tag", (), nothing, lambda it, _: limits.read_log_tag(it)),
)

# The options that a definition can say; what it cannot say of their values `describe` reports.
SUPPORTED = frozenset(option for setting in SETTINGS for option in setting.options)
