"""Notifies systemd: sd_notify(3), a status sentence for `systemctl status`, and the watchdog.

Does nothing without NOTIFY_SOCKET in the environment.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager

import structlog
import trio

log = structlog.get_logger()

# systemd reads at once; when it does not, it is not worth more of the daemon's time.
_SEND_S = 1.0
# How often the status sentence is refreshed, for people to read.
_STATUS_EVERY_S = 15.0
# How often a slow start asks systemd for more time, when no watchdog sets the pace.
_EXTEND_EVERY_S = 10.0
# A server that has just begun to listen answers in milliseconds; one that does not is asked again.
_READY_WITHIN_S = 10.0
_READY_AGAIN_S = 1.0
# One message may be late for this many rounds.
_EXTEND_ROUNDS = 3

Probe = Callable[[], Awaitable[None]]


class Manager:
    """The service manager at ``address``: a path, or "@" and an abstract name. Empty: there is none.

    ``watchdog`` is its timeout in seconds; None: there is no watchdog.
    """

    def __init__(self, address: str = "", watchdog: float | None = None) -> None:
        if address and address[0] not in "/@":
            log.warning("NOTIFY_SOCKET is not a Unix socket; systemd is not notified", address=address)
            address = ""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog = watchdog if self._address else None

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Manager:
        """Reads the variables and removes them (sd_notify(3), sd_watchdog_enabled(3)).

        They are for us alone: podman would notify systemd itself, and pass the socket on to containers.
        """
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        is_ours = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        wanted = is_ours and microseconds.isdecimal() and int(microseconds) > 0
        return cls(address, int(microseconds) / 1e6 if wanted else None)

    def __bool__(self) -> bool:
        return bool(self._address)

    def tell(self, **fields: object) -> None:
        """Sends ``fields`` as one message. A failure is logged: the daemon lives on without."""
        if not self._address:
            return
        lines = (f"{name}={' '.join(str(value).split())}\n" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
                end.settimeout(_SEND_S)
                end.connect(self._address)
                end.send("".join(lines).encode(errors="replace"))
        except OSError as error:
            log.warning("systemd could not be notified", fields=sorted(fields), error=str(error))


class Supervision:
    """The daemon as ``manager`` is to see it.

    ``progressed`` returns when the monitor has come round; ``describe`` gives the sentence.
    """

    def __init__(self, manager: Manager, progressed: Probe, describe: Callable[[], str]) -> None:
        self._manager = manager
        self._progressed = progressed
        self._describe = describe
        # None: the server is not up yet, or no more.
        self._answers: Probe | None = None
        self._was_ready = False
        self._status = ""

    async def run(self) -> None:
        """Runs until cancelled; returns at once when there is nobody to tell."""
        if not self._manager:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_alive)
            nursery.start_soon(self._keep_status)

    async def ready(self, answers: Probe) -> None:
        """Says READY once ``answers`` returns; the watchdog asks it again from now on."""
        if not self._manager:
            return
        # From here on a server that does not answer gets no more time from systemd, which then starts us again.
        self._answers = answers
        # The monitor is asked as well, or the sentence would not know yet what was just listed.
        while why := await self._why_stuck(_READY_WITHIN_S):
            log.error("not ready yet", reason=why)
            await trio.sleep(_READY_AGAIN_S)
        self._was_ready = True
        self._status = self._describe()
        self._manager.tell(READY=1, STATUS=self._status, WATCHDOG=1)

    def stopping(self) -> None:
        """The server answers no more; the monitor still does, until operations have had their grace."""
        self._answers = None
        self._manager.tell(STOPPING=1, STATUS="stopping; containers keep running")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        self._manager.tell(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
        try:
            yield
        finally:
            self._manager.tell(READY=1)

    async def _keep_alive(self) -> None:
        watchdog = self._manager.watchdog
        period = watchdog / 2 if watchdog else _EXTEND_EVERY_S
        while True:
            began = trio.current_time()
            if why := await self._why_stuck(period):
                log.error("the watchdog was not notified", reason=why)
            elif not self._was_ready:
                self._manager.tell(EXTEND_TIMEOUT_USEC=int(_EXTEND_ROUNDS * period * 1e6))
            elif watchdog:
                self._manager.tell(WATCHDOG=1)
            await trio.sleep_until(began + period)

    async def _why_stuck(self, within: float) -> str:
        """Which part makes no progress; empty when all do."""
        part = "the monitor"
        try:
            with trio.fail_after(within):
                await self._progressed()
                if self._answers is not None:
                    part = "the gRPC server"
                    await self._answers()
        except trio.TooSlowError:
            return f"{part} did not answer within {within:g} s"
        except OSError as error:
            return f"{part} does not answer: {error.strerror or error}"
        return ""

    async def _keep_status(self) -> None:
        while True:
            await trio.sleep(_STATUS_EVERY_S)
            status = self._describe()
            is_serving = self._was_ready and self._answers is not None
            if is_serving and status != self._status:
                self._status = status
                self._manager.tell(STATUS=status)
