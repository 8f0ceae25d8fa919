"""A probe as Kubernetes has it: it is asked from inside the Pod, and a failure ends the container."""

from __future__ import annotations

import shlex
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from mcpctl.definitions.exporting.formats import Losses, seconds
from protos import grammar
from protos.parts import Health
from protos.spec import Component

# Those of a probe are an int32 (kubernetes.io, "Probe v1 core").
_MAX_SECONDS = 2**31 - 1
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def probe(component: Component, health: Health, lost: Losses) -> dict[str, Any]:
    if health.disable:
        lost.add("health.disable", "Kubernetes has no probe then, but podman runs the image's own HEALTHCHECK")
        return {}
    if health.start_interval:
        lost.add("health.start_interval", "add a startupProbe with this periodSeconds")
    lost.add("health", "a failed livenessProbe stops the container, and restartPolicy decides what follows")
    times = {
        "periodSeconds": _seconds("interval", health.interval, lost),
        "timeoutSeconds": _seconds("timeout", health.timeout, lost),
        "failureThreshold": health.retries,
        "initialDelaySeconds": _seconds("start_period", health.start_period, lost),
    }
    return {**_handler(component, health, lost), **times}


def _seconds(field: str, duration: timedelta, lost: Losses) -> int:
    whole = min(seconds(duration), _MAX_SECONDS)
    if timedelta(seconds=whole) != duration:
        lost.add(f"health.{field}", f"became {whole} s: Kubernetes counts whole seconds, up to {_MAX_SECONDS}")
    return whole


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
    for each in map(grammar.port, component.ports):
        if each.host and each.protocol == "tcp" and each.host <= port < each.host + each.length:
            return {}, each.container + port - each.host
    return ({} if component.network == "host" and host in _LOOPBACK else {"host": host}), port
