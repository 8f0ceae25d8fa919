"""The tables of a definition: what a service and its components consist of, each field with its rule.

Some entries of lists are a string or a table. The string is the short form, and a table that says no more than a string
could becomes one (`Short`): equal declarations are equal values, with equal hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Protocol

import msgspec

from protos import grammar, podman_notation
from protos.fields import (
    Argument,
    Duration,
    FileMode,
    Id,
    InsidePath,
    Labels,
    Name,
    PositiveDuration,
    Resource,
    Size,
    Word,
    whole_number,
)
from protos.validation import Rule, checked

# podman's own for a secret: a file that everybody may read.
SECRET_MODE = 0o444
# A config travels in one message and is kept in the registry.
MAX_CONFIG_BYTES = 256 * 1024
# podman wants a secret to be smaller than 512000 bytes.
MAX_SECRET_BYTES = 511_999


class Short(Protocol):
    """A table that may be written as a string."""

    def short(self) -> str | None:
        """The string that says the same; None: none does."""


class Heal(StrEnum):
    """What mcpd does on its own about a component that should run but is down or unhealthy."""

    ALERT = "alert"
    RESTART = "restart"


class Pull(StrEnum):
    """When an image is pulled for a container that is about to be made (podman-run(1), --pull)."""

    MISSING = "missing"
    NEWER = "newer"
    ALWAYS = "always"
    NEVER = "never"


class LogDriver(StrEnum):
    """Where what a component prints goes (podman-run(1), --log-driver)."""

    K8S_FILE = "k8s-file"
    JSON_FILE = "json-file"
    JOURNALD = "journald"
    NONE = "none"


class Mode(StrEnum):
    """How a proxy treats what comes for a route."""

    HTTP = "http"
    GRPC = "grpc"
    TLS = "tls"


class Update(StrEnum):
    """In which order a deploy replaces a container."""

    START_FIRST = "start-first"
    STOP_FIRST = "stop-first"


def _cpus(value: float) -> float:
    # Below a hundredth of a CPU the kernel's quota would round to zero.
    if value and not 0.01 <= value <= 4096:
        raise ValueError(f"{value} is out of range: a number of CPUs, 0.01 to 4096, or 0 for no limit")
    return float(value)


def _memory_swap(value: str | int) -> int:
    return podman_notation.UNLIMITED if value in (podman_notation.UNLIMITED, "-1") else grammar.size(value)


class Resources(msgspec.Struct, frozen=True, omit_defaults=True):
    """Limits; 0 means none.

    ``memory``: the most that all processes of the container may use together; above that, the kernel kills one.
    ``cpus``: how many of the node's CPUs it may use, 0.01 to 4096.
    ``pids``: how many processes and threads it may have.
    ``memory_reservation``: what it is pressed back to when the node's memory runs short.
    ``memory_swap``: memory and swap together; -1: as much swap as there is. Default: twice `memory`.
    ``cpu_shares``: its weight when the node's CPUs are busy; a container has 1024.
    ``cpuset``: the CPUs that it may use, ``0-3,6``.
    ``oom_score_adj``: how willingly the kernel kills it when memory runs out, -1000 to 1000.
    """

    memory: Size = 0
    cpus: Annotated[float, Rule(_cpus, (float, int))] = 0.0
    pids: Annotated[int, whole_number(0, 2**31 - 1)] = 0
    memory_reservation: Size = 0
    memory_swap: Annotated[int, Rule(_memory_swap, (str, int))] = 0
    cpu_shares: Annotated[int, whole_number(0, 262_144)] = 0
    cpuset: Annotated[str, checked(podman_notation.cpuset)] | None = None
    oom_score_adj: Annotated[int, whole_number(-1000, 1000)] = 0


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """A probe: exactly one of cmd, http and tcp; or `disable`.

    Without this table, an image's own HEALTHCHECK is the probe. Without either, a running container is healthy.

    ``cmd``: a program that podman runs inside the container; exit status 0 is healthy.
    ``http``: the URL that mcpd requests from the node; a status below 400 is healthy. On 127.0.0.1, the port of a route
        is that of the container.
    ``tcp``: the address that mcpd dials from the node, likewise; a connection is healthy.
    ``interval``: the time from one probe to the next.
    ``timeout``: how long one probe may take.
    ``retries``: how many consecutive failures make the container unhealthy, 1 to 1000.
    ``start_period``: how long failures do not count after a start.
    ``start_interval``: the interval until the first success within the start period. Default: `interval`.
    ``disable``: true: no probe at all, not even the image's own.
    """

    cmd: tuple[Argument, ...] = ()
    http: Annotated[str, checked(grammar.http_url)] | None = None
    tcp: Annotated[str, checked(grammar.host_port)] | None = None
    interval: PositiveDuration = timedelta(seconds=30)
    timeout: PositiveDuration = timedelta(seconds=5)
    retries: Annotated[int, whole_number(1, 1000)] = 3
    start_period: Duration = timedelta(0)
    start_interval: PositiveDuration | None = None
    disable: bool = False


class Route(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the world reaches the component through the node's proxy, which mcpd tells of it (docs/routes.md).

    ``host``: the name that clients ask for; ``*.example.net`` for every name of one label below a domain.
    ``port``: where the component listens, inside. Default: mcpd chooses, and says so in `$PORT`.
    ``name``: a name, so that mcpd says the port in `$PORT_NAME`, in capitals; for several routes without a `port`.
    ``mode``: `http`, `grpc` (HTTP/2 without TLS, to the component), or `tls`: passed through by server name, unopened.
    ``path``: the beginning of the path; `/api` is that and what is below it. Not for `tls`.
    ``listen``: the proxy's port.
    """

    host: Annotated[str, checked(grammar.route_host)]
    port: Annotated[int, whole_number(0, 65535)] = 0
    name: Name | None = None
    mode: Mode = Mode.HTTP
    path: Annotated[str, checked(grammar.route_path)] = "/"
    listen: Annotated[int, whole_number(1, 65535)] = 443

    @property
    def variable(self) -> str:
        """The environment variable that says its port; "" when its definition says it and it has no name."""
        if self.name:
            return f"PORT_{self.name.upper().replace('-', '_')}"
        return "" if self.port else "PORT"

    @property
    def port_name(self) -> str:
        """What its port is called: its number, or the route's name, where mcpd chooses the number."""
        return str(self.port) if self.port else self.name or "port"


