"""Where a probe asks: of a container with routes, at its own ports on the node."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest
import trio

from mcpd.runtime.podman import Podman
from mcpd.runtime.route_ports import LABEL_ROUTE_PORTS
from monitor.ports import Ran
from monitor.probes import ask
from protos.parts import Health

# What `GET containers/ID/json` says of a container with a route to its port 8080.
INSPECTED = {
    "Id": "c" * 64,
    "Name": "shop-web",
    "ImageName": "x",
    "State": {"Status": "running"},
    "Config": {"Labels": {LABEL_ROUTE_PORTS: "8080=20007/8080"}},
}


class Away:
    """A container whose port 8080 is another one on the node."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def reached_at(self, container: str, port: int) -> int:
        await trio.lowlevel.checkpoint()
        assert container == "c1"
        return self._port if port == 8080 else port

    async def run_inside(self, container: str, argv: tuple[str, ...]) -> Ran:
        raise NotImplementedError


async def answer(stream: trio.SocketStream) -> None:
    async with stream:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")


@pytest.fixture
async def port(nursery: trio.Nursery) -> int:
    serve = partial(trio.serve_tcp, answer, 0, host="127.0.0.1")
    (listener,) = await nursery.start(serve)
    found: int = listener.socket.getsockname()[1]
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_loopback_port_of_a_route_is_that_of_the_container(port: int, host: str) -> None:
    executor = Away(port)
    found = await ask(Health(http=f"http://{host}:8080/healthz"), "c1", executor)
    assert (found.healthy, found.words) == (True, f"http://{host}:{port}/healthz: HTTP status 200")
    assert (await ask(Health(tcp=f"{host}:8080"), "c1", executor)).healthy
    # Another port is what it says.
    assert not (await ask(Health(tcp=f"{host}:1"), "c1", executor)).healthy


async def test_podman_is_asked_once_for_a_container_and_always_for_a_name() -> None:
    asked = []

    class Api:
        async def ask(self, _: str, path: str, kind: type, **__: object) -> object:
            await trio.lowlevel.checkpoint()
            asked.append(path)
            return msgspec.convert(INSPECTED, kind)

    podman = Podman(Api())  # type: ignore[arg-type]
    ports = [await podman.reached_at("c" * 64, port) for port in (8080, 8080, 9090)]
    assert (ports, len(asked)) == ([20007, 20007, 9090], 1)
    assert [await podman.reached_at("shop-web", 8080) for _ in range(2)] == [20007, 20007]
    assert len(asked) == 3
