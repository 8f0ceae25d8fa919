"""podman's answers: the JSON of its API (version 4.0.0) as typed values, and their conversion. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from mcpd.model import LABEL_COMPONENT, LABEL_SERVICE, LABEL_SPEC_HASH, Container
from mcpd.runtime.healthcheck import Probe, probe_of
from monitor.model import Observed, Sighting
from monitor.ports import Happening
from protos.parts import Health
from protos.spec import Component

# The header of a frame in Docker's stream format.
_HEADER = 8
# podman's state for a container that was told to stop and whose process is ending or has just ended.
_STOPPING = "stopping"
_STATES = {
    "configured": Observed.CREATED,
    "created": Observed.CREATED,
    "initialized": Observed.CREATED,
    "running": Observed.RUNNING,
    _STOPPING: Observed.RUNNING,
    "paused": Observed.PAUSED,
    "stopped": Observed.EXITED,
    "exited": Observed.EXITED,
    # Its process has ended. It is gone only when an inspection no longer finds it, which may take a while.
    "removing": Observed.EXITED,
}


# podman takes the start of a run and its end from two clocks, in the order in which it gets to it: what ends at once
# may have ended before it was started.
_CLOCKS_APART = timedelta(seconds=1)
# What a datetime can say wherever it is read: a day less at both ends, for the time zones.
_EARLIEST_S = int((datetime.min.replace(tzinfo=UTC) + timedelta(days=1)).timestamp())
_LATEST_S = int((datetime.max.replace(tzinfo=UTC) - timedelta(days=1)).timestamp())


class Port(msgspec.Struct, frozen=True):
    container_port: int
    host_port: int = 0
    host_ip: str = ""
    range: int = 1
    protocol: str = "tcp"


class Listed(msgspec.Struct, frozen=True, rename="pascal"):
    id: str = msgspec.field(name="Id")
    names: tuple[str, ...]
    image: str
    image_id: str = msgspec.field(name="ImageID")
    state: str
    pid: int = 0
    exit_code: int = 0
    started_at: int = 0
    exited_at: int = 0
    created: datetime | None = None
    labels: Mapping[str, str] | None = None
    ports: tuple[Port, ...] | None = None
    networks: tuple[str, ...] | None = None


class InspectedState(msgspec.Struct, frozen=True, rename="pascal"):
    status: str
    pid: int = 0
    conmon_pid: int = 0
    exit_code: int = 0
    oom_killed: bool = msgspec.field(name="OOMKilled", default=False)
    started_at: datetime | None = None
    finished_at: datetime | None = None


class GivenSecret(msgspec.Struct, frozen=True, rename="pascal"):
    """A secret that is a file in a container."""

    name: str = ""
    id: str = msgspec.field(name="ID", default="")


class InspectedConfig(msgspec.Struct, frozen=True, rename="pascal"):
    labels: Mapping[str, str] | None = None
    secrets: tuple[GivenSecret, ...] | None = None
    healthcheck: Probe | None = None
    # podman-run(1), --timeout: in seconds; 0: none.
    timeout: int = 0


class Inspected(msgspec.Struct, frozen=True, rename="pascal"):
    """One container, exactly."""

    id: str = msgspec.field(name="Id")
    name: str
    image_name: str
    state: InspectedState
    config: InspectedConfig
    created: datetime | None = None

    def labelled(self, labels: Mapping[str, str]) -> Inspected:
        """With these labels as well."""
        config = msgspec.structs.replace(self.config, labels={**(self.config.labels or {}), **labels})
        return msgspec.structs.replace(self, config=config)

    @property
    def observed(self) -> Observed:
        return _STATES.get(self.state.status, Observed.UNKNOWN)

    @property
    def is_active(self) -> bool:
        """Whether it has a main process, or will have one again without anybody asking."""
        return self.observed not in (Observed.CREATED, Observed.EXITED, Observed.REMOVED)

    def probe(self, component: Component) -> Health | None:
        """The probe of the container as this component: the declared one, or its image's health check; None: none."""
        if component.health is None and not component.ends:
            return probe_of(self.config.healthcheck)
        return component.probe

    def sighting(self) -> Sighting:
        """The container as the monitor reads it; the caller supplies its order."""
        state, labels, observed = self.state, self.config.labels or {}, self.observed
        ended = observed is Observed.EXITED and saw_end(ever(state.started_at), ever(state.finished_at))
        return Sighting(
            order=0,
            container=self.id,
            name=self.name,
            service=labels.get(LABEL_SERVICE, ""),
            component=labels.get(LABEL_COMPONENT, ""),
            state=observed,
            started_at=ever(state.started_at),
            finished_at=ever(state.finished_at) if ended else None,
            exit_code=state.exit_code if ended else None,
            out_of_memory=state.oom_killed,
            by_hand=state.status == _STOPPING,
            pid=state.pid,
            conmon_pid=state.conmon_pid,
            image=self.image_name,
            spec_hash=labels.get(LABEL_SPEC_HASH, ""),
            own_probe=probe_of(self.config.healthcheck),
        )


