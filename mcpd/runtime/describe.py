"""What a container that somebody else made would be declared as: the inverse of `mcpd.runtime.create`. Pure functions.

What podman shows of a container (podman-inspect(1)) is more than was asked for when it was made: the image's own
settings and podman's defaults are in it. They are taken off here, so that a definition says what a person would write.
What a definition cannot say at all is named, never dropped in silence (audit E4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

import msgspec

from mcpd.runtime.inspected import SIGTERM, Details, Host, ImageDefaults, Mount, Policy, Probe
from protos import grammar, naming
from protos.spec import Component, Health, Resources

T = TypeVar("T")

# podman sets these itself; they count only when somebody has asked for them.
_PODMANS_OWN = ("PATH", "TERM", "container", "HOME", "HOSTNAME")
# containers.conf(5): the limit of processes that podman gives to every container.
_DEFAULT_PIDS = 2048
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
# Mount options that podman adds to what was asked for.
_DEFAULT_OPTIONS = {"bind": frozenset({"rbind"}), "volume": frozenset({"rbind", "nosuid", "nodev"})}
# Of the volume options that no inspection shows: they act when the container is made.
_UNSEEN_OPTIONS = frozenset({"z", "Z", "U", "O", "idmap", "copy", "nocopy"})
# Options of podman-run(1) that leave too little in an inspection to be found there.
_UNSEEN_FLAGS = (
    *("--ip", "--ip6", "--mac-address", "--network-alias", "--sysctl", "--ulimit", "--log-opt", "--log-driver"),
    *("--cgroup-parent", "--env-host", "--requires", "--umask", "--systemd", "--gpus", "--rootfs", "--shm-size"),
)


class Description(msgspec.Struct, frozen=True):
    """What to declare, and what cannot be declared: each a sentence's end, as ``--privileged``."""

    component: Component
    losses: tuple[str, ...]


def describe(name: str, details: Details, image: ImageDefaults, depends_on: Sequence[str] = ()) -> Description:
    """The component ``name`` that a container would be; ``depends_on`` are the components that it requires."""
    losses: list[str] = []
    host, config = details.host_config, details.config
    component = Component(
        name=name,
        image=_image(details, image),
        network=_network(details, losses),
        user=_user(config.user, image.user, losses),
        restart=_restart(host.restart_policy),
        ports=tuple(_ports(host, losses)),
        volumes=tuple(_volumes(details, losses)),
        cmd=_cmd(details, image, losses),
        env=_env(details, image, losses),
        secrets=tuple(_secrets(details, losses)),
        depends_on=tuple(depends_on),
        stop_timeout=timedelta(seconds=max(config.stop_timeout, 0)),
        health=_health(config.healthcheck),
        resources=_resources(details, losses),
    )
    return Description(component, (*losses, *_unsayable(details, image)))


def _image(details: Details, image: ImageDefaults) -> str:
    names = (details.image_name, *(image.repo_tags or ()))
    # An image's id always is a reference.
    return next(filter(naming.is_image_reference, names), details.image)


def _cmd(details: Details, image: ImageDefaults, losses: list[str]) -> tuple[str, ...]:
    cmd, entrypoint = details.config.cmd or [], _joined(details.config.entrypoint)
    # 1. The image's own entry point, if any: only the command may differ.
    if entrypoint == _joined(image.config.entrypoint):
        return () if cmd == (image.config.cmd or []) else tuple(cmd)
    # 2. One that the image has not: the words of both are the command.
    if not image.config.entrypoint:
        args = details.args or []
        return (details.path,) if args == [details.path] else (details.path, *args)
    # 3. Another one than the image's.
    losses.append(f"--entrypoint {entrypoint!r}")
    return tuple(cmd)


def _joined(words: Sequence[str] | str | None) -> str:
    return words if isinstance(words, str) else " ".join(words or ())


def _env(details: Details, image: ImageDefaults, losses: list[str]) -> dict[str, str]:
    of_image = set(image.config.env or ())
    found: dict[str, str] = {}
    for entry in details.config.env or ():
        name, _, value = entry.partition("=")
        if entry in of_image or (name in _PODMANS_OWN and not _asks_for_variable(details.asked, name)):
            continue
        if _sayable(grammar.env_name, name, losses, "an environment variable") is not None:
            found[name] = value
    return found


