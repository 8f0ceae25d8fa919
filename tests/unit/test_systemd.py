"""What systemd is told: over a real socket, and by a clock that jumps."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from mcpd.node.systemd import Manager, Supervision
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from mcpd.rpc.probe import answers
from mcpd.status.summary import sentence
from monitor.alerts.dispatch import Dispatcher
from monitor.model import SourceState
from monitor.ports import Silence
from monitor.watch import Monitor, Settings
from tests.support.idle_node import Late
from tests.support.waiting import free_port

UP = SourceState("podman", True, "podman 4.3.1", datetime(2026, 1, 1, tzinfo=UTC))
DOWN = SourceState("podman", False, "no such socket", datetime(2026, 1, 1, tzinfo=UTC))


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self) -> list[dict[str, str]]:
        """Every message since the last time."""
        messages = []
        while True:
            try:
                text = self._socket.recv(4096).decode()
            except BlockingIOError:
                return messages
            messages.append(dict(line.split("=", 1) for line in text.splitlines()))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[tuple[Systemd, str]]:
    path = str(tmp_path / "notify")
    other = Systemd(path)
    yield other, path
    other.close()


async def at_once() -> None:
    await trio.lowlevel.checkpoint()


def well() -> str:
    return "all is well"


# -- the socket


def test_fields_are_one_message_and_each_is_one_line(systemd: tuple[Systemd, str]) -> None:
    other, path = systemd
    Manager(path).tell(READY=1, STATUS="two\nlines  = one")
    assert other.heard() == [{"READY": "1", "STATUS": "two lines = one"}]


def test_an_abstract_socket_works_too() -> None:
    name = f"mcp-test-{secrets.token_hex(8)}"
    other = Systemd(f"\0{name}")
    try:
        Manager(f"@{name}").tell(READY=1)
        assert other.heard() == [{"READY": "1"}]
    finally:
        other.close()


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "/nowhere/at/all"])
def test_nobody_to_tell_is_no_failure(address: str) -> None:
    Manager(address).tell(READY=1)


def test_the_variables_are_taken_away_so_that_podman_does_not_speak_for_us(systemd: tuple[Systemd, str]) -> None:
    _, path = systemd
    environment = {
        "NOTIFY_SOCKET": path,
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/bin",
    }
    manager = Manager.from_environment(environment)
    assert manager
    assert manager.watchdog == 30.0
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "given", [{"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}, {}]
)
def test_a_watchdog_that_is_not_ours_is_none(given: dict[str, str], systemd: tuple[Systemd, str]) -> None:
    assert Manager.from_environment({"NOTIFY_SOCKET": systemd[1], **given}).watchdog is None


async def test_without_a_manager_nothing_runs() -> None:
    async def never() -> None:
        raise AssertionError("nobody asked for this")

    supervision = Supervision(Manager.from_environment({}), never, well)
    await supervision.ready(never)
    await supervision.run()
    with supervision.reloading():
        pass
    supervision.stopping()


# -- the watchdog


async def test_the_watchdog_hears_every_half_of_its_time(
    systemd: tuple[Systemd, str],
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
) -> None:
    other, path = systemd
    supervision = Supervision(Manager(path, 30.0), at_once, well)
    await supervision.ready(at_once)
    assert other.heard() == [{"READY": "1", "STATUS": "all is well", "WATCHDOG": "1"}]
    nursery.start_soon(supervision.run)
    await trio.sleep(14)
    assert other.heard() == [{"WATCHDOG": "1"}]
    await trio.sleep(30)
    assert other.heard() == [{"WATCHDOG": "1"}] * 2


async def hang() -> None:
    await trio.sleep_forever()


async def refuse() -> None:
    raise ConnectionRefusedError(111, "Connection refused")


async def test_a_server_that_does_not_answer_yet_is_asked_again_and_gets_no_more_time(
    systemd: tuple[Systemd, str],
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
) -> None:
    other, path = systemd
    probe = refuse
    supervision = Supervision(Manager(path, 30.0), at_once, well)
    nursery.start_soon(supervision.ready, lambda: probe())
    await trio.sleep(0.5)
    nursery.start_soon(supervision.run)
    await trio.sleep(60)
    assert other.heard() == []
    probe = at_once
    await trio.sleep(2)
    assert {"READY": "1", "STATUS": "all is well", "WATCHDOG": "1"} in other.heard()


@pytest.mark.parametrize("stuck", [hang, refuse])
@pytest.mark.parametrize("part", ["the monitor", "the gRPC server"])
async def test_it_hears_nothing_while_a_part_is_stuck_and_again_when_it_goes_on(
    stuck: Callable[[], object],
    part: str,
    systemd: tuple[Systemd, str],
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
) -> None:
    other, path = systemd
    probes = {"the monitor": at_once, "the gRPC server": at_once}

    async def progressed() -> None:
        await probes["the monitor"]()

    async def answering() -> None:
        await probes["the gRPC server"]()

    supervision = Supervision(Manager(path, 30.0), progressed, well)
    await supervision.ready(answering)
    nursery.start_soon(supervision.run)
    await trio.sleep(16)
    other.heard()
    probes[part] = stuck  # type: ignore[assignment]
    await trio.sleep(120)
    assert other.heard() == []
    probes[part] = at_once
    await trio.sleep(30)
    assert {"WATCHDOG": "1"} in other.heard()


async def test_a_start_that_takes_long_asks_for_more_time_while_the_monitor_moves(
    systemd: tuple[Systemd, str],
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
) -> None:
    other, path = systemd
    nursery.start_soon(Supervision(Manager(path, 30.0), at_once, well).run)
    await trio.sleep(29)
    assert other.heard() == [{"EXTEND_TIMEOUT_USEC": "45000000"}] * 2


async def test_an_orderly_end_is_told_and_the_watchdog_stays_content(
    systemd: tuple[Systemd, str],
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
) -> None:
    other, path = systemd
    is_up = True

    async def answering() -> None:
        if not is_up:
            raise ConnectionRefusedError(111, "Connection refused")

    supervision = Supervision(Manager(path, 30.0), at_once, well)
    await supervision.ready(answering)
    nursery.start_soon(supervision.run)
    await trio.sleep(1)
    other.heard()
    is_up = False
    supervision.stopping()
    assert other.heard() == [{"STOPPING": "1", "STATUS": "stopping; containers keep running"}]
    await trio.sleep(31)
    assert other.heard() == [{"WATCHDOG": "1"}] * 2


def test_a_reload_has_a_beginning_and_an_end_also_when_it_fails(systemd: tuple[Systemd, str]) -> None:
    other, path = systemd
    supervision = Supervision(Manager(path), at_once, well)

    def fail() -> None:
        with supervision.reloading():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    begun, ended = other.heard()
    assert begun["RELOADING"] == "1"
    assert int(begun["MONOTONIC_USEC"]) > 0
    assert ended == {"READY": "1"}


async def test_the_status_is_told_when_it_has_changed(
    systemd: tuple[Systemd, str],
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001 -- it is what makes time jump
) -> None:
    other, path = systemd
    words = ["all is well"]
    supervision = Supervision(Manager(path), at_once, lambda: words[0])
    await supervision.ready(at_once)
    nursery.start_soon(supervision.run)
    await trio.sleep(60)
    other.heard()
    words[0] = "something fell"
    await trio.sleep(60)
    assert other.heard() == [{"STATUS": "something fell"}]


def test_the_sentence_counts_and_names() -> None:
    assert sentence({}, UP) == "nothing is declared; podman 4.3.1"
    fine = {("web", "a"): "", ("web", "b"): "", ("db", "db"): ""}
    assert sentence(fine, UP) == "2 services, 3 components, all as declared; podman 4.3.1"
    fallen = {("web", "a"): "exited 1"}
    expected = "1 service, 1 component, 1 not as declared: web/a (exited 1); podman does not answer: no such socket"
    assert sentence(fallen, DOWN) == expected
    many = {("web", str(number)): "exited 1" for number in range(9)}
    assert "9 not as declared: web/0 (exited 1), web/1 (exited 1), web/2 (exited 1), ...; podman" in sentence(many, UP)


# -- whether the monitor moves


class StuckLedger(MonitorLedger):
    async def silences(self, now: datetime) -> tuple[Silence, ...]:
        await trio.sleep_forever()
        raise AssertionError("nobody wakes it")


def monitor_with(ledger: MonitorLedger) -> Monitor:
    late = Late()
    return Monitor("n1", late, late, ledger, Dispatcher(ledger, lambda: ("/bin/true",), 10.0), Settings())


async def test_the_monitor_comes_round_and_knows_how_everything_drifts(
    registry: Registry, nursery: trio.Nursery
) -> None:
    monitor = monitor_with(MonitorLedger(registry, "n1"))
    await nursery.start(monitor.run)
    with trio.fail_after(30):
        await monitor.progressed()
        while monitor.drifts()["web", "web"] != "missing: no such container":
            await monitor.progressed()


async def test_a_monitor_whose_reducer_is_stuck_does_not_come_round(registry: Registry, nursery: trio.Nursery) -> None:
    monitor = monitor_with(StuckLedger(registry, "n1"))
    await nursery.start(monitor.run)
    with pytest.raises(trio.TooSlowError), trio.fail_after(0.2):
        await monitor.progressed()


# -- whether a server answers


async def test_a_server_that_refuses_is_alive_and_one_that_is_silent_is_not() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    host, port = listener.socket.getsockname()
    async with listener, trio.open_nursery() as nursery:

        async def refuse_one() -> None:
            await (await listener.accept()).aclose()

        nursery.start_soon(refuse_one)
        with trio.fail_after(10):
            await answers(host, port)
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.05):
            await answers(host, port)


async def test_where_nothing_listens_nothing_answers_and_a_lost_address_is_no_fault() -> None:
    with pytest.raises(OSError, match="refused"):
        await answers("127.0.0.1", free_port())
    await answers("192.0.2.1", 9444)  # TEST-NET-1 (RFC 5737)
