"""The real daemon, `mcpd.daemon.serve`, over a pretended podman: called without a network, and killed as by SIGKILL."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import httpx
import time_machine
import trio

from mcpd import daemon
from mcpd.assembly import parts, servers
from mcpd.assembly import proxy as assembly_of_proxy
from mcpd.config import settings as config
from mcpd.model import Caller, Role
from mcpd.routing import port_numbers, router
from mcpd.runtime import network, podman_service, sockets
from mcpd.runtime.api import Api
from monitor import pidfd
from monitor.alerts.dispatch import Dispatcher
from monitor.model import Alert, Execution

from .podman import PretendedPodman
from .proxy import PretendedProxy

T = TypeVar("T")

NODE = "rift"
OPERATOR = Caller("ops", Role.ADMIN)
START = datetime(2026, 3, 1, tzinfo=UTC)
_ALERT_TAKES = 0.01
# Less often than in truth: it is most of what happens while nothing does.
_PING_S = 60.0
# As well.
_ASK_PROXY_S = 20.0


class KilledError(BaseException):
    """What a daemon that was killed does next: nothing. No `except Exception` of its code sees it."""


class WallClock(trio.abc.Instrument):
    """The wall clock, as Trio's clock goes; ``offset`` is by how many seconds somebody has set it wrong."""

    def __init__(self) -> None:
        self.offset = 0.0
        self.was_set_back = False
        self._shown = -1.0
        self._traveller = time_machine.travel(START, tick=False)

    @contextlib.contextmanager
    def worn(self) -> Iterator[None]:
        with self._traveller as self._coordinates:
            yield

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        now = trio.current_time() + self.offset
        if now != self._shown:
            self._shown = now
            self._coordinates.move_to(START + timedelta(seconds=now))


class Alerts:
    """Stands in for the operator's command: keeps what it was run for, in order."""

    def __init__(self) -> None:
        self.told: list[Alert] = []

    async def execute(self, argv: tuple[str, ...], alert: Alert, timeout: float) -> Execution:
        await trio.sleep(_ALERT_TAKES)
        self.told.append(alert)
        return Execution(0, "")


