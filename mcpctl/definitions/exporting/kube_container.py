"""The container of a Pod, and what the Pod says about it in labels and annotations."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from typing import Any

from mcpctl.definitions.exporting import kube_probe, kube_security
from mcpctl.definitions.exporting.formats import Losses
from protos import grammar
from protos.parts import Log, Pull
from protos.spec import Component

_PULL = {Pull.MISSING: "IfNotPresent", Pull.NEWER: "Always", Pull.ALWAYS: "Always", Pull.NEVER: "Never"}
# kubernetes.io/docs/concepts/overview/working-with-objects/labels.
_LABEL_NAME = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
# podman's annotations for what Kubernetes leaves to the kubelet's configuration, or has no word for.
_PODMAN = "io.podman.annotations"
_MILLI = 1000
# kubernetes.io/docs/concepts/configuration/manage-resources-containers: what a whole CPU is requested as.
_SHARES_OF_A_CPU = 1024
_UNSAID = {
    "memory_swap": "Kubernetes leaves swap to the kubelet (memorySwap), and podman takes its default",
    "oom_score_adj": "Kubernetes decides it by the class of the Pod, and podman takes its default",
}


def container(component: Component, name: str, mounts: list[dict[str, Any]], lost: Losses) -> dict[str, Any]:
    if component.pull is Pull.NEWER:
        lost.add("pull", "newer became Always")
    if component.entrypoint == ():
        lost.add("entrypoint", "Kubernetes cannot clear that of an image: write the program here, and not as cmd")
    if component.interactive:
        lost.add("interactive", "podman ignores stdin")
    for file in component.env_file:
        lost.add("env_file", f"{file}: write its variables as env")
    _tell_of_expansion(component, lost)
    _tell_of_log(component.log, lost)
    made: dict[str, Any] = {
        "name": name,
        "image": component.image,
        "imagePullPolicy": _PULL[component.pull],
        "command": list(component.entrypoint or ()),
        "args": list(component.cmd),
        "workingDir": component.workdir,
        "env": [{"name": name, "value": value} for name, value in component.env.items()],
        "ports": [each for index, text in enumerate(component.ports) for each in _ports(text, index, lost)],
        "volumeMounts": mounts,
        "resources": _resources(component, lost),
        "securityContext": kube_security.of_container(component, lost),
        "livenessProbe": kube_probe.probe(component, component.health, lost) if component.health else None,
        "stdin": component.interactive,
        "tty": component.tty,
    }
    return {key: value for key, value in made.items() if value}


def _tell_of_expansion(component: Component, lost: Losses) -> None:
    """Kubernetes expands $(VAR), and reads $$ as $; podman does neither, and would keep an escape."""
    texts = [("entrypoint", each) for each in component.entrypoint or ()]
    texts += [("cmd", each) for each in component.cmd]
    texts += [(f"env.{name}", each) for name, each in component.env.items()]
    for field in dict.fromkeys(field for field, text in texts if "$(" in text or "$$" in text):
        lost.add(field, "correct for podman, but Kubernetes expands $(VAR) and $$: double each such $ for it")


def _tell_of_log(log: Log, lost: Losses) -> None:
    options = {"max-size": str(log.max_size) if log.max_size else None, "tag": log.tag}
    words = [f"--log-opt={name}={value}" for name, value in options.items() if value]
    if log != Log():
        command = shlex.join(["podman", "kube", "play", f"--log-driver={log.driver.value}", *words])
        lost.add("log", f"pass it to podman: `{command}`")


def _ports(text: str, index: int, lost: Losses) -> Iterator[dict[str, Any]]:
    """One for each port of a range."""
    port = grammar.port(text)
    if not port.host:
        lost.add(
            f"ports[{index}]", f"no port of the node is chosen; `podman kube play --publish-all` does so for {text}"
        )
    for step in range(port.length):
        made: dict[str, Any] = {"containerPort": port.container + step}
        made |= {"hostPort": port.host + step} if port.host else {}
        made |= {"hostIP": port.host_ip} if port.host_ip else {}
        yield made | {"protocol": port.protocol.upper()}


def _resources(component: Component, lost: Losses) -> dict[str, dict[str, str]]:
    said = component.resources
    limits: dict[str, str] = {}
    if said.memory:
        limits["memory"] = str(said.memory)
    if said.cpus:
        milli = math.ceil(round(said.cpus * _MILLI, 3))
        limits["cpu"] = f"{milli}m"
        if not math.isclose(milli / _MILLI, said.cpus):
            lost.add("resources.cpus", f"{said.cpus} became {milli / _MILLI}: Kubernetes counts in thousandths")
    for key, why in _UNSAID.items():
        if getattr(said, key):
            lost.add(f"resources.{key}", why)
    for each in component.devices:
        taken = each if not each.startswith("/") else f"podman.io/device={each}"
        lost.add("devices", f"{each}: Kubernetes needs a device plugin; podman 5 takes `{taken}: 1` as one of limits")
    requests = {"memory": str(said.memory_reservation)} if said.memory_reservation else {}
    if said.cpu_shares:
        requests["cpu"] = f"{math.ceil(said.cpu_shares * _MILLI / _SHARES_OF_A_CPU)}m"
        lost.add("resources.cpu_shares", "podman ignores what a Pod requests of the CPU")
    return {key: value for key, value in (("limits", limits), ("requests", requests)) if value}


# -- metadata


def labels(component: Component, lost: Losses) -> dict[str, str]:
    for name, value in component.labels.items():
        if not _LABEL_NAME.fullmatch(name) or not _LABEL_VALUE.fullmatch(value):
            lost.add(f"labels.{name}", "podman takes it, but Kubernetes refuses such a label: make it an annotation")
    return dict(component.labels)


def annotated(component: Component, container: str, lost: Losses) -> dict[str, str]:
    for name in component.annotations:
        if not _LABEL_NAME.fullmatch(name):
            lost.add(f"annotations.{name}", "podman takes it, but Kubernetes refuses such a name: rename it")
    found = dict(component.annotations)
    for key, name, value, first in _podman(component, container):
        lost.add(key, f"written as an annotation, which podman before {first} and Kubernetes ignore")
        found[f"{_PODMAN}.{name}"] = value
    return found


def _podman(component: Component, container: str) -> Iterator[tuple[str, str, str, str]]:
    """Its own annotations: our key, its name, the value, and the first version of podman that knows it."""
    if component.init:
        yield "init", f"init/{container}", "TRUE", "4.4"
    if component.userns:
        yield "userns", "userns", component.userns, "4.4"
    if component.ulimits:
        limits = {name: value if ":" in value else f"{value}:{value}" for name, value in component.ulimits.items()}
        yield "ulimits", "ulimit", ",".join(f"{name}={value}" for name, value in limits.items()), "4.6"
    if component.resources.pids:
        yield "resources.pids", f"pids-limit/{container}", str(component.resources.pids), "5.5"
    if component.resources.cpuset:
        yield "resources.cpuset", f"cpuset/{container}", component.resources.cpuset, "5.5"
