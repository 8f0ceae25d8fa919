"""A service as Kubernetes YAML, for `podman kube play` of 4.3 and 5, and for Kubernetes as far as it can say the same.

One Pod for each component, or a CronJob for each job: restart policy, published ports and network belong to a Pod, and
ours belong to a component.
"""

from __future__ import annotations

from typing import Any

from mcpctl.definitions.exporting import (
    commands,
    kube_container,
    kube_security,
    kube_volumes,
    routes,
    schedules,
    yamltext,
)
from mcpctl.definitions.exporting.formats import (
    Exported,
    File,
    Losses,
    in_dependency_order,
    of_component,
    seconds,
    waits_for,
)
from mcpctl.definitions.loss import Loss
from protos import grammar, podman_notation
from protos.parts import Network
from protos.scheduling import DEFAULT_TIMEZONE
from protos.spec import DEFAULT_STOP_TIMEOUT, Component, Service

_POLICIES = {"no": "Never", "on-failure": "OnFailure", "unless-stopped": "Always", "always": "Always"}
# kubernetes.io/docs/concepts/workloads/controllers/cron-jobs: 11 of the 63 are the Job's.
_LONGEST_NAME = 52
_HOST_GATEWAY = "host-gateway"
_CAPITALS = {"network": "Network", "pid": "PID", "ipc": "IPC"}
_ONE_POD = "put both containers into one Pod"


def export(service: Service) -> Exported:
    losses: list[Loss] = []
    documents = []
    for component in in_dependency_order(service):
        lost = of_component(component)
        pod, container = pod_name(service, component.name)
        documents += [yamltext.document(each) for each in kube_volumes.config_maps(component, pod)]
        made = _pod(service, component, pod, container, lost)
        made = _cron_job(service, component, made, lost) if component.schedule else made
        documents.append(yamltext.document(made, comment=kube_volumes.claims(component)))
        losses += lost.found
    losses += _of_declarations(service)
    return Exported((File(f"{service.name}.yaml", "---\n".join(documents)),), tuple(losses))


def pod_name(service: Service, component: str) -> tuple[str, str]:
    """The names of the Pod and of its container; podman calls the container POD-CONTAINER."""
    if len(service.components) > 1:
        return service.container(component), component
    # A container with the name of its Pod makes podman rename the Pod.
    return service.name, component if component != service.name else "main"


def _pod(service: Service, component: Component, pod: str, container: str, lost: Losses) -> dict[str, Any]:
    if f"{pod}-{container}" != service.container(component.name):
        found = f"others find it as {pod}, and as {container} with podman 5 alone"
        lost.add("name", f"podman calls the container {pod}-{container}; its Pod is {pod}, and {found}")
    _tell_what_is_missing(service, component, lost)
    mounts, volumes = kube_volumes.mounts(component, pod, lost)
    spec: dict[str, Any] = {
        "restartPolicy": _restart(component, lost),
        "terminationGracePeriodSeconds": _grace(component, lost),
        **_namespaces(component, lost),
        **_names(component, lost),
        "nodeSelector": _node(component, lost),
        "securityContext": kube_security.of_pod(component, lost),
        "activeDeadlineSeconds": _limit(component, lost),
        "containers": [kube_container.container(component, container, mounts, lost)],
        "volumes": volumes,
    }
    metadata = {
        "name": pod,
        "labels": {"app": service.name, **kube_container.labels(component, lost)},
        "annotations": kube_container.annotated(component, container, lost),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {key: value for key, value in metadata.items() if value},
        # 0 s is something that is said.
        "spec": {key: value for key, value in spec.items() if value not in (None, {}, [], False)},
    }


def _cron_job(service: Service, component: Component, pod: dict[str, Any], lost: Losses) -> dict[str, Any]:
    """What makes a Pod like this one whenever it is due; a time that was missed is made up for, however late."""
    name = pod["metadata"]["name"]
    if len(name) > _LONGEST_NAME:
        lost.add("name", f"{name}: Kubernetes takes {_LONGEST_NAME} characters at most for a CronJob")
    lost.add("schedule", f"podman plays no CronJob, only Kubernetes does; {schedules.NO_ALERT}")
    schedule, is_said = schedules.of_kubernetes(component, lost)
    schedules.tell_of_summer_time(component, lost, repeats_hours=True)
    metadata = {key: value for key, value in pod["metadata"].items() if key != "name"}
    # Whoever starts it again is the schedule.
    job: dict[str, Any] = {"backoffLimit": 0} if pod["spec"]["restartPolicy"] == "Never" else {}
    limit = schedules.limit(component)
    job |= {"activeDeadlineSeconds": limit} if limit else {}
    spec: dict[str, Any] = {
        "schedule": schedule,
        "timeZone": component.timezone or DEFAULT_TIMEZONE,
        "concurrencyPolicy": "Forbid",
        **({} if is_said and service.wants_running(component) else {"suspend": True}),
        "jobTemplate": {"spec": {**job, "template": {"metadata": metadata, "spec": pod["spec"]}}},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "labels": pod["metadata"]["labels"]},
        "spec": spec,
    }