class Id(msgspec.Struct, frozen=True, rename="pascal"):
    id: str = msgspec.field(name="Id")


class Actor(msgspec.Struct, frozen=True, rename="pascal"):
    id: str = msgspec.field(name="ID")


class Event(msgspec.Struct, frozen=True):
    type: str = msgspec.field(name="Type")
    actor: Actor = msgspec.field(name="Actor")
    time_nano: int = msgspec.field(name="timeNano")


class SecretDriver(msgspec.Struct, frozen=True, rename="pascal"):
    name: str = ""
    options: Mapping[str, str] | None = None


class SecretSpec(msgspec.Struct, frozen=True, rename="pascal"):
    name: str
    driver: SecretDriver = SecretDriver()


class Secret(msgspec.Struct, frozen=True, rename="pascal"):
    id: str = msgspec.field(name="ID")
    spec: SecretSpec
    created_at: datetime
    updated_at: datetime


class MadeSecret(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="ID")


class ShownSecret(msgspec.Struct, frozen=True, rename="pascal"):
    """A secret with its value, where podman tells it (4.7)."""

    secret_data: str = ""

    def __repr__(self) -> str:
        return "ShownSecret()"


class Session(msgspec.Struct, frozen=True, rename="pascal"):
    """``exit_code`` says nothing as long as it is ``running``: podman's is 0 then. ``pid`` is the node's number.

    ``container`` is the id of the container that it is in.
    """

    exit_code: int
    container: str = msgspec.field(name="ContainerID", default="")
    running: bool = False
    pid: int = 0


class Image(msgspec.Struct, frozen=True):
    """An image as podman lists it. ``names`` is empty for one that lost its last one to another; ``size`` in bytes.

    ``digests`` are NAME@sha256:..., of its manifest and of the list that it was chosen from, as far as podman knows.
    ``is_read_only``: it is of a store that is not ours to change (containers-storage.conf(5), additionalimagestores).
    """

    id: str
    names: tuple[str, ...]
    size: int
    created_at: datetime
    is_read_only: bool = False
    digests: tuple[str, ...] = ()


class ListedImage(msgspec.Struct, frozen=True, rename="pascal"):
    id: str = msgspec.field(name="Id")
    names: tuple[str, ...] | None = None
    size: int = 0
    created: int = 0
    read_only: bool = False
    repo_digests: tuple[str, ...] | None = None


class Store(msgspec.Struct, frozen=True):
    graph_root: str = msgspec.field(name="graphRoot")


class Info(msgspec.Struct, frozen=True):
    store: Store


class Failure(msgspec.Struct, frozen=True):
    message: str = ""
    cause: str = ""


class Pod(msgspec.Struct, frozen=True, rename="pascal"):
    create_infra: bool = False
    shared_namespaces: tuple[str, ...] | None = None


class ImagePlatform(msgspec.Struct, frozen=True, rename="pascal"):
    os: str = ""
    architecture: str = ""

    def matches(self, platform: str) -> bool:
        """Whether it is for ``platform``, OS/ARCH[/VARIANT]; podman tells no variant."""
        return platform.split("/")[:2] == [self.os, self.architecture]


class Volume(msgspec.Struct, frozen=True, rename="pascal"):
    driver: str = ""
    options: Mapping[str, str] | None = None


