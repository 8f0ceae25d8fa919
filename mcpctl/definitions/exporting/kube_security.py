"""The security contexts of a Pod and of its container."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcpctl.definitions.exporting.formats import Losses
from protos import podman_notation
from protos.spec import Component

# Kubernetes has capabilities without this.
_CAP = "CAP_"
_SELINUX = frozenset({"user", "role", "type", "level"})


def of_pod(component: Component, lost: Losses) -> dict[str, Any]:
    groups = [each for each in component.group_add if each.isdecimal()]
    for each in component.group_add:
        if not each.isdecimal():
            lost.add("group_add", f"{each}: Kubernetes accepts only numbers; set supplementalGroups")
    made = {
        "supplementalGroups": list(map(int, groups)),
        "sysctls": [{"name": name, "value": value} for name, value in component.sysctls.items()],
    }
    return {key: value for key, value in made.items() if value}


def of_container(component: Component, lost: Losses) -> dict[str, Any]:
    if component.shm_size:
        lost.add("shm_size", f"mount an emptyDir of medium Memory, sizeLimit {component.shm_size}, at /dev/shm")
    if component.read_only:
        lost.add("read_only", "podman 4.3 mounts no tmpfs at /run, /tmp and /var/tmp then: say them in `tmpfs`")
    if component.stop_signal:
        lost.add("stop_signal", f"the image's own is sent: build it with STOPSIGNAL {component.stop_signal}")
    capabilities = {
        "add": list(map(_capability, component.cap_add)),
        "drop": list(map(_capability, component.cap_drop)),
    }
    made: dict[str, Any] = {
        **_user(component, lost),
        "privileged": component.privileged,
        "readOnlyRootFilesystem": component.read_only,
        "capabilities": {key: value for key, value in capabilities.items() if value},
    }
    return {key: value for key, value in made.items() if value not in ({}, False)} | _options(component, lost)


def _capability(text: str) -> str:
    return podman_notation.capability(text).removeprefix(_CAP)


def _user(component: Component, lost: Losses) -> Mapping[str, int]:
    if not component.user:
        return {}
    user, _, group = component.user.partition(":")
    if not user.isdecimal() or (group and not group.isdecimal()):
        lost.add("user", f"{component.user}: Kubernetes accepts only numbers; set runAsUser and runAsGroup")
        return {}
    return {"runAsUser": int(user), **({"runAsGroup": int(group)} if group else {})}


def _options(component: Component, lost: Losses) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for text in component.security_opt:
        kind, value = podman_notation.security_option(text)
        name, _, label = value.partition(":")
        if kind == "no-new-privileges":
            made["allowPrivilegeEscalation"] = value == "false"
        elif kind == "label" and name in _SELINUX and label:
            made.setdefault("seLinuxOptions", {})[name] = label
        elif (kind, value) == ("unmask", "ALL"):
            made["procMount"] = "Unmasked"
        else:
            lost.add("security_opt", f"{text}: set a profile in securityContext by hand")
    return made
