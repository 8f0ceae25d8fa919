"""The containers of a pretended podman, and what its API says of them (version 4.0.0, as podman 4.3.1 answers)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import trio

from mcpd.model import LABEL_COMPONENT, LABEL_SERVICE
from tests.support.pretended_secrets import Kept

# No process has such a pid (proc_sys_kernel(5), pid_max), so nobody's is looked at.
_FIRST_PID = 5_000_000
_NEVER = "0001-01-01T00:00:00Z"


class Port(NamedTuple):
    """A published port; ``ip`` empty: at every address."""

    ip: str
    host: int
    inside: int

    def meets(self, other: Port) -> bool:
        return self.host == other.host and (self.ip == other.ip or "" in (self.ip, other.ip))


@dataclass(eq=False)
class Container:
    """A container as it truly is. ``spec`` is what made it: libpod's SpecGenerator, or a command line's equal."""

    id: str
    name: str
    image: str
    image_id: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]
    created: datetime
    # The command line that made it; empty for what came through the API.
    command: tuple[str, ...] = ()
    state: str = "created"
    pid: int = 0
    exit_code: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    runs_begun: int = 0
    # Whether connections to its ports come through.
    forwarded: bool = False
    # Its flaky probe finds fault.
    ill: bool = False
    # It was stopped by somebody, so podman's restart policy leaves it alone.
    stopped: bool = False
    # Connections to it that have begun; each look of whoever waits for them finds one less.
    clients: int = 0
    # By Trio's clock.
    begun_at: float = 0.0
    ended_at: float = 0.0
    # In its present run: its probe found it healthy, or found fault, and the proxy had it.
    well: bool = False
    found_ill: bool = False
    was_ready: bool = False
    ended: trio.Event = field(default_factory=trio.Event)
    # Secrets: files, copied when it was made; and variables, read when it began to run.
    secret_files: Mapping[str, Kept] = field(default_factory=dict)
    secret_env: Mapping[str, Kept] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        return self.state in ("running", "paused", "stopping")

    @property
    def is_restless(self) -> bool:
        """Whether it may end, or be started, without anybody doing anything."""
        return "late" in self.image or "job" in self.image or self.ill or self.state != "running"

    @property
    def key(self) -> tuple[str, str]:
        return self.labels.get(LABEL_SERVICE, ""), self.labels.get(LABEL_COMPONENT, "")

    @property
    def short(self) -> str:
        return self.id[:12]

    @property
    def ports(self) -> tuple[Port, ...]:
        return tuple(
            Port(each.get("host_ip", ""), each["host_port"], each["container_port"])
            for each in self.spec.get("portmappings") or ()
        )

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset(self.spec.get("cap_add") or ())

    @property
    def beyond(self) -> frozenset[str]:
        """What it has and no definition can say: the node's host name, as its own."""
        return frozenset({"uts"} if self.spec.get("utsns") else ())

    @property
    def secret_names(self) -> frozenset[str]:
        return frozenset((*self.secret_files, *(self.spec.get("secret_env") or {}).values()))

    @property
    def secret_values(self) -> dict[str, Kept]:
        """What it has in its present run, or its last one, by name."""
        return {**self.secret_files, **{each.name: each for each in self.secret_env.values()}}

    @property
    def restart(self) -> str:
        return str(self.spec.get("restart_policy") or "no")

    @property
    def networks(self) -> tuple[str, ...]:
        return tuple(self.spec.get("networks") or ("podman",))

    def begin(self) -> None:
        self.runs_begun += 1
        self.state, self.pid = "running", _FIRST_PID + 1000 * int(self.short, 16) + self.runs_begun
        self.started_at, self.stopped, self.forwarded = datetime.now(UTC), False, True
        self.begun_at, self.well, self.found_ill, self.was_ready = trio.current_time(), False, False, False
        self.ended = trio.Event()

    def end(self, code: int) -> None:
        self.state, self.exit_code, self.forwarded = "exited", code, False
        self.finished_at, self.pid, self.clients = datetime.now(UTC), 0, 0
        self.ended_at = trio.current_time()
        self.ended.set()

    def listed(self) -> dict[str, Any]:
        """As in `GET /containers/json`."""
        return {
            "Id": self.id,
            "Names": [self.name],
            "Image": self.image,
            "ImageID": self.image_id,
            "State": self.state,
            "Pid": self.pid,
            "ExitCode": self.exit_code,
            "StartedAt": _seconds(self.started_at),
            "ExitedAt": _seconds(self.finished_at),
            "Created": self.created.isoformat(),
            "Labels": dict(self.labels),
            "Ports": [
                {"host_ip": each.ip, "host_port": each.host, "container_port": each.inside, "protocol": "tcp"}
                for each in self.ports
            ],
            "Networks": list(self.networks),
        }

    def inspected(self) -> dict[str, Any]:
        """As in `GET /containers/{name}/json`."""
        return {
            "Id": self.id,
            "Name": self.name,
            "Image": self.image_id,
            "ImageName": self.image,
            "Created": self.created.isoformat(),
            "Path": "/app",
            "Args": [],
            "State": {
                "Status": self.state,
                "Pid": self.pid,
                "ExitCode": self.exit_code,
                "StartedAt": self.started_at.isoformat() if self.started_at else _NEVER,
                "FinishedAt": self.finished_at.isoformat() if self.finished_at else _NEVER,
            },
            "Config": {
                "Labels": dict(self.labels),
                "Env": [f"{name}={value}" for name, value in (self.spec.get("env") or {}).items()],
                "StopSignal": 15,
                "StopTimeout": self.spec.get("stop_timeout", 10),
                "CreateCommand": list(self.command) or None,
                "Secrets": [{"Name": each.name, "ID": each.id} for each in self.secret_files.values()],
            },
            "HostConfig": {
                "NetworkMode": "bridge",
                "RestartPolicy": {"Name": self.restart},
                "CapAdd": [f"CAP_{each}" for each in sorted(self.capabilities)],
                "PortBindings": {
                    f"{each.inside}/tcp": [{"HostIp": each.ip, "HostPort": str(each.host)}] for each in self.ports
                },
                "PidsLimit": 2048,
                "UTSMode": "host" if self.beyond else "private",
            },
            "NetworkSettings": {"Networks": {name: {"Aliases": []} for name in self.networks}},
            "Mounts": [],
        }


def _seconds(when: datetime | None) -> int:
    return int(when.timestamp()) if when else -62135596800
