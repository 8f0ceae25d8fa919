"""The load that shows whether a deploy is noticed, and the program that it is put on: both must be able to fail."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.podman.node import Node
from tests.podman.rootless import rootless_node
from tests.support.python_image import import_python_image
from tests.support.traffic import Clients, Kind, Result, main, traffic
from tests.support.visible_app import CLOSE, GOING_AWAY, TEXT, accept_of, frame, lines_of, take_frame
from tests.support.waiting import free_port, until

IMAGE = "localhost/mcp-visible:v1"
CONTAINER = "visible-web"
VISIBLE = f"""
name = "visible"
node = "NODE"
[[components]]
name = "web"
image = "{IMAGE}"
ports = ["127.0.0.1:PORT:8080"]
volumes = ["FOLDER:/seen"]
env = {{ PORT = "8080", SEEN_LOG = "/seen/log"MORE }}
"""

SECONDS = 2.0
SLOW_S = 1.0


class Visible:
    """The program in its container on a node. ``log``: what it has seen."""

    def __init__(self, node: Node, folder: Path, more: str) -> None:
        self._node = node
        self.log = folder / "log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        text = VISIBLE.replace("PORT:", f"{self.port}:").replace("FOLDER", str(folder)).replace("MORE", more)
        node.define("visible", text)
        node.mcpctl("deploy", "visible")
        until(lambda: self.status("/seen") == 200)
        self.instance = node.inspect(CONTAINER)["Id"][:12]

    async def stop(self) -> None:
        await trio.to_thread.run_sync(functools.partial(self._node.podman, "stop", CONTAINER))

    def seen(self) -> dict[str, object]:
        """What the program prints at its end."""
        found: dict[str, object] = json.loads(self._node.podman("logs", CONTAINER).splitlines()[-1])
        return found

    def exit_status(self) -> int:
        status: int = self._node.inspect(CONTAINER)["State"]["ExitCode"]
        return status

    def status(self, path: str) -> int:
        """Of an answer; 0 without one."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as response:
                status: int = response.status
                return status
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0


@pytest.fixture(scope="module", params=["root", "rootless"])
def imported(request: pytest.FixtureRequest, shared_node: Node) -> Iterator[Node]:
    """A node that has the image; its containers are root's, or an ordinary user's."""
    if request.param == "root":
        import_python_image(shared_node, IMAGE)
        yield shared_node
        return
    with folder_of_its_own() as folder, rootless_node(folder, shared_node) as node:
        import_python_image(node, IMAGE)
        yield node


@pytest.fixture
def visible(imported: Node, request: pytest.FixtureRequest) -> Iterator[Visible]:
    """With more of an environment, if the test says so."""
    with folder_of_its_own() as folder:
        folder.chmod(0o777)
        try:
            yield Visible(imported, folder, getattr(request, "param", ""))
        finally:
            imported.clear()


@contextlib.contextmanager
def folder_of_its_own() -> Iterator[Path]:
    """A folder that an ordinary user reaches: pytest shuts its own to others, whenever another pytest begins."""
    with tempfile.TemporaryDirectory(prefix="mcp-") as folder:
        yield Path(folder)


def lost(result: Result) -> str:
    """For a test that fails: what was lost, in words."""
    return f"\n{result}"


def test_the_image_is_small_and_made_quickly(imported: Node) -> None:
    imported.podman("rmi", IMAGE)
    began = time.monotonic()
    import_python_image(imported, IMAGE)
    assert time.monotonic() - began < 15
    assert json.loads(imported.podman("image", "inspect", IMAGE))[0]["Size"] < 60e6


