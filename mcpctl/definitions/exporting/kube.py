"""A service as Kubernetes YAML, for `podman kube play` of 4.3 and 5, and for Kubernetes as far as it can say the same.

One Pod for each component: restart policy, published ports and network belong to a Pod, and ours belong to a component.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from mcpctl.definitions.exporting import yamltext
from mcpctl.definitions.exporting.formats import Exported, File, Losses, in_dependency_order, seconds
from mcpctl.definitions.loss import Loss
from protos import grammar
from protos.parts import Health
from protos.spec import Component, Service

_POLICIES = {"no": "Never", "on-failure": "OnFailure", "unless-stopped": "Always", "always": "Always"}
# Kubernetes insists on a size, and podman ignores it.
_CLAIM_SIZE = "1Gi"
# podman's annotation (5.x) for what Kubernetes leaves to the kubelet's configuration.
_PIDS_LIMIT = "io.podman.annotations.pids-limit"
# podman-kube-play(1): how mount options are said in Kubernetes.
_PROPAGATION = {"private": "None", "rprivate": "None", "rslave": "HostToContainer", "rshared": "Bidirectional"}
# What podman does by itself.
_IMPLIED = frozenset({"rw", "rbind", "bind", "z"})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_MILLI = 1000


def export(service: Service) -> Exported:
    losses: list[Loss] = []
    documents = []
    for component in in_dependency_order(service):
        lost = Losses(component.name)
        documents.append(yamltext.document(_pod(service, component, lost), comment=_claims(component)))
        losses += lost.found
    return Exported((File(f"{service.name}.yaml", "---\n".join(documents)),), tuple(losses))


def pod_name(service: Service, component: str) -> tuple[str, str]:
    """The names of the Pod and of its container; podman calls the container POD-CONTAINER."""
    if len(service.components) > 1:
        return service.container(component), component
    # A container with the name of its Pod makes podman rename the Pod.
    return service.name, component if component != service.name else "main"


def _pod(service: Service, component: Component, lost: Losses) -> dict[str, Any]:
    pod, container = pod_name(service, component.name)
    if f"{pod}-{container}" != service.container(component.name):
        lost.add("name", f"podman calls the container {pod}-{container}; its Pod is {pod}")
    _tell_what_is_missing(service, component, lost)
    metadata: dict[str, Any] = {"name": pod, "labels": {"app": service.name}}
    if pids := component.resources.pids:
        metadata["annotations"] = {f"{_PIDS_LIMIT}/{container}": str(pids)}
        lost.add(
            "resources.pids", "written as an annotation, which podman 4 and Kubernetes ignore, so they set no limit"
        )
    mounts, volumes = _volumes(component, lost)
    spec: dict[str, Any] = {
        "restartPolicy": _restart(component, lost),
        "terminationGracePeriodSeconds": seconds(component.stop_timeout),
    }
    if component.network == "host":
        spec["hostNetwork"] = True
    spec["containers"] = [_container(component, container, mounts, lost)]
    if volumes:
        spec["volumes"] = volumes
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _container(component: Component, name: str, mounts: list[dict[str, Any]], lost: Losses) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "image": component.image, "imagePullPolicy": "IfNotPresent"}
    if component.cmd:
        made["args"] = list(component.cmd)
    if component.env:
        made["env"] = [{"name": name, "value": value} for name, value in component.env.items()]
    _tell_of_expansion(component, lost)
    if component.ports:
        made["ports"] = [_port(grammar.port(text)) for text in component.ports]
    if mounts:
        made["volumeMounts"] = mounts
    if limits := _limits(component, lost):
        made["resources"] = {"limits": limits}
    if user := _user(component, lost):
        made["securityContext"] = user
    if component.health and (probe := _probe(component, component.health, lost)):
        made["livenessProbe"] = probe
    return made


def _tell_what_is_missing(service: Service, component: Component, lost: Losses) -> None:
    if not service.wants_running(component):
        lost.add("active", "it will be started; `podman kube play --start=false` prevents that")
    if component.network and component.network != "host":
        lost.add("network", f"pass it to podman: `podman kube play --network {component.network}`")
    for secret in component.secrets:
        lost.add("secrets", f"{secret}: create a Secret and mount it at /run/secrets")
    if component.depends_on:
        lost.add("depends_on", "the file lists the Pods in this order, but none waits for another")
    if component.settle is not None:
        lost.add("settle", "a container counts as started immediately")
    if component.heal:
        lost.add("heal", "restartPolicy decides, and no alert is sent")


def _tell_of_expansion(component: Component, lost: Losses) -> None:
    """Kubernetes expands $(VAR), and reads $$ as $; podman does neither, and would keep an escape."""
    texts = [("cmd", each) for each in component.cmd] + [(f"env.{name}", each) for name, each in component.env.items()]
    for field in dict.fromkeys(field for field, text in texts if "$(" in text or "$$" in text):
        lost.add(field, "correct for podman, but Kubernetes expands $(VAR) and $$: double each such $ for it")


def _restart(component: Component, lost: Losses) -> str:
    policy, tries = grammar.restart(component.restart)
    if tries:
        lost.add("restart", f"OnFailure retries without limit, not {tries} times")
    if policy == "unless-stopped":
        lost.add("restart", "unless-stopped became Always, which also starts stopped containers after a reboot")
    return _POLICIES[policy]


def _port(port: grammar.Port) -> dict[str, Any]:
    made: dict[str, Any] = {"containerPort": port.container, "hostPort": port.host}
    if port.host_ip:
        made["hostIP"] = port.host_ip
    return made | {"protocol": port.protocol.upper()}


def _volumes(component: Component, lost: Losses) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    mounts, volumes = [], []
    for index, volume in enumerate(component.mounts):
        name = f"volume-{index}"
        mount: dict[str, Any] = {"name": name, "mountPath": volume.target}
        for option in volume.options:
            if option == "ro":
                mount["readOnly"] = True
            elif option in _PROPAGATION:
                mount["mountPropagation"] = _PROPAGATION[option]
            elif option not in _IMPLIED:
                lost.add(
                    f"volumes[{index}]", f"option {option}; podman takes it as mountPath: {volume.target}:{option}"
                )
        mounts.append(mount)
        source = {"hostPath": {"path": volume.folder}}
        volumes.append(
            {"name": name, **(source if volume.folder else {"persistentVolumeClaim": {"claimName": volume.volume}})}
        )
    return mounts, volumes


def _claims(component: Component) -> str:
    """Beside the Pod: podman makes a volume that is missing, and 4.3 refuses a claim whose volume is there."""
    named = dict.fromkeys(each.volume for each in component.mounts if each.volume)
    if not named:
        return ""
    claims = [
        yamltext.document(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": _CLAIM_SIZE}},
                },
            }
        )
        for name in named
    ]
    return "podman makes volumes that are missing. Kubernetes needs, as documents of their own:\n" + "---\n".join(
        claims
    )


def _limits(component: Component, lost: Losses) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if component.resources.memory:
        limits["memory"] = str(component.resources.memory)
    if wanted := component.resources.cpus:
        milli = math.ceil(round(wanted * _MILLI, 3))
        limits["cpu"] = f"{milli}m"
        if not math.isclose(milli / _MILLI, wanted):
            lost.add("resources.cpus", f"{wanted} became {milli / _MILLI}: Kubernetes counts in thousandths")
    return limits


def _user(component: Component, lost: Losses) -> Mapping[str, int]:
    if not component.user:
        return {}
    user, _, group = component.user.partition(":")
    if not user.isdecimal() or (group and not group.isdecimal()):
        lost.add("user", f"{component.user}: Kubernetes accepts only numbers; set runAsUser and runAsGroup")
        return {}
    return {"runAsUser": int(user), **({"runAsGroup": int(group)} if group else {})}


def _probe(component: Component, health: Health, lost: Losses) -> dict[str, Any]:
    lost.add("health", "a failed livenessProbe stops the container, and restartPolicy decides what follows")
    times = {"interval": health.interval, "timeout": health.timeout, "start_period": health.start_period}
    for field, value in times.items():
        if value.microseconds:
            lost.add(f"health.{field}", f"rounded up to {seconds(value)} s: Kubernetes counts whole seconds")
    return {
        **_handler(component, health, lost),
        "periodSeconds": seconds(health.interval),
        "timeoutSeconds": seconds(health.timeout),
        "failureThreshold": health.retries,
        "initialDelaySeconds": seconds(health.start_period),
    }


def _handler(component: Component, health: Health, lost: Losses) -> dict[str, Any]:
    if health.cmd:
        if any(shlex.quote(each) != each for each in health.cmd):
            lost.add(
                "health.cmd",
                "podman 4 joins the words with spaces for a shell; podman 5 keeps them as separate arguments",
            )
        return {"exec": {"command": list(health.cmd)}}
    if health.http:
        lost.add("health.http", "podman runs this probe inside the container with curl, which the image must contain")
        url = urlsplit(health.http)
        default = 443 if url.scheme == "https" else 80
        host, port = _inside(component, url.hostname or "", url.port or default)
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        return {"httpGet": {**host, "path": path, "port": port, "scheme": url.scheme.upper()}}
    lost.add("health.tcp", "podman runs this probe inside the container with nc, which the image must contain")
    host, port = _inside(component, *grammar.host_port(health.tcp or ""))
    return {"tcpSocket": {**host, "port": port}}


def _inside(component: Component, host: str, port: int) -> tuple[dict[str, str], int]:
    """Where the container listens, for an address that is asked from the node; the address itself if it is not ours."""
    published = map(grammar.port, component.ports)
    inside = next((each.container for each in published if (each.host, each.protocol) == (port, "tcp")), None)
    if inside is not None:
        return {}, inside
    return ({} if component.network == "host" and host in _LOOPBACK else {"host": host}), port
