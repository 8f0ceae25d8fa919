"""What a container may do: namespaces, capabilities, devices and confinement, to podman and back. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mcpd.runtime.joined_networks import component_of, namespace
from mcpd.runtime.setting import Context, Made, Part, clipped, value_of
from protos import podman_notation
from protos.spec import Component

# An annotation by which podman remembers `--group-add keep-groups`.
KEEPS_GROUPS = "run.oci.keep_original_groups"
_KEEP_GROUPS = "keep-groups"
# Annotations by which podman remembers options of the confinement. Without them an inspection does not show them.
_REMEMBERED = "io.podman.annotations."
# What podman's own inspection joins several labels with.
_LABELS = ",label="
_PRIVATE = "private"
# User namespaces that podman's API calls otherwise than its command line.
_MODES = {"nomap": "no-map"}
_SHAREABLE = "shareable"
_NO_NEW_PRIVILEGES = "no-new-privileges"


def send_namespace(key: str, into: str) -> Callable[[Component, Context], Part]:
    def send(component: Component, context: Context) -> Part:
        text = value_of(component, key)
        return {into: namespace(text, context)} if text else {}

    return send


def read_pid(it: Made, losses: list[str]) -> str | None:
    shown = it.host.pid_mode
    return None if shown in ("", _PRIVATE) else _shared(it, "--pid", shown, losses)


def read_ipc(it: Made, losses: list[str]) -> str | None:
    shown, asked = it.host.ipc_mode, it.asked("--ipc")
    if shown not in ("", _PRIVATE, _SHAREABLE):
        return _shared(it, "--ipc", shown, losses)
    if it.command.is_known:
        # podman 4 shows "shareable" for both of them, which is the default, too.
        return next((each for each in asked[-1:] if each != _SHAREABLE), None)
    return _PRIVATE if shown == _PRIVATE else None


def _shared(it: Made, option: str, mode: str, losses: list[str]) -> str | None:
    kind = mode.partition(":")[0]
    component = component_of(mode, it)
    if kind in ("container", "ns") and not component:
        losses.append(clipped(f"{option} {mode}"))
        return None
    return component or mode


def send_userns(component: Component, _: Context) -> Part:
    if not component.userns:
        return {}
    mode, _colon, options = component.userns.partition(":")
    spoken = {"nsmode": _MODES.get(mode, mode), **({"value": options} if options else {})}
    part: dict[str, Any] = {"userns": spoken}
    if mode == "auto":
        # podman's command line works this out before it asks for a container.
        part["idmappings"] = {"AutoUserNs": True, **_auto_options(options)}
    return part


def _auto_options(options: str) -> dict[str, Any]:
    sizes = [each.removeprefix("size=") for each in options.split(",") if each.startswith("size=")]
    return {"AutoUserNsOpts": {"Size": int(sizes[-1])}} if sizes and sizes[-1].isdecimal() else {}


def read_userns(it: Made, losses: list[str]) -> str | None:
    asked, shown = it.asked("--userns"), it.host.userns_mode
    if asked:
        return asked[-1]
    # An inspection shows "private" for every kind of mapping.
    if shown not in ("", "host") and not it.asked("--uidmap", "--gidmap", "--subuidname", "--subgidname"):
        losses.append(f"--userns {shown}")
    return None


def read_cap_add(it: Made) -> Iterable[str]:
    # For a privileged container podman lists every capability, and for ALL each of them.
    if it.command.is_known:
        return _split(it.asked("--cap-add"))
    return () if it.host.privileged else it.host.cap_add or ()


def read_cap_drop(it: Made) -> Iterable[str]:
    # A privileged one drops what its maker has not.
    if it.command.is_known:
        return _split(it.asked("--cap-drop"))
    return () if it.host.privileged else it.host.cap_drop or ()


def _split(values: Iterable[str]) -> list[str]:
    return [each for value in values for each in value.split(",") if each]


def send_devices(component: Component, _: Context) -> Part:
    return {"devices": [{"path": each} for each in component.devices]} if component.devices else {}


def read_devices(it: Made, _: list[str]) -> Iterable[str]:
    if it.command.is_known:
        return it.asked("--device")
    if it.host.privileged:
        return ()
    return [
        ":".join(filter(None, (each.path_on_host, each.path_in_container, each.cgroup_permissions)))
        for each in it.host.devices or ()
    ]


def send_group_add(component: Component, _: Context) -> Part:
    groups = [each for each in component.group_add if each != _KEEP_GROUPS]
    part: dict[str, Any] = {"groups": groups} if groups else {}
    if _KEEP_GROUPS in component.group_add:
        part["annotations"] = {KEEPS_GROUPS: "1"}
    return part


def read_group_add(it: Made, _: list[str]) -> list[str]:
    keeps = KEEPS_GROUPS in (it.config.annotations or {})
    return [*(it.host.group_add or ()), *([_KEEP_GROUPS] * keeps)]


def send_security_opt(component: Component, _: Context) -> Part:
    given: dict[str, list[str]] = {}
    for text in component.security_opt:
        kind, value = podman_notation.security_option(text)
        given.setdefault(kind, []).append(value)
    part: dict[str, Any] = {}
    for kind, values in given.items():
        part |= _SECURITY[kind](values)
    remembered = {f"{_REMEMBERED}{kind}": values[-1] for kind, values in given.items() if kind in _PROFILES}
    if labels := given.get("label"):
        remembered[f"{_REMEMBERED}label"] = _LABELS.join(labels)
    if remembered:
        part["annotations"] = remembered
    unmask = [*given.get("unmask", ()), *(["ALL"] * ("unconfined" in given.get("systempaths", ())))]
    return part | ({"unmask": unmask} if unmask else {})


_PROFILES = {"seccomp": "seccomp_profile_path", "apparmor": "apparmor_profile"}
_SECURITY: dict[str, Callable[[list[str]], dict[str, Any]]] = {
    "seccomp": lambda values: {_PROFILES["seccomp"]: values[-1]},
    "apparmor": lambda values: {_PROFILES["apparmor"]: values[-1]},
    "label": lambda values: {"selinux_opts": values},
    "mask": lambda values: {"mask": [path for value in values for path in value.split(":")]},
    "proc-opts": lambda values: {"procfs_opts": values[-1].split(",")},
    _NO_NEW_PRIVILEGES: lambda values: {"no_new_privileges": True} if values[-1] != "false" else {},
    # Both become one list.
    "unmask": lambda _: {},
    "systempaths": lambda _: {},
}


def read_security_opt(it: Made, _: list[str]) -> Iterable[str]:
    if it.command.is_known:
        return [each for each in it.asked("--security-opt") if each != f"{_NO_NEW_PRIVILEGES}=false"]
    shown = [part for each in it.host.security_opt or () for part in each.replace(_LABELS, "\0label=").split("\0")]
    return dict.fromkeys(shown)


def send_ulimits(component: Component, _: Context) -> Part:
    limits = {name: podman_notation.ulimit(text) for name, text in component.ulimits.items()}
    if not limits:
        return {}
    return {
        "r_limits": [
            {"type": name, "soft": _unsigned(each.soft), "hard": _unsigned(each.hard)} for name, each in limits.items()
        ]
    }


def _unsigned(limit: int) -> int:
    """As the kernel has it: RLIM_INFINITY is the largest number (getrlimit(2))."""
    return limit % 2**64


# The limits that podman sets when containers.conf(5) has none, and their value.
_OWN_LIMITS = ("RLIMIT_NOFILE", "RLIMIT_NPROC")
_OWN_LIMIT = 1048576
_OF_THE_CALLER = "host"


def read_ulimits(it: Made, losses: list[str]) -> dict[str, str]:
    # An inspection shows podman's own limits too, whatever they are on this node.
    if it.command.is_known:
        asked = it.asked("--ulimit")
        losses += [f"--ulimit {_OF_THE_CALLER}"] * (_OF_THE_CALLER in asked)
        return dict(each.partition("=")[::2] for each in asked if each != _OF_THE_CALLER)
    return {
        each.name.removeprefix("RLIMIT_").lower(): f"{each.soft}:{each.hard}"
        for each in it.host.ulimits or ()
        if each.name not in _OWN_LIMITS or {each.soft, each.hard} != {_OWN_LIMIT}
    }


def read_sysctls(it: Made) -> dict[str, str]:
    return dict(each.partition("=")[::2] for each in it.asked("--sysctl"))