async def test_a_container_that_is_left_alone_loses_nothing_of_any_kind(visible: Visible) -> None:
    async with traffic(visible.url, "shop.example.net", seconds=SECONDS, slow=SLOW_S) as load:
        pass
    result = load.result
    assert not result.failures, lost(result)
    assert (result.ok, result.failed, result.retried) == (result.sent, 0, 0), lost(result)
    assert all(result.counts[kind].ok > 0 for kind in Kind), lost(result)
    assert result.counts[Kind.SLOW].p50 >= SLOW_S
    assert list(result.instances) == [visible.instance]
    # The container has seen what was sent: each request once, and of the WebSockets the handshakes.
    names = [line.request for line in lines_of(visible.log)]
    assert len(names) == len(set(names))
    http = sum(each.sent for kind, each in result.counts.items() if kind is not Kind.WEBSOCKET)
    assert len(names) == http + Clients().websocket


async def test_a_number_of_requests_ends_it(visible: Visible) -> None:
    async with traffic(visible.url, clients=Clients(slow=0, websocket=0), requests=500) as load:
        pass
    assert (load.result.sent, load.result.ok) == (500, 500), lost(load.result)


async def test_a_stop_in_the_middle_is_noticed_by_every_client_and_told_in_words(visible: Visible) -> None:
    clients = Clients(slow=1)
    async with traffic(visible.url, clients=clients, slow=SLOW_S) as load:
        await _until(lambda: load.result.counts[Kind.SLOW].ok > 0)
        await visible.stop()
        await _until(lambda: all(load.result.counts[kind].failed for kind in Kind))
    result = load.result
    assert len(result.failures) == 20
    assert all(failure.what for failure in result.failures)
    assert result.failures[0].at >= visible_sigterm(visible), lost(result)
    # A WebSocket was told that the server goes; that it could not be opened again is what failed.
    assert result.counts[Kind.WEBSOCKET].closed == clients.websocket, lost(result)


async def test_a_stop_lets_finish_what_was_begun(visible: Visible) -> None:
    clients = Clients(keep_alive=0, fresh=0, slow=8, upload=0, websocket=0)
    async with traffic(visible.url, clients=clients, requests=8, slow=2.0) as load:
        await _until(lambda: len(lines_of(visible.log)) == 8)
        await visible.stop()
    result = load.result
    assert (result.sent, result.ok, result.failed) == (8, 8, 0), lost(result)
    assert visible_sigterm(visible) < min(each.first for each in result.instances.values())
    assert visible.exit_status() == 0


