"""The one place where a definition becomes the message that tells an agent."""

from __future__ import annotations

from protos.mcp import v1
from protos.spec import Component, Service


def service_spec(service: Service) -> v1.ServiceSpec:
    return v1.ServiceSpec(
        name=service.name,
        node=service.node,
        active=service.active,
        components=[_component_spec(each) for each in service.components],
    )


def _component_spec(component: Component) -> v1.ComponentSpec:
    message = v1.ComponentSpec(
        name=component.name,
        image=component.image,
        active=component.active,
        network=component.network or "",
        user=component.user or "",
        restart=component.restart,
        ports=list(component.ports),
        volumes=list(component.volumes),
        cmd=list(component.cmd),
        env=dict(component.env),
        secrets=list(component.secrets),
        depends_on=list(component.depends_on),
        stop_timeout=component.stop_timeout,
        heal=component.heal or "",
        resources=v1.Resources(
            memory_bytes=component.resources.memory, cpus=component.resources.cpus, pids=component.resources.pids
        ),
    )
    if health := component.health:
        message.health = v1.Health(
            interval=health.interval,
            timeout=health.timeout,
            retries=health.retries,
            start_period=health.start_period,
        )
        if health.cmd:
            message.health.cmd = v1.Command(argv=list(health.cmd))
        elif health.http:
            message.health.http = health.http
        elif health.tcp:
            message.health.tcp = health.tcp
    return message