class Subnet(msgspec.Struct, frozen=True):
    gateway: str = ""


class Network(msgspec.Struct, frozen=True):
    subnets: tuple[Subnet, ...] | None = None
    labels: Mapping[str, str] | None = None


class PullLine(msgspec.Struct, frozen=True):
    stream: str = ""
    id: str = ""
    error: str = ""


def container(listed: Listed, labels: Mapping[str, str]) -> Container:
    state = _STATES.get(listed.state, Observed.UNKNOWN)
    started_at, finished_at = when(listed.started_at), when(listed.exited_at)
    return Container(
        id=listed.id,
        name=listed.names[0] if listed.names else listed.id[:12],
        image=listed.image,
        image_id=listed.image_id,
        state=state,
        pid=listed.pid,
        exit_code=listed.exit_code if state is Observed.EXITED and saw_end(started_at, finished_at) else None,
        started_at=started_at,
        finished_at=finished_at,
        ports=tuple(port_text(port) for port in listed.ports or ()),
        labels=labels,
        created_at=ever(listed.created),
        networks=listed.networks or (),
    )


def image(listed: ListedImage) -> Image:
    # What an image says of itself; podman takes any year.
    created_at = datetime.fromtimestamp(min(max(listed.created, _EARLIEST_S), _LATEST_S), UTC)
    return Image(listed.id, listed.names or (), listed.size, created_at, listed.read_only, listed.repo_digests or ())


def happening(event: Event) -> Happening:
    return Happening(event.actor.id, datetime.fromtimestamp(event.time_nano / 1e9, UTC))


def port_text(port: Port) -> str:
    address = f"[{port.host_ip}]:" if ":" in port.host_ip else f"{port.host_ip}:" if port.host_ip else ""
    protocol = "" if port.protocol == "tcp" else f"/{port.protocol}"
    last = port.range - 1
    spread = (f"-{port.host_port + last}", f"-{port.container_port + last}") if last > 0 else ("", "")
    return f"{address}{port.host_port}{spread[0]}:{port.container_port}{spread[1]}{protocol}"


def when(seconds: int) -> datetime | None:
    """podman writes the year 1 for "never"."""
    return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None


def saw_end(started_at: datetime | None, finished_at: datetime | None) -> bool:
    """Whether podman has seen how the run ended that began at ``started_at``.

    It has not when the machine lost its power meanwhile. Then it says 0, and when an earlier run ended, or never.
    """
    return finished_at is not None and (started_at is None or finished_at >= started_at - _CLOCKS_APART)


def ever(at: datetime | None) -> datetime | None:
    """podman writes the year 1 for "never"."""
    return at if at and at.year > 1 else None


class Frames:
    """Docker's stream format, as it comes: an 8-byte header (stream, 3 zeros, big-endian length), then the data.

    Holds no more than a header: of a frame of any length its data are given out as they come.
    """

    def __init__(self) -> None:
        self._header = b""
        self._stream = 0
        self._left = 0

    def payloads(self, chunk: bytes) -> Iterator[bytes]:
        """The data in the next ``chunk``."""
        return (data for _, data in self.chunks(chunk))

    def chunks(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """The data in the next ``chunk``, each with its stream: 1 stdout, 2 stderr."""
        while chunk:
            if not self._left:
                missing = _HEADER - len(self._header)
                self._header, chunk = self._header + chunk[:missing], chunk[missing:]
                if len(self._header) < _HEADER:
                    return
                self._stream, self._left = self._header[0], int.from_bytes(self._header[4:], "big")
                self._header = b""
                continue
            yield self._stream, chunk[: self._left]
            self._left, chunk = max(0, self._left - len(chunk)), chunk[self._left :]


def split(frames: bytes) -> Iterator[tuple[int, bytes]]:
    """The stream and the payload of each frame that is there as a whole."""
    position = 0
    while position + _HEADER <= len(frames):
        length = int.from_bytes(frames[position + 4 : position + _HEADER], "big")
        end = position + _HEADER + length
        if end > len(frames) and position:
            return  # cut off: a part would be taken for the line, which is asked for again; unless it is all there is
        yield frames[position], frames[position + _HEADER : end]
        position = end