def _tell_what_is_missing(service: Service, component: Component, lost: Losses) -> None:
    if not service.wants_running(component) and not component.schedule:
        lost.add("active", "it will be started; `podman kube play --start=false` prevents that")
    if component.network and not component.network_mode:
        lost.add("network", f"pass it to podman: `podman kube play --network {component.network}`")
    for each in map(Network.of, component.networks):
        lost.add("networks", f"pass it to podman: `podman kube play --network {_option(each)}`")
    for secret in component.secret_list:
        owner = f" (mode {secret.mode:04o}, owner {secret.uid}:{secret.gid})"
        how = f"set {secret.env} from it" if secret.env else f"mount it at {secret.target or '/run/secrets'}{owner}"
        lost.add("secrets", f"{secret.name}: create a Secret and {how}")
    if waits_for(component):
        lost.add("depends_on", "the file lists the Pods in this order, but none waits for another")
    if component.oneshot:
        lost.add("oneshot", "it runs whenever the file is played, and no Pod waits for its end")
    if component.settle is not None:
        lost.add("settle", "a container counts as started immediately")
    if component.heal:
        lost.add("heal", "restartPolicy decides, and no alert is sent")
    routes.tell(component, lost)
    if component.build:
        lost.add("build", f"build the image first: `{commands.build_image(component.image, component.build)}`")


def _option(network: Network) -> str:
    """As podman-kube-play(1) takes it; for all Pods of a file."""
    options = [f"alias={each}" for each in network.aliases]
    options += [f"{key}={address}" for key, address in (("ip", network.ip), ("ip6", network.ip6)) if address]
    return ":".join([network.name, *([",".join(options)] if options else [])])


def _grace(component: Component, lost: Losses) -> int:
    if component.stop_timeout != DEFAULT_STOP_TIMEOUT:
        lost.add("stop_timeout", f"podman 4.3 ignores it, and waits {seconds(DEFAULT_STOP_TIMEOUT)} s")
    return seconds(component.stop_timeout)


def _limit(component: Component, lost: Losses) -> int | None:
    """Of a Pod; a CronJob says it itself."""
    limit = schedules.limit(component)
    if limit is None or component.schedule:
        return None
    lost.add("timeout", "podman ignores activeDeadlineSeconds, and lets it run")
    return limit


def _restart(component: Component, lost: Losses) -> str:
    policy, tries = grammar.restart(component.restart)
    if tries:
        lost.add("restart", f"OnFailure retries without limit, not {tries} times")
    if policy == "unless-stopped":
        lost.add("restart", "unless-stopped became Always, which also starts stopped containers after a reboot")
    return _POLICIES[policy]


def _namespaces(component: Component, lost: Losses) -> dict[str, bool]:
    modes = {"network": component.network_mode, "pid": component.pid, "ipc": component.ipc}
    for key, value in modes.items():
        if podman_notation.named_component(value):
            lost.add(key, f"{value}: {_ONE_POD}{' with shareProcessNamespace' if key == 'pid' else ''}")
        elif key == "network" and value not in ("", "host"):
            lost.add(key, f"pass it to podman: `podman kube play --network {value}`")
        elif key == "ipc" and value not in (None, "host"):
            lost.add(key, f"{value}: the containers of a Pod share one")
    if component.pid == "host":
        lost.add("pid", "podman 4.3 ignores hostPID")
    return {f"host{_CAPITALS[key]}": value == "host" for key, value in modes.items()}


def _names(component: Component, lost: Losses) -> dict[str, Any]:
    """Its own name, and how it finds others."""
    if component.hostname and component.network_mode == "host":
        lost.add("hostname", "podman takes the node's own name for a Pod in the node's network")
    elif component.hostname and "." in component.hostname:
        lost.add("hostname", "Kubernetes takes a name without dots: move the rest to subdomain")
    aliases: dict[str, list[str]] = {}
    for name, address in map(podman_notation.added_host, component.add_hosts):
        if address == _HOST_GATEWAY:
            lost.add("add_hosts", f"{name}: Kubernetes has no {_HOST_GATEWAY}: write the node's address")
        else:
            aliases.setdefault(address, []).append(name)
    dns = {
        "nameservers": list(component.dns),
        "searches": list(component.dns_search),
        "options": [_dns_option(each) for each in component.dns_options],
    }
    return {
        "hostname": component.hostname,
        "hostAliases": [{"ip": address, "hostnames": names} for address, names in aliases.items()],
        "dnsPolicy": "None" if component.dns else None,
        "dnsConfig": {key: value for key, value in dns.items() if value},
    }


def _dns_option(text: str) -> dict[str, str]:
    name, colon, value = text.partition(":")
    return {"name": name, **({"value": value} if colon else {})}


def _node(component: Component, lost: Losses) -> dict[str, str]:
    if not component.platform:
        return {}
    lost.add("platform", f"podman takes what is there: `podman pull --platform {component.platform} {component.image}`")
    system, machine, *_ = component.platform.split("/")
    return {"kubernetes.io/os": system, "kubernetes.io/arch": machine}


def _of_declarations(service: Service) -> list[Loss]:
    losses = []
    for name, volume in service.volumes.items():
        if volume.external:
            losses.append(Loss(f"volumes.{name}", "podman makes the volume when it is missing"))
        elif volume.driver or volume.options or volume.labels:
            losses.append(Loss(f"volumes.{name}", f"create it before: `{commands.create_volume(name, volume)}`"))
    for name, network in service.networks.items():
        first = "" if network.external else f"create it before: `{commands.create_network(name, network)}`; "
        losses.append(Loss(f"networks.{name}", f"{first}name it: `podman kube play --network {name}`"))
    return losses
