"""A service on the wire and off it: the one place where a definition becomes a message, and a message plain values.

What comes off the wire is checked by `protos.spec.examine_service` before anybody believes it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

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
    if component.settle is not None:
        message.settle = component.settle
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


def service_values(message: v1.ServiceSpec) -> dict[str, Any]:
    """The values as in a definition file, without unset fields."""
    return without_none(
        name=message.name,
        node=message.node,
        active=message.active,
        components=[_component_values(each) for each in message.components],
    )


def _component_values(message: v1.ComponentSpec) -> dict[str, Any]:
    return without_none(
        name=message.name,
        image=message.image,
        active=message.active,
        network=message.network or None,
        user=message.user or None,
        restart=message.restart or None,
        ports=message.ports,
        volumes=message.volumes,
        cmd=message.cmd,
        env=message.env,
        secrets=message.secrets,
        depends_on=message.depends_on,
        stop_timeout=_duration(message, "stop_timeout"),
        settle=_duration(message, "settle"),
        heal=message.heal or None,
        health=_health_values(message.health) if message.is_set("health") else None,
        resources={
            "memory": message.resources.memory_bytes,
            "cpus": message.resources.cpus,
            "pids": message.resources.pids,
        },
    )


def _health_values(message: v1.Health) -> dict[str, Any]:
    kind = message.is_set
    return without_none(
        cmd=message.cmd.argv if kind("cmd") else None,
        http=message.http if kind("http") else None,
        tcp=message.tcp if kind("tcp") else None,
        interval=_duration(message, "interval"),
        timeout=_duration(message, "timeout"),
        retries=message.retries,
        start_period=_duration(message, "start_period"),
    )


def _duration(message: Any, field: str) -> timedelta | None:
    return getattr(message, field) if message.is_set(field) else None


def without_none(**values: Any) -> dict[str, Any]:
    """Those of ``values`` that are set."""
    return {key: value for key, value in values.items() if value is not None}