def _asks_for_variable(words: Sequence[str], name: str) -> bool:
    return any(word.removeprefix("--env=").removeprefix("-e").startswith(f"{name}=") for word in words)


def _ports(host: Host, losses: list[str]) -> Iterator[str]:
    for inside, bindings in (host.port_bindings or {}).items():
        container, _, protocol = inside.partition("/")
        suffix = "" if protocol in ("", "tcp") else f"/{protocol}"
        for each in bindings or ():
            address = f"[{each.host_ip}]" if ":" in each.host_ip else each.host_ip
            text = f"{address}:" * bool(address) + f"{each.host_port}:{container}{suffix}"
            if _sayable(grammar.port, text, losses, "--publish") is not None:
                yield text
    if host.publish_all_ports:
        losses.append("--publish-all (the ports that it has now are declared)")


def _volumes(details: Details, losses: list[str]) -> Iterator[str]:
    for each in details.mounts or ():
        source = each.name if each.type == "volume" else each.source
        options = ",".join(_mount_options(details, each))
        text = f"{source}:{each.destination}" + f":{options}" * bool(options)
        if each.type not in _DEFAULT_OPTIONS:
            losses.append(f"a mount of type {each.type} at {each.destination}")
        elif _sayable(grammar.volume, text, losses, "--volume") is not None:
            yield text


def _mount_options(details: Details, mount: Mount) -> list[str]:
    has = frozenset(mount.options or ())
    usual = _DEFAULT_OPTIONS.get(mount.type, frozenset())
    options = ["ro"] * (not mount.rw) + sorted(has - usual)
    # What is usual and is not there was asked away.
    options += [each.removeprefix("no") for each in sorted(usual - has) if each.startswith("no") and has]
    if mount.propagation not in ("", "rprivate") and mount.propagation not in options:
        options.append(mount.propagation)
    for word in details.asked:
        source, _, rest = word.removeprefix("--volume=").removeprefix("-v").partition(":")
        target, _, asked = rest.partition(":")
        if source and target == mount.destination:
            options += [each for each in asked.split(",") if each in _UNSEEN_OPTIONS]
    return options


def _network(details: Details, losses: list[str]) -> str | None:
    mode, joined = details.host_config.network_mode, list(details.network_settings.networks or {})
    if mode in ("host", "none"):
        return mode
    if mode.startswith(("container:", "ns:")):
        losses.append(f"--network {mode}")
        return None
    # podman's default network has a name as well, which containers.conf(5) may set.
    asked = any(word.split("=")[0] in ("--network", "--net") for word in details.asked)
    if not joined or joined == ["podman"] or (len(joined) == 1 and details.config.create_command and not asked):
        return None
    losses += [f"--network {each}" for each in joined[1:]]
    return joined[0]


def _user(user: str, of_image: str, losses: list[str]) -> str | None:
    if not user or user == of_image:
        return None
    return user if _sayable(grammar.user, user, losses, "--user") else None


def _restart(policy: Policy) -> str:
    name = policy.name or "no"
    return f"{name}:{policy.maximum_retry_count}" if name == "on-failure" and policy.maximum_retry_count else name


def _secrets(details: Details, losses: list[str]) -> Iterator[str]:
    for each in details.config.secrets or ():
        yield each.name
    losses += [f"--secret {word}" for word in details.asked if re.match(r"[\w.-]+,(type|target|uid|gid|mode)=", word)]


def _health(probe: Probe | None) -> Health | None:
    kind, *words = (probe.test if probe else None) or ["NONE"]
    if probe is None or kind == "NONE" or not words:
        return None
    default = Health()
    return Health(
        cmd=tuple(words) if kind == "CMD" else ("/bin/sh", "-c", " ".join(words)),
        interval=_nanoseconds(probe.interval) or default.interval,
        timeout=_nanoseconds(probe.timeout) or default.timeout,
        retries=probe.retries or default.retries,
        start_period=_nanoseconds(probe.start_period),
    )


