"""A podman that is only pretended: its REST API, in memory, as the transport of mcpd's HTTP client.

Everything of mcpd above the socket is the real one. What is pretended here was seen of podman 4.3.1: a start on a taken
port fails and takes the holder's forwarding away (netavark), what ends by itself is restarted by its policy, a stop
takes a moment, events come late.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import httpx
import msgspec
import trio

from tests.support.pretended_secrets import Kept, NoSuchSecretError, PretendedSecrets, RefusedSecretError

from .containers import Container
from .images import IMAGES

_BASE = "/v4.0.0/libpod"
# podman's own pauses, in seconds.
_STOPS_AFTER = 0.05
_RESTARTS_AFTER = 0.1
_EVENT_LATE = 0.2
_EXEC_TAKES = 0.01
_ANSWERS_AFTER = 0.001
_TAKEN = "address already in use"


class Refused(Exception):
    """podman answers with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class PretendedPodman(httpx.AsyncBaseTransport):
    """Its containers outlive every daemon. ``gate`` is called before and after each request has its effect."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.containers: dict[str, Container] = {}
        # Also those that are gone, by as much of their ids as the proxy is told.
        self.every: dict[str, Container] = {}
        self.secrets = PretendedSecrets()
        self.images = {name: image.id for name, image in IMAGES.items() if image.present}
        self.networks: dict[str, dict[str, Any]] = {"podman": {}}
        # Host ports that a program which is no container's listens on.
        self.foreign: set[int] = set()
        self.is_down = False
        self.gate: Callable[[], None] = lambda: None
        # Told of each container that mcpd has stopped or removed, before that happens.
        self.ends: Callable[[Container], None] = lambda _: None
        self._nursery = nursery
        self._made = 0
        self._sessions: dict[str, tuple[Container, tuple[str, ...], int]] = {}
        self._streams: list[trio.MemorySendChannel[bytes]] = []
        self._log: list[tuple[datetime, bytes]] = []
        self._routes = dict(_routes(self))

    # -- what happens to containers

    def named(self, name: str) -> Container | None:
        return next((each for each in self.containers.values() if name in (each.name, each.id)), None)

    def make(self, spec: Mapping[str, Any], command: tuple[str, ...] = ()) -> Container:
        """Raises Refused."""
        name, image = spec["name"], spec["image"]
        if self.named(name):
            raise Refused(500, f'the container name "{name}" is already in use')
        if image not in self.images:
            raise Refused(404, f"{image}: image not known")
        for network in spec.get("networks") or ():
            if network not in self.networks:
                raise Refused(404, f"unable to find network with name or ID {network}: network not found")
        files = {each["Source"]: self._secret(each["Source"]) for each in spec.get("secrets") or ()}
        self._made += 1
        labels = spec.get("labels") or {}
        made = Container(
            f"{self._made:012x}{0:052x}", name, image, self.images[image], labels, spec, datetime.now(UTC), command
        )
        made.secret_files = files
        self.containers[made.id] = self.every[made.short] = made
        self.happens(made)
        return made

    def start(self, container: Container) -> None:
        """Raises Refused."""
        if container.runs:
            return
        variables = container.spec.get("secret_env") or {}
        for name in variables.values():
            self._secret(name)
        if self._is_taken(container):
            raise Refused(500, f"cannot listen on the TCP port: listen tcp4 :{container.ports[0].host}: bind: {_TAKEN}")
        container.secret_env = {name: self._secret(each) for name, each in variables.items()}
        container.begin()
        self._nursery.start_soon(self._life, container, container.ended)
        self.happens(container)

    def _secret(self, name: str) -> Kept:
        """Raises Refused."""
        try:
            return self.secrets.found(name)
        except NoSuchSecretError as error:
            raise Refused(500, str(error)) from None

    def _is_taken(self, container: Container) -> bool:
        """netavark takes down what it had set up, and with it the rules of the one that has the port."""
        holders = [
            each
            for each in self.containers.values()
            if each is not container and each.runs and any(a.meets(b) for a in each.ports for b in container.ports)
        ]
        for each in holders:
            each.forwarded = False
        return bool(holders) or any(each.host in self.foreign for each in container.ports)

    def would_take(self, container: Container) -> bool:
        """Whether somebody has one of its ports."""
        others = [each for each in self.containers.values() if each is not container and each.runs]
        theirs = [port for each in others for port in each.ports]
        return any(port.host in self.foreign or any(port.meets(it) for it in theirs) for port in container.ports)

    async def _life(self, container: Container, run: trio.Event) -> None:
        image = IMAGES[container.image]
        if image.dies_after is None or (image.dies_once and container.runs_begun > 1):
            return
        await trio.sleep(image.dies_after)
        while container.state == "paused" and not run.is_set():  # noqa: ASYNC110 (nothing tells when it goes on)
            await trio.sleep(1)
        if not run.is_set():
            self.dies(container, image.code)

    def dies(self, container: Container, code: int) -> None:
        """It ends by itself, or is killed, and podman restarts it if that is its policy."""
        self._ends(container, code)
        if container.restart == "always" or (container.restart.startswith("on-failure") and code):
            self._nursery.start_soon(self._restart, container)

    def _ends(self, container: Container, code: int) -> None:
        container.end(code)
        self.happens(container)

    async def _restart(self, container: Container) -> None:
        await trio.sleep(_RESTARTS_AFTER)
        is_there = self.containers.get(container.id) is container
        tries = 3 if IMAGES[container.image].dies_once or IMAGES[container.image].dies_after is None else 1
        if is_there and container.state == "exited" and not container.stopped and container.runs_begun <= 40 * tries:
            try:
                self.start(container)
            except Refused:
                return

    async def stop(self, container: Container) -> None:
        container.stopped = True
        if not container.runs:
            return
        container.state = "stopping"
        self.happens(container)
        run = container.ended
        # podman goes on with it when who asked has gone.
        with trio.CancelScope(shield=True):
            await trio.sleep(_STOPS_AFTER)
        if not run.is_set():
            self._ends(container, 143)

    def remove(self, container: Container) -> None:
        if container.runs:
            container.end(137)
        self.containers.pop(container.id, None)
        self.happens(container)

    def pause(self, container: Container, *, paused: bool) -> None:
        container.state = "paused" if paused else "running"
        self.happens(container)

    def happens(self, container: Container) -> None:
        now = datetime.now(UTC)
        event = {"Type": "container", "Actor": {"ID": container.id}, "timeNano": int(now.timestamp() * 1e9)}
        line = msgspec.json.encode(event) + b"\n"
        self._log.append((now, line))
        for stream in self._streams:
            try:
                stream.send_nowait(line)
            except (trio.WouldBlock, trio.BrokenResourceError):
                continue

    def break_streams(self) -> None:
        for stream in self._streams:
            stream.close()
        self._streams.clear()

    async def until_exit(self, pid: int) -> None:
        """Stands in for `monitor.pidfd.wait_exit`."""
        found = next((each for each in self.containers.values() if each.pid == pid), None)
        if found:
            await found.ended.wait()
        await trio.lowlevel.checkpoint()

    def served(self, pid: int) -> int | None:
        """Stands in for `mcpd.runtime.sockets.served`."""
        found = next((each for each in self.containers.values() if each.pid == pid), None)
        if found is None:
            return None
        found.clients = max(0, found.clients - 1)
        return found.clients

    def reload_network(self, name: str) -> str:
        """Stands in for `podman network reload`."""
        found = self.named(name)
        if found is None:
            return f"no container with name or ID {name} found"
        found.forwarded = found.runs
        return ""

    # -- the API

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.gate()
        await trio.sleep(_ANSWERS_AFTER)
        if self.is_down:
            raise httpx.ConnectError("connection refused", request=request)
        path = request.url.path.removeprefix(_BASE)
        values = {name: each[-1] for name, each in parse_qs(request.url.query.decode()).items()}
        body = await request.aread()
        try:
            told = body if path == "/secrets/create" else msgspec.json.decode(body) if body else {}
            answer = await self._answer(request.method, path, values, told)
        except NoSuchSecretError as error:
            return _json({"message": str(error)}, 404)
        except Refused as error:
            return _json({"message": str(error)}, error.status)
        self.gate()
        return answer

    async def _answer(self, method: str, path: str, values: dict[str, str], body: Any) -> httpx.Response:
        for (verb, pattern), act in self._routes.items():
            if verb == method and (match := pattern.fullmatch(path)):
                answer = act(*match.groups(), values, body)
                return await answer if hasattr(answer, "__await__") else answer
        raise AssertionError(f"podman is asked something that is not pretended: {method} {path}")

    def _found(self, name: str) -> Container:
        if found := self.named(name):
            return found
        raise Refused(404, f"no container with name or ID {name} found: no such container")

    def _list(self, values: dict[str, str], _: Any) -> httpx.Response:
        filters = msgspec.json.decode(values.get("filters", "{}"), type=dict[str, list[str]])
        return _json([each.listed() for each in self.containers.values() if _matches(each, filters)])

    def _inspect(self, name: str, *_: Any) -> httpx.Response:
        return _json(self._found(name).inspected())

    def _create(self, _: dict[str, str], spec: Any) -> httpx.Response:
        return _json({"Id": self.make(spec).id}, 201)

    def _start(self, name: str, *_: Any) -> httpx.Response:
        self.start(self._found(name))
        return _raw(b"", 204)

    async def _stop(self, name: str, *_: Any) -> httpx.Response:
        found = self._found(name)
        if found.state == "paused":
            raise Refused(500, f"container {found.id} is running or paused, refusing to clean up")
        self.ends(found)
        await self.stop(found)
        return _raw(b"", 204)

    def _unpause(self, name: str, *_: Any) -> httpx.Response:
        self.pause(self._found(name), paused=False)
        return _raw(b"", 204)

    def _rename(self, name: str, values: dict[str, str], _: Any) -> httpx.Response:
        found = self._found(name)
        if self.named(values["name"]):
            raise Refused(409, f"name {values['name']} is in use: container already exists")
        found.name = values["name"]
        self.happens(found)
        return _raw(b"", 204)

    def _remove(self, name: str, *_: Any) -> httpx.Response:
        found = self._found(name)
        self.ends(found)
        self.remove(found)
        return _json([])

    def _logs(self, name: str, *_: Any) -> httpx.Response:
        self._found(name)
        return _raw(b"")

    def _exec(self, name: str, _: dict[str, str], body: Any) -> httpx.Response:
        found = self._found(name)
        if found.state != "running":
            raise Refused(409, f"can only create exec sessions on running containers: {name}")
        number = f"e{len(self._sessions)}"
        argv = tuple(body["Cmd"])
        healthy = argv[0] == "up" or (argv[0] == "flaky" and not found.ill)
        self._sessions[number] = (found, argv, 0 if healthy else 1)
        found.well, found.found_ill = found.well or healthy, found.found_ill or not healthy
        return _json({"Id": number}, 201)

    async def _exec_start(self, number: str, *_: Any) -> httpx.Response:
        _, argv, code = self._sessions[number]
        await trio.sleep(_EXEC_TAKES)
        said = f"{argv[0]} finds fault".encode() if code else b""
        return _raw(b"\x01\0\0\0" + len(said).to_bytes(4, "big") + said)

    def _exec_inspect(self, number: str, *_: Any) -> httpx.Response:
        return _json({"Running": False, "Pid": 0, "ExitCode": self._sessions[number][2]})

    def _image(self, name: str, *_: Any) -> httpx.Response:
        number = self.images.get(name, name if name in self.images.values() else "")
        if not number:
            raise Refused(404, f"{name}: image not known")
        tags = [tag for tag, each in self.images.items() if each == number]
        return _json({"Id": number, "Os": "linux", "Architecture": "amd64", "Config": {}, "RepoTags": tags})

    def _list_images(self, *_: Any) -> httpx.Response:
        """Of an image that has lost its name to another, as long as a container has it, too."""
        names: dict[str, list[str]] = {each.image_id: [] for each in self.containers.values()}
        for tag, number in self.images.items():
            names.setdefault(number, []).append(tag)
        return _json([{"Id": number, "Names": tags or None, "Size": 1, "Created": 1} for number, tags in names.items()])

    def _image_exists(self, name: str, *_: Any) -> httpx.Response:
        self._image(name)
        return _raw(b"", 204)

    def _pull(self, values: dict[str, str], _: Any) -> httpx.Response:
        name = values["reference"]
        if name not in self.images and not IMAGES[name].pulls:
            return _raw(msgspec.json.encode({"error": f"{name}: manifest unknown"}))
        self.images[name] = IMAGES[name].id
        return _raw(msgspec.json.encode({"stream": "Writing manifest"}))

    def _network(self, name: str, *_: Any) -> httpx.Response:
        if name not in self.networks:
            raise Refused(404, f"unable to find network with name or ID {name}: network not found")
        return _json({"name": name, "labels": self.networks[name], "subnets": []})

    def _create_network(self, _: dict[str, str], body: Any) -> httpx.Response:
        if body["name"] in self.networks:
            raise Refused(409, f"network name {body['name']} already used: network already exists")
        self.networks[body["name"]] = body["labels"]
        return _json({"name": body["name"]})

    def _remove_network(self, name: str, *_: Any) -> httpx.Response:
        self._network(name)
        if any(name in each.networks for each in self.containers.values()):
            raise Refused(500, f'"{name}" has associated containers with it: network is being used')
        del self.networks[name]
        return _json([])

    def _show_secret(self, name: str, values: dict[str, str], _: Any) -> httpx.Response:
        return _json(self.secrets.shown(name, value="showsecret" in values))

    def _create_secret(self, values: dict[str, str], body: bytes) -> httpx.Response:
        try:
            return _json({"ID": self.secrets.create(values["name"], body)})
        except RefusedSecretError as error:
            raise Refused(500, str(error)) from None

    def _remove_secret(self, name: str, *_: Any) -> httpx.Response:
        self.secrets.remove(name)
        return _raw(b"", 204)

    def _events(self, values: dict[str, str], _: Any) -> httpx.Response:
        send, receive = trio.open_memory_channel[bytes](10_000)
        since = datetime.fromisoformat(values["since"]) if "since" in values else None
        for at, line in self._log:
            if since and at >= since:
                send.send_nowait(line)
        self._streams.append(send)
        return httpx.Response(200, stream=_Events(receive))


class _Events(httpx.AsyncByteStream):
    def __init__(self, lines: trio.MemoryReceiveChannel[bytes]) -> None:
        self._lines = lines

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for line in self._lines:
            await trio.sleep(_EVENT_LATE)
            yield line

    async def aclose(self) -> None:
        self._lines.close()


Act = Callable[..., Any]


def _routes(it: PretendedPodman) -> Iterator[tuple[tuple[str, re.Pattern[str]], Act]]:
    name = "/containers/([^/]+)"
    table: dict[str, Act] = {
        "GET /_ping": lambda *_: _raw(b"OK", headers={"Libpod-API-Version": "4.3.1"}),
        "GET /info": lambda *_: _json({"store": {"graphRoot": "/"}}),
        "GET /containers/json": it._list,
        "POST /containers/create": it._create,
        f"GET {name}/json": it._inspect,
        f"POST {name}/start": it._start,
        f"POST {name}/stop": it._stop,
        f"POST {name}/unpause": it._unpause,
        f"POST {name}/rename": it._rename,
        f"GET {name}/logs": it._logs,
        f"POST {name}/exec": it._exec,
        f"DELETE {name}": it._remove,
        "POST /exec/([^/]+)/start": it._exec_start,
        "GET /exec/([^/]+)/json": it._exec_inspect,
        "GET /images/json": it._list_images,
        "GET /images/(.+)/exists": it._image_exists,
        "GET /images/(.+)/json": it._image,
        "POST /images/pull": it._pull,
        "GET /networks/([^/]+)/json": it._network,
        "POST /networks/create": it._create_network,
        "DELETE /networks/([^/]+)": it._remove_network,
        "GET /secrets/json": lambda *_: _json(it.secrets.listed()),
        "GET /secrets/([^/]+)/json": lambda name, values, _: _json(
            it.secrets.shown(name, value="showsecret" in values)
        ),
        "POST /secrets/create": it._create_secret,
        "DELETE /secrets/([^/]+)": it._remove_secret,
        "GET /events": it._events,
    }
    for route, act in table.items():
        verb, _, pattern = route.partition(" ")
        yield (verb, re.compile(pattern)), act


def _matches(container: Container, filters: Mapping[str, list[str]]) -> bool:
    labels = [each.partition("=") for each in filters.get("label", ())]
    for name, equals, value in labels:
        if name not in container.labels or (equals and container.labels[name] != value):
            return False
    if "id" in filters and container.id not in filters["id"]:
        return False
    return "name" not in filters or any(re.search(each, container.name) for each in filters["name"])


def _json(value: Any, status: int = 200) -> httpx.Response:
    return _raw(msgspec.json.encode(value), status)


def _raw(content: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """As one that came from a socket: not read yet."""
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))