def test_by_hand_it_prints_a_table(visible: Visible, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", visible.url, "--host", "shop.example.net", "--requests", "50", "--slow", "0"]) == 0
    shown = capsys.readouterr().out
    assert "keep-alive" in shown
    assert visible.instance in shown


@pytest.mark.parametrize("visible", [', HEALTHY_AFTER = "2"'], indirect=True)
def test_what_comes_before_the_container_is_healthy_is_known(visible: Visible) -> None:
    assert (visible.status("/healthz"), visible.status("/")) == (503, 200)
    until(lambda: visible.status("/healthz") == 200)
    assert visible.status("/") == 200
    with urllib.request.urlopen(f"{visible.url}/seen", timeout=10) as response:
        seen = json.load(response)
    assert (seen["count"], seen["before_healthy"], seen["sigterm"]) == (2, 1, None)
    assert seen["first"]["wall"] + 1 < seen["last"]["wall"]


@pytest.mark.parametrize("visible", [', HEALTHY = "never"'], indirect=True)
def test_a_container_may_never_be_healthy(visible: Visible) -> None:
    assert (visible.status("/healthz"), visible.status("/")) == (503, 200)


def visible_sigterm(visible: Visible) -> float:
    at = visible.seen()["sigterm"]
    assert isinstance(at, float)
    return at


async def _until(condition: Callable[[], object]) -> None:
    await trio.to_thread.run_sync(until, condition)


# -- a server that does not behave, in place of the container


OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Instance: it\r\nX-Request: %s\r\n%s\r\n%s"
KEPT = Clients(keep_alive=2, fresh=0, slow=0, upload=0, websocket=0)
FRESH = Clients(keep_alive=0, fresh=2, slow=0, upload=0, websocket=0)
UPLOADS = Clients(keep_alive=0, fresh=0, slow=0, upload=2, websocket=0)
WEBSOCKETS = Clients(keep_alive=0, fresh=0, slow=0, upload=0, websocket=2)


class Asked:
    """A connection that a server has, and the requests that come on it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.received = bytearray()
        self.head = b""

    async def next(self) -> bool:
        """Reads a request with its body; False when the client has gone."""
        while (end := self.received.find(b"\r\n\r\n")) < 0:
            if not await self.more():
                return False
        self.head = bytes(self.received[:end])
        length = int(self._header(rb"Content-Length: (\d+)", b"0"))
        while len(self.received) < end + 4 + length:
            if not await self.more():
                return False
        del self.received[: end + 4 + length]
        self.length = length
        return True

    async def more(self) -> bool:
        data = await self.stream.receive_some()
        self.received += data
        return bool(data)

    async def answer(self, headers: bytes = b"") -> None:
        body = str(self.length).encode()
        await self.stream.send_all(OK % (len(body), self.name, headers, body))

    async def accept(self) -> None:
        """Answers the handshake of a WebSocket."""
        key = self._header(rb"Sec-WebSocket-Key: (\S+)", b"").decode()
        await self.stream.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Instance: it\r\n"
            b"X-Request: %s\r\nSec-WebSocket-Accept: %s\r\n\r\n" % (self.name, accept_of(key).encode())
        )

    async def echo(self) -> None:
        """Answers one message."""
        while (found := take_frame(self.received)) is None:
            if not await self.more():
                return
        await self.stream.send_all(frame(TEXT, found.payload))

    @property
    def name(self) -> bytes:
        return self._header(rb"X-Request: (\S+)", b"")

    def _header(self, pattern: bytes, default: bytes) -> bytes:
        found = re.search(pattern, self.head, re.IGNORECASE)
        return found[1] if found else default


@contextlib.asynccontextmanager
async def server(behave: Callable[[Asked], Awaitable[object]]) -> AsyncIterator[str]:
    """Its URL. ``behave`` has a connection, which is closed when it returns."""

    async def converse(stream: trio.SocketStream) -> None:
        async with stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await behave(Asked(stream))

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(functools.partial(trio.serve_tcp, converse, 0, host="127.0.0.1"))
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def answers_once(asked: Asked) -> None:
    """The second request on a connection is read, and gets no answer."""
    if await asked.next():
        await asked.answer()
        await asked.next()


async def test_a_get_under_which_a_kept_connection_ends_is_made_again_as_a_browser_does() -> None:
    async with server(answers_once) as url:
        async with traffic(url, clients=KEPT, requests=20) as load:
            pass
    counts = load.result.counts[Kind.KEEP_ALIVE]
    assert (counts.sent, counts.ok, counts.failed) == (20, 20, 0), lost(load.result)
    assert counts.retried == 18


async def test_a_post_under_which_a_kept_connection_ends_is_lost() -> None:
    async with server(answers_once) as url:
        async with traffic(url, clients=UPLOADS, requests=20) as load:
            pass
    counts = load.result.counts[Kind.UPLOAD]
    assert (counts.sent, counts.ok, counts.failed, counts.retried) == (20, 10, 10, 0), lost(load.result)
    assert "before any byte of an answer" in load.result.failures[0].what


async def test_a_connection_that_ends_without_an_answer_to_its_first_request_is_lost() -> None:
    connections = itertools.count()

    async def every_second_answers(asked: Asked) -> None:
        await asked.next()
        if next(connections) % 2:
            await asked.answer()

    async with server(every_second_answers) as url:
        async with traffic(url, clients=Clients(0, 1, 0, 0, 0), requests=8) as load:
            pass
    counts = load.result.counts[Kind.FRESH]
    assert (counts.ok, counts.failed, counts.retried) == (4, 4, 0), lost(load.result)


@pytest.mark.parametrize("clients", [KEPT, UPLOADS])
@pytest.mark.parametrize(("headers", "pause"), [(b"Connection: close\r\n", 0.0), (b"", 0.1)])
async def test_a_connection_that_ends_properly_between_requests_loses_nothing(
    clients: Clients, headers: bytes, pause: float
) -> None:
    async def behave(asked: Asked) -> None:
        await asked.next()
        await asked.answer(headers)

    async with server(behave) as url:
        async with traffic(url, clients=clients, requests=10, pause=pause) as load:
            pass
    assert (load.result.ok, load.result.failed, load.result.retried) == (10, 0, 0), lost(load.result)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nnone", "503 Service Unavailable of the proxy"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnone", "without an X-Instance"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\nX-Instance: it\r\n\r\nhalf", "part of one"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "part of one"),
        (OK % (1, b"other-1", b"", b"0"), "it answered the request other-1"),
    ],
)
async def test_an_answer_that_is_not_the_whole_answer_of_the_container_is_lost(answer: bytes, what: str) -> None:
    async def behave(asked: Asked) -> None:
        await asked.next()
        await asked.stream.send_all(answer)

    async with server(behave) as url:
        async with traffic(url, clients=FRESH, requests=2) as load:
            pass
    assert (load.result.ok, load.result.failed) == (0, 2), lost(load.result)
    assert what in load.result.failures[0].what


async def test_no_answer_in_time_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.traffic.ANSWER_S", 0.2)

    async def behave(asked: Asked) -> None:
        await asked.next()
        if b"/ws" in asked.head:
            await asked.accept()
        await trio.sleep_forever()

    async with server(behave) as url:
        async with traffic(url, clients=Clients(1, 1, 1, 1, 1), slow=0.1) as load:
            await _until(lambda: all(each.failed for each in load.result.counts.values()))
    assert {counts.ok for kind, counts in load.result.counts.items() if kind is not Kind.WEBSOCKET} == {0}


@pytest.mark.parametrize("is_drained", [False, True])
async def test_a_websocket_may_end_without_a_word_only_after_its_drain_began(is_drained: bool) -> None:
    async def behave(asked: Asked) -> None:
        await asked.next()
        await asked.accept()
        await asked.echo()

    async with server(behave) as url:
        async with traffic(url, clients=WEBSOCKETS) as load:
            if is_drained:
                load.drain("it")
            await _until(lambda: load.result.counts[Kind.WEBSOCKET].ok >= 8)
    counts = load.result.counts[Kind.WEBSOCKET]
    if is_drained:
        assert (counts.failed, counts.closed >= 2) == (0, True), lost(load.result)
    else:
        assert (counts.failed >= 2, counts.closed) == (True, 0), lost(load.result)
        assert "without a close frame" in load.result.failures[0].what


async def test_a_close_frame_that_comes_as_the_next_message_is_due_is_not_overlooked() -> None:
    async def behave(asked: Asked) -> None:
        await asked.next()
        await asked.accept()
        await asked.echo()
        await trio.testing.wait_all_tasks_blocked()
        # No other task runs until the sleep is over: the client finds the frame, and its time over, at once.
        os.write(asked.stream.socket.fileno(), frame(CLOSE, GOING_AWAY.to_bytes(2, "big")))
        time.sleep(0.2)  # noqa: ASYNC251
        await asked.more()

    async with server(behave) as url:
        async with traffic(url, clients=Clients(0, 0, 0, 0, 1)) as load:
            await _until(lambda: load.result.counts[Kind.WEBSOCKET].closed >= 2)
    assert load.result.failed == 0, lost(load.result)


async def test_what_the_block_raises_ends_it_at_once() -> None:
    async def behave(_: Asked) -> None:
        await trio.sleep_forever()

    async with server(behave) as url:
        with trio.fail_after(2), pytest.raises(LookupError):
            async with traffic(url, seconds=60):
                raise LookupError