class Network(msgspec.Struct, frozen=True, omit_defaults=True):
    """A podman network that the container joins; just its name, unless more is said.

    ``name``: the network. It is created if it is missing.
    ``aliases``: more names by which others on the network find the component.
    ``ip``: its IPv4 address there; the network needs a subnet.
    ``ip6``: its IPv6 address there.
    """

    name: Resource
    aliases: tuple[Annotated[str, checked(podman_notation.alias)], ...] = ()
    ip: Annotated[str, checked(podman_notation.ip4)] | None = None
    ip6: Annotated[str, checked(podman_notation.ip6)] | None = None

    @classmethod
    def of(cls, entry: str | Network) -> Network:
        return cls(entry) if isinstance(entry, str) else entry

    def short(self) -> str | None:
        return self.name if self == Network(self.name) else None


class Secret(msgspec.Struct, frozen=True, omit_defaults=True):
    """A podman secret; just its name, unless more is said. `mcpctl secret set` gives it its value (docs/secrets.md).

    ``name``: the secret.
    ``target``: the file that it becomes; a name is one in /run/secrets. Default: the secret's name.
    ``env``: the environment variable that it becomes, instead of a file.
    ``uid``: the file's owner, in the container's own ids.
    ``gid``: the file's group.
    ``mode``: the file's permissions.
    """

    name: Annotated[str, checked(grammar.secret)]
    target: Annotated[str, checked(grammar.path_or_name)] | None = None
    env: Annotated[str, checked(grammar.env_name)] | None = None
    uid: Id = 0
    gid: Id = 0
    mode: FileMode = SECRET_MODE

    @classmethod
    def of(cls, entry: str | Secret) -> Secret:
        return cls(entry) if isinstance(entry, str) else entry

    def short(self) -> str | None:
        return self.name if self == Secret(self.name) else None


class ConfigFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that mcpd puts into the container, read-only. A change of it is a change of the component.

    ``target``: where the container has it.
    ``source``: a text file beside the definition, 256 KiB at most; mcpctl reads it.
    ``content``: its text, in place of a source.
    ``mode``: its permissions.
    ``uid``: its owner, in the container's own ids.
    ``gid``: its group.
    """

    target: InsidePath
    source: str | None = None
    content: Argument | None = None
    mode: FileMode = 0o444
    uid: Id = 0
    gid: Id = 0


class Mount(msgspec.Struct, frozen=True, omit_defaults=True):
    """A folder or volume that the container mounts; a string, unless more is said.

    ``target``: where the container has it.
    ``source``: an absolute path on the node, or a volume's name. Default: an anonymous volume.
    ``options``: those of the short form, ``["ro"]``.
    ``create``: true: mcpd creates a folder that is missing on the node.
    """

    target: InsidePath
    source: Annotated[str, checked(grammar.volume_source)] | None = None
    options: tuple[Annotated[str, checked(grammar.volume_option)], ...] = ()
    create: bool = False

    @classmethod
    def of(cls, entry: str | Mount) -> Mount:
        if not isinstance(entry, str):
            return entry
        found = grammar.volume(entry)
        return cls(found.target, found.source or None, found.options)

    def short(self) -> str | None:
        if self.create or ":" in self.target or (self.options and not self.source):
            return None
        if self.source is None:
            return self.target
        text = ":".join([self.source, self.target, *([",".join(self.options)] if self.options else [])])
        return None if ":" in self.source else text

    @property
    def folder(self) -> str:
        """The path on the node; "" for a volume."""
        return self.source if self.source and self.source.startswith("/") else ""

    @property
    def volume(self) -> str:
        """The name of the volume; "" for a folder, and for an anonymous one."""
        return self.source if self.source and not self.source.startswith("/") else ""


class Log(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where what the component prints goes.

    ``driver``: `k8s-file` (also called `json-file`), `journald` or `none`.
    ``max_size``: the most that a log file holds before podman starts a new one. Default: 10MiB.
    ``tag``: what journald calls it.
    """

    driver: LogDriver = LogDriver.K8S_FILE
    max_size: Size = 0
    tag: Word | None = None


class Build(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the image is built: by `mcpctl build` and `mcpctl deploy --build`, on the machine where mcpctl runs.

    ``context``: the folder with what is built, relative to the definition, or a URL.
    ``dockerfile``: the Dockerfile, relative to the context. Default: Containerfile, else Dockerfile.
    ``target``: the stage that is built.
    ``args``: build arguments. Never secrets: they are in the command line, and in the image's history.
    ``secrets``: secrets of the build, as ``podman build --secret`` takes them; files are relative to the definition.
    ``ssh``: SSH agents or keys, as ``podman build --ssh`` takes them; files are relative to the definition.
    """

    context: Word
    dockerfile: Word | None = None
    target: Word | None = None
    args: Mapping[Annotated[str, checked(grammar.env_name)], Argument] = {}
    secrets: tuple[Argument, ...] = ()
    ssh: tuple[Argument, ...] = ()


class Volume(msgspec.Struct, frozen=True, omit_defaults=True):
    """A podman volume, created if it is missing (podman-volume-create(1)).

    ``driver``: Default: podman's, `local`.
    ``options``: of the driver.
    ``labels``: its labels.
    ``external``: true: somebody else creates it; a deploy without it is refused.
    """

    driver: Word | None = None
    options: Mapping[Argument, Argument] = {}
    labels: Labels = {}
    external: bool = False


class NetworkDeclaration(msgspec.Struct, frozen=True, omit_defaults=True):
    """A podman network, created if it is missing (podman-network-create(1)).

    ``driver``: `bridge`, `macvlan` or `ipvlan`. Default: bridge.
    ``subnets``: its address ranges, ``["10.89.7.0/24"]``; needed for fixed addresses.
    ``gateway``: the address of the node in the first of them.
    ``internal``: true: nothing beyond the network can be reached from it.
    ``ipv6``: true: it has IPv6 addresses, too.
    ``options``: of the driver.
    ``labels``: its labels.
    ``external``: true: somebody else creates it; a deploy without it is refused.
    """

    driver: Word | None = None
    subnets: tuple[Annotated[str, checked(podman_notation.subnet)], ...] = ()
    gateway: Annotated[str, checked(podman_notation.ip)] | None = None
    internal: bool = False
    ipv6: bool = False
    options: Mapping[Argument, Argument] = {}
    labels: Labels = {}
    external: bool = False