class Daemon:
    """One daemon after another on the same folder: `start`, `stop` or `kill`, and `start` again."""

    def __init__(self, podman: PretendedPodman, proxy: PretendedProxy, folder: Path, alerts: Alerts) -> None:
        self.podman = podman
        self.proxy = proxy
        self.settings = config.load(folder / "mcpd.toml")
        self.database = self.settings.database.path
        self._path = folder / "mcpd.toml"
        self._alerts = alerts
        self._methods: dict[str, Any] = {}
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._ended.set()
        self._stopping = trio.Event()
        self._ready = trio.Event()
        self.is_killed = False
        # How many effects from now on it is killed: of podman, of the proxy, and transactions, each before and after.
        self.fuse: int | None = None

    async def start(self, nursery: trio.Nursery) -> None:
        self.is_killed, self.fuse = False, None
        self._scope, self._stopping, self._ready = trio.CancelScope(), trio.Event(), trio.Event()
        self._ended = trio.Event()
        self.proxy.asked_since = trio.current_time()
        nursery.start_soon(self._serve)
        await self._ready.wait()

    async def stop(self) -> None:
        """As on SIGTERM."""
        self._stopping.set()
        await self._ended.wait()

    async def kill(self) -> None:
        """As on SIGKILL: nothing that it does from now on has an effect."""
        self.is_killed = True
        self._scope.cancel()
        await self._ended.wait()

    async def _serve(self) -> None:
        try:
            with self._pretended(), self._scope:
                await daemon.serve(self.settings, self._path)
        except BaseException:
            # What it comes to when nothing works any more is nobody's concern.
            if not self.is_killed:
                raise
        finally:
            self.podman.gate = self.proxy.gate = lambda: None
            self._ended.set()

    async def call(self, method: str, request: Any, caller: Caller = OPERATOR) -> Any:
        """Calls an RPC's method, as the gate does, with what the wire makes of the request; a stream as a list.

        Raises what the method raises; KilledError when the daemon is killed meanwhile.
        """
        arrived = type(request).FromString(bytes(request))
        return await self._until_answered(lambda: _all(self._methods[method](arrived, caller)))

    async def converse(self, method: str, *requests: Any) -> list[Any]:
        """Calls an RPC that streams both ways with all that the client says; returns all that it is told.

        Raises as `call` does.
        """
        told: list[Any] = []

        async def send(messages: list[Any]) -> None:
            await trio.lowlevel.checkpoint()
            told.extend(messages)

        said = _Said([type(each).FromString(bytes(each)) for each in requests])
        await self._until_answered(lambda: self._methods[method](said, OPERATOR, send))
        return told

    async def _until_answered(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        answer: list[Any] = []

        async def answered() -> None:
            answer.append(await ask())
            nursery.cancel_scope.cancel()

        async def killed() -> None:
            await self._ended.wait()
            raise KilledError

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(killed)
                nursery.start_soon(answered)
        except BaseExceptionGroup as group:
            if not self.is_killed:
                raise _leaves(group)[0] from None
        if self.is_killed:
            raise KilledError
        return answer[0]

    # -- what is pretended

    def _effect(self) -> None:
        """Called before and after every effect."""
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.is_killed = True
                self._scope.cancel()
        if self.is_killed:
            raise KilledError

    @contextlib.contextmanager
    def _pretended(self) -> Iterator[None]:
        self.podman.gate = self.proxy.gate = self._effect
        with contextlib.ExitStack() as stack:
            for where, name, stand_in in (
                (Api, "connect", staticmethod(self._connect)),
                (trio.to_thread, "run_sync", self._run_sync),
                (pidfd, "wait_exit", self.podman.until_exit),
                (network, "reload", self._reload),
                (sockets, "held", self._held),
                (sockets, "owner", self._owner),
                (sockets, "served", self._served),
                (assembly_of_proxy, "_adapter", lambda _: self.proxy),
                (router, "_ASK_S", _ASK_PROXY_S),
                (port_numbers, "random", random.Random(0)),
                (podman_service, "_PING_INTERVAL_S", _PING_S),
                (parts, "Dispatcher", self._dispatcher),
                (daemon, "rpc_server", self._front),
                (daemon, "_until_signalled", self._until_stopped),
            ):
                stack.enter_context(mock.patch.object(where, name, stand_in))
            yield

    @contextlib.asynccontextmanager
    async def _connect(self, socket: Path) -> AsyncIterator[Api]:
        async with httpx.AsyncClient(transport=_Kept(self.podman), base_url="http://podman/v4.0.0/libpod") as client:
            yield Api(client, socket)

    async def _run_sync(self, work: Callable[..., T], *arguments: Any, **_: Any) -> T:
        """What the daemon gives to threads, here: the clock waits for no thread. A killed one only lets go of files."""
        await trio.lowlevel.checkpoint()
        if getattr(work, "__name__", "") == "close":
            return work(*arguments)
        self._effect()
        result = work(*arguments)
        self._effect()
        return result

    async def _reload(self, container: str) -> str:
        await trio.lowlevel.checkpoint()
        return self.podman.reload_network(container)

    async def _held(self, ports: frozenset[tuple[int, str]]) -> tuple[sockets.Socket, ...]:
        await trio.lowlevel.checkpoint()
        wanted = {number for number, protocol in ports if protocol == "tcp"}
        return tuple(sockets.Socket("", number, "tcp", 0, 1) for number in sorted(self.podman.foreign & wanted))

    async def _owner(self, of: sockets.Socket) -> sockets.Owner:
        await trio.lowlevel.checkpoint()
        return sockets.Owner("root", "nginx", 1)

    async def _served(self, pid: int, ports: Collection[int]) -> int | None:
        await trio.lowlevel.checkpoint()
        return self.podman.served(pid)

    def _dispatcher(self, *arguments: Any) -> Dispatcher:
        return Dispatcher(*arguments, execute=self._alerts.execute)

    def _front(self, *arguments: Any) -> _Front:
        self._methods = servers.rpc_server(*arguments)._methods
        return _Front(self._ready)

    async def _until_stopped(self, front: trio.CancelScope, *_: Any) -> None:
        await self._stopping.wait()
        front.cancel()


class _Front:
    """Stands in for the server: calls come by `Daemon.call`."""

    def __init__(self, ready: trio.Event) -> None:
        self._ready = ready

    async def run(self, *, task_status: trio.TaskStatus[tuple[str, int]]) -> None:
        task_status.started(("127.0.0.1", 0))
        self._ready.set()
        await trio.sleep_forever()


class _Said:
    """Stands in for `mcpd.rpc.messages.Requests`."""

    def __init__(self, messages: list[Any]) -> None:
        self._messages = messages
        self.is_over = False

    async def batch(self) -> list[Any]:
        await trio.lowlevel.checkpoint()
        said, self._messages = self._messages, []
        return said

    def concerns(self, request: Any, program: str = "") -> None:
        """For the audit log, of which the model knows nothing."""


class _Kept(httpx.AsyncBaseTransport):
    """podman does not end with the client of one daemon."""

    def __init__(self, podman: PretendedPodman) -> None:
        self._podman = podman

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._podman.handle_async_request(request)


async def _all(answer: Awaitable[T] | AsyncIterator[T]) -> T | list[T]:
    if isinstance(answer, AsyncIterator):
        return [each async for each in answer]
    return await answer


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for each in group.exceptions:
        found += _leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found