def _nanoseconds(count: int) -> timedelta:
    return timedelta(microseconds=max(count, 0) // 1000)


def _resources(details: Details, losses: list[str]) -> Resources:
    host = details.host_config
    cpus = round(host.nano_cpus / 1e9, 3)
    if cpus and cpus < 0.01:
        losses.append(f"--cpus {cpus}")
        cpus = 0.0
    asked = any(word.startswith("--pids-limit") for word in details.asked)
    pids = host.pids_limit if host.pids_limit > 0 and (asked or host.pids_limit != _DEFAULT_PIDS) else 0
    return Resources(memory=max(host.memory, 0), cpus=cpus, pids=pids)


def _unsayable(details: Details, image: ImageDefaults) -> Iterator[str]:
    """The settings that have no place in a definition, as the options of podman-run(1) that make them."""
    host, config = details.host_config, details.config
    annotations = config.annotations or {}
    switches = {
        "--privileged": host.privileged,
        "--rm (it goes when it ends)": host.auto_remove,
        "--read-only": host.readonly_rootfs,
        "--init": annotations.get("io.podman.annotations.init") == "TRUE",
        "--tty": config.tty,
        "--interactive": config.open_stdin,
        f"--hostname {config.hostname}": config.hostname not in ("", details.id[:12]) and host.network_mode != "host",
        "--pod": details.pod,
        f"--workdir {config.working_dir}": config.working_dir not in ("", "/", image.config.working_dir),
        f"--stop-signal {config.stop_signal}": not image.config.stop_signal
        and config.stop_signal not in (SIGTERM, "SIGTERM", ""),
        f"--timeout {config.timeout}": config.timeout,
        f"--ipc {host.ipc_mode}": host.ipc_mode not in ("", "shareable", "private"),
        f"--pid {host.pid_mode}": host.pid_mode not in ("", "private"),
        f"--userns {host.userns_mode}": host.userns_mode,
        f"--cpu-shares {host.cpu_shares}": host.cpu_shares,
        f"--cpuset-cpus {host.cpuset_cpus}": host.cpuset_cpus,
        f"--memory-reservation {host.memory_reservation}": host.memory_reservation,
        f"--oom-score-adj {host.oom_score_adj}": host.oom_score_adj,
    }
    yield from (flag for flag, given in switches.items() if given)
    # Of a privileged container podman lists every capability and device.
    several: dict[str, Sequence[str]] = {
        "--cap-add": () if host.privileged else host.cap_add or (),
        "--cap-drop": host.cap_drop or (),
        "--dns": host.dns or (),
        "--add-host": host.extra_hosts or (),
        "--group-add": host.group_add or (),
        "--security-opt": host.security_opt or (),
        "--tmpfs": list(host.tmpfs or ()),
        "--device": () if host.privileged else ["(see podman inspect)"] * bool(host.devices),
    }
    yield from (f"{flag} {value}" for flag, values in several.items() for value in values)
    labels = {
        name for name in config.labels or () if (image.config.labels or {}).get(name) != (config.labels or {})[name]
    }
    if labels:
        yield f"--label, {len(labels)} of them: {_clipped(', '.join(sorted(labels)))}"
    yield from (flag for flag in _UNSEEN_FLAGS if any(word.split("=")[0] == flag for word in details.asked))
    yield from (f"its anonymous volume at {each}, kept under its name" for each in _anonymous(details))


def _anonymous(details: Details) -> list[str]:
    return [each.destination for each in details.mounts or () if _ANONYMOUS.fullmatch(each.name)]


def _clipped(text: str, longest: int = 120) -> str:
    """What a stranger wrote, on one line."""
    shown = "".join(each if each.isprintable() else "?" for each in text)
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."


def _sayable(rule: Callable[[str], T], text: str, losses: list[str], what: str) -> T | None:
    """What ``rule`` makes of ``text``; None, and a loss, when a definition cannot say it."""
    try:
        return rule(text)
    except ValueError as error:
        losses.append(f"{what}: {_clipped(str(error))}")
        return None
