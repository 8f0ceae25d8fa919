"""podman: its containers, images, networks and secrets, through its REST API (`mcpd.runtime.api`)."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec

from mcpd.model import LABEL_RUN, LABEL_SERVICE, Container
from mcpd.runtime import api_types, route_ports
from mcpd.runtime.api import QUICK_S, Api, NoSuchError, Observe, PodmanError, decoded
from mcpd.runtime.image_store import pull_lines
from mcpd.runtime.inspected import Details, ImageDefaults
from mcpd.runtime.programs import Programs, printed
from mcpd.runtime.secret_store import SecretStore
from monitor.model import Observed, Sighting
from monitor.ports import Happening, Ran
from protos.parts import NetworkDeclaration, Volume

# Reading takes milliseconds; a podman that needs longer hangs, and callers must learn so before they give up.
_LOOK_S = 5.0
# What podman serves at most, which is its own version: system.PingGet of its API's documentation.
_VERSION_HEADER = "Libpod-API-Version"
# A ping only shows that the service answers, which takes a moment or fails.
PING_S = 2.0
# Creating and starting wait for storage, the network and the OCI runtime, on a busy disk for a while.
_SLOW_S = 60.0
# A pull may stay silent this long while a layer is written out.
_PULL_SILENCE_S = 120.0
# Added to a stop's own timeout: the kill, the clean-up and the answer.
_STOP_MARGIN_S = 20.0
# The lines of a log requested at once.
_MAX_LOG_BYTES = 4 * 1024 * 1024


class Podman:
    """One podman, by its socket. Raises NoSuchError, PodmanError, or UnavailableError when podman does not answer."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.programs = Programs(api)
        self._adopted: Mapping[str, Mapping[str, str]] = {}
        self._route_ports = route_ports.Memory()
        self.secrets = SecretStore(api)

    @staticmethod
    @asynccontextmanager
    async def connect(socket: Path) -> AsyncIterator[Podman]:
        """Does not connect yet: podman may come and go."""
        async with Api.connect(socket) as api:
            yield Podman(api)

    def observe_with(self, observe: Observe) -> None:
        """Calls ``observe`` after every request from now on, except cancelled ones."""
        self._api.observe_with(observe)

    def label(self, adopted: Mapping[str, Mapping[str, str]]) -> None:
        """Adds labels to these containers, by id, in all later answers: podman cannot label an existing container."""
        self._adopted = adopted

    def is_adopted(self, container: str) -> bool:
        """Whether the container with this id was adopted: created by somebody else."""
        return container in self._adopted

    @property
    def api(self) -> Api:
        """For the modules beside this one."""
        return self._api

    async def version(self) -> str:
        """podman's version; also serves to find out whether podman answers.

        It is in a header of the answer to a ping, which takes podman a millisecond. Asked for all about its version, it
        runs the package manager for those of conmon and the runtime: 0.7 s of a core, with podman 4.3 of Debian 12.
        """
        answer = await self._api.do("GET", "/_ping", timeout=PING_S)
        version: str = answer.headers.get(_VERSION_HEADER, "")
        if not version:
            raise PodmanError(f"what answers podman's pings has no {_VERSION_HEADER}, so it is no podman", 0)
        return version

    async def graph_root(self) -> Path:
        """The folder where podman stores images and containers."""
        return Path((await self._api.ask("GET", "/info", api_types.Info)).store.graph_root)

    # -- containers

    async def containers(self, *, service: str = "", names: Collection[str] = ()) -> tuple[Container, ...]:
        """Containers, running or not, by name: all, those labelled as the service's, or those with these names."""
        filters: dict[str, list[str]] = {}
        if service:
            filters["label"] = [f"{LABEL_SERVICE}={service}"]
        if names:
            filters["name"] = [f"^{re.escape(name)}$" for name in names]
        listed = await self._list(filters)
        adopted = [number for number, labels in self._adopted.items() if service and labels[LABEL_SERVICE] == service]
        if adopted:
            listed = {each.id: each for each in (*listed, *await self._list({"id": adopted}))}.values()
        return tuple(
            sorted((api_types.container(each, self._labels(each)) for each in listed), key=lambda each: each.name)
        )

    async def runs(self, service: str = "") -> tuple[Container, ...]:
        """The containers that `mcpctl run` made, of one service or of all, by name."""
        found = await self._list({"label": [LABEL_RUN]})
        made = (api_types.container(each, each.labels or {}) for each in found)
        ours = (each for each in made if not service or each.run_of.service == service)
        return tuple(sorted(ours, key=lambda each: each.name))

    async def _list(self, filters: Mapping[str, list[str]]) -> Collection[api_types.Listed]:
        params = {"all": "true", "filters": msgspec.json.encode(filters).decode()}
        return await self._api.ask(
            "GET", "/containers/json", tuple[api_types.Listed, ...], params=params, timeout=_LOOK_S
        )

    def _labels(self, listed: api_types.Listed) -> Mapping[str, str]:
        labels = listed.labels or {}
        return {**labels, **self._adopted[listed.id]} if listed.id in self._adopted else labels

    async def inspect(self, name: str) -> api_types.Inspected:
        found = await self._api.ask("GET", f"/containers/{name}/json", api_types.Inspected, timeout=_LOOK_S)
        return found.labelled(self._adopted[found.id]) if found.id in self._adopted else found

    async def details(self, name: str) -> Details:
        """podman's full inspection of a container."""
        return await self._api.ask("GET", f"/containers/{name}/json", Details, timeout=_LOOK_S)

    async def listed(self) -> tuple[Sighting, ...]:
        """Every container, as the monitor reads it; see `monitor.ports.Runtime`."""
        return tuple(
            Sighting(0, each.id, each.name, each.service, each.component, each.state, each.started_at)
            for each in await self.containers()
        )

    async def look(self, container: str) -> Sighting | None:
        """One container, as the monitor reads it; see `monitor.ports.Runtime`."""
        try:
            return (await self.inspect(container)).sighting()
        except NoSuchError:
            return None

    async def events(self, since: datetime | None) -> AsyncGenerator[Happening, None]:
        """Events of containers from ``since`` on (None: from now on), until podman closes the stream."""
        params = {"stream": "true", "filters": msgspec.json.encode({"type": ["container"]}).decode()}
        if since:
            params["since"] = since.isoformat()
        # No time limit: nothing happening is the usual case. A podman that dies closes the stream; for one that
        # hangs, the resync is the second pair of eyes.
        async with self._api.stream("GET", "/events", params=params, timeout=None) as response:
            async for line in response.aiter_lines():
                if line.strip():
                    yield api_types.happening(decoded(line, api_types.Event, "told of an event"))

    async def shares_namespaces(self, pod: str) -> bool:
        """Whether the containers of a pod (its id) share any. Raises NoSuchError."""
        found = await self._api.ask("GET", f"/pods/{pod}/json", api_types.Pod, timeout=_LOOK_S)
        return found.create_infra or bool(found.shared_namespaces)

    async def create(self, spec: Mapping[str, Any]) -> str:
        """Creates a container from a SpecGenerator and returns its id."""
        create = partial(self._api.ask, "POST", "/containers/create", api_types.Id, json=spec, timeout=_SLOW_S)
        return (await self.secrets.despite_replacement(create)).id

    async def start(self, name: str) -> None:
        start = partial(self._api.do, "POST", f"/containers/{name}/start", timeout=_SLOW_S)
        await self.secrets.despite_replacement(start)

    async def stop(self, name: str, timeout: timedelta) -> None:
        """Sends SIGTERM, and SIGKILL after ``timeout``; does nothing when it is not running. What is paused goes on.

        podman 4.3 does not stop what is paused, and says that it is "running or paused".
        """
        try:
            await self._stop(name, timeout)
        except NoSuchError:
            raise
        except PodmanError:
            if (await self.inspect(name)).observed is not Observed.PAUSED:
                raise
            await self._api.do("POST", f"/containers/{name}/unpause")
            await self._stop(name, timeout)

    async def _stop(self, name: str, timeout: timedelta) -> None:
        seconds = math.ceil(timeout.total_seconds())
        await self._api.do(
            "POST", f"/containers/{name}/stop", params={"timeout": str(seconds)}, timeout=seconds + _STOP_MARGIN_S
        )

    async def rename(self, name: str, to: str) -> None:
        await self._api.do("POST", f"/containers/{name}/rename", params={"name": to})

    async def remove(self, name: str) -> None:
        """Removes a container and its anonymous volumes, killing it if it runs; nothing when it is not there.

        The volumes of one that was adopted stay (``name`` is its id): whoever made it may want them.
        """
        volumes = "false" if name in self._adopted else "true"
        params = {"force": "true", "v": volumes, "timeout": "0"}
        try:
            await self._api.do("DELETE", f"/containers/{name}", params=params, timeout=_SLOW_S)
        except NoSuchError:
            return

    async def log_tail(self, name: str, lines: int) -> str:
        """The last ``lines`` that a container printed, on stdout and stderr together."""
        params = {"stdout": "true", "stderr": "true", "tail": str(lines)}
        async with self._api.stream("GET", f"/containers/{name}/logs", params=params, timeout=QUICK_S) as response:
            return await printed(response.aiter_raw())

    async def logs(self, container: str, since: datetime | None, tail: int | None) -> list[tuple[int, bytes]]:
        """What a container printed after ``since``: the stream (1 stdout, 2 stderr), and podman's time, in whole
        seconds, and a line. At most some `_MAX_LOG_BYTES` of it, whole lines, the oldest.
        """
        params = {"stdout": "true", "stderr": "true", "timestamps": "true"}
        if since is not None:
            params["since"] = since.isoformat()
        if tail is not None:
            params["tail"] = str(tail)
        frames = bytearray()
        async with self._api.stream("GET", f"/containers/{container}/logs", params=params, timeout=QUICK_S) as response:
            async for chunk in response.aiter_raw():
                frames += chunk
                if len(frames) > _MAX_LOG_BYTES:
                    break
        return list(api_types.split(bytes(frames)))

    async def run_inside(self, container: str, argv: tuple[str, ...]) -> Ran:
        """See `monitor.ports.Executor`."""
        return await self.programs.run_inside(container, argv)

    async def reached_at(self, container: str, port: int) -> int:
        """See `monitor.ports.Executor`."""
        if container not in self._route_ports.known:
            found = await self.inspect(container)
            return self._route_ports.learn(found.id, found.config.labels or {}).get(port, port)
        return self._route_ports.known[container].get(port, port)

    # -- images and networks

    async def has_image(self, reference: str, platform: str = "") -> bool:
        """Whether the node has it, for ``platform`` (OS/ARCH[/VARIANT]) if one is given."""
        try:
            if not platform:
                await self._api.do("GET", f"/images/{reference}/exists")
                return True
            found = await self._api.ask("GET", f"/images/{reference}/json", api_types.ImagePlatform)
        except NoSuchError:
            return False
        return found.matches(platform)

    async def image_id(self, reference: str) -> str | None:
        """The id of the image that a reference names on this node; None when there is none."""
        try:
            return (await self._api.ask("GET", f"/images/{reference}/json", api_types.Id)).id
        except NoSuchError:
            return None

    async def image_defaults(self, reference: str) -> ImageDefaults:
        """What an image sets for its containers. Raises NoSuchError."""
        return await self._api.ask("GET", f"/images/{reference}/json", ImageDefaults)

    async def images(self) -> tuple[api_types.Image, ...]:
        """Every image that is not merely a layer of another, oldest first."""
        listed = await self._api.ask("GET", "/images/json", tuple[api_types.ListedImage, ...])
        return tuple(sorted((api_types.image(each) for each in listed), key=lambda each: (each.created_at, each.id)))

    async def remove_image(self, name: str) -> None:
        """Takes a name from an image, and removes the image with its last one; ``name`` may be an id.

        Raises PodmanError when a container uses it, NoSuchError.
        """
        await self._api.do("DELETE", f"/images/{name}", params={"force": "false"}, timeout=_SLOW_S)

    async def pull(self, reference: str, policy: str = "always", platform: str = "") -> AsyncGenerator[str, None]:
        """Pulls an image; yields podman's own progress lines. The error of a failed pull is in its last line."""
        params = {"reference": reference, "policy": policy}
        params |= dict(zip(("OS", "Arch", "Variant"), platform.split("/"), strict=False)) if platform else {}
        async with aclosing(pull_lines(self._api, params, _PULL_SILENCE_S)) as lines:
            async for line in lines:
                if line.stream.strip():
                    yield line.stream.strip()

    async def network_labels(self, name: str) -> Mapping[str, str] | None:
        """The labels of a network; None when there is none with this name."""
        try:
            return (await self._api.ask("GET", f"/networks/{name}/json", api_types.Network)).labels or {}
        except NoSuchError:
            return None

    async def gateway(self, name: str) -> str:
        """The node's address on a network; "" when it has none there. Raises NoSuchError."""
        found = await self._api.ask("GET", f"/networks/{name}/json", api_types.Network)
        return next((each.gateway for each in found.subnets or () if each.gateway), "")

    async def create_network(
        self, name: str, labels: Mapping[str, str], declared: NetworkDeclaration | None = None
    ) -> None:
        """Creates a network with podman's DNS, a bridge unless something else is declared; nothing if it exists."""
        wanted = declared or NetworkDeclaration()
        body: dict[str, Any] = {
            "name": name,
            "driver": wanted.driver or "bridge",
            "dns_enabled": True,
            "labels": {**wanted.labels, **labels},
            "internal": wanted.internal,
            "ipv6_enabled": wanted.ipv6,
            "options": dict(wanted.options),
        }
        if wanted.subnets:
            body["subnets"] = [{"subnet": each} for each in wanted.subnets]
            if wanted.gateway:
                body["subnets"][0]["gateway"] = wanted.gateway
        try:
            await self._api.do("POST", "/networks/create", json=body)
        except PodmanError as error:
            if error.status != httpx.codes.CONFLICT:
                raise

    async def remove_own_network(self, name: str, labels: Mapping[str, str]) -> bool:
        """Removes a network with ``labels`` that no container uses; returns whether it did."""
        try:
            network = await self._api.ask("GET", f"/networks/{name}/json", api_types.Network)
            if not labels.items() <= (network.labels or {}).items():
                return False
            await self._api.do("DELETE", f"/networks/{name}")
        except PodmanError:
            # Already gone, or in use (podman refuses to remove it): either way nothing is left to do.
            return False
        return True

    async def volume(self, name: str) -> api_types.Volume | None:
        """None when there is none with this name."""
        try:
            return await self._api.ask("GET", f"/volumes/{name}/json", api_types.Volume)
        except NoSuchError:
            return None

    async def create_volume(self, name: str, declared: Volume) -> None:
        """Raises PodmanError, also when it exists."""
        body = {"Name": name, "Label": dict(declared.labels), "Options": dict(declared.options)}
        body |= {"Driver": declared.driver} if declared.driver else {}
        await self._api.do("POST", "/volumes/create", json=body)
