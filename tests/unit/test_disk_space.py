"""Room on the disks: judged with a memory, told once, and looked at on real filesystems."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import trio
import trio.testing

from mcpd.config.rules import FreeSpace, free_space
from mcpd.errors import UnavailableError
from mcpd.node import disk_space
from mcpd.node.disk_space import Room, Space, judge, rooms, tell
from mcpd.registry.monitoring import MonitorLedger
from mcpd.registry.store import Registry
from monitor.model import Alert, AlertKind
from tests.support.builders import NOW
from tests.support.waiting import DEADLINE_S

GIB = 2**30
A_MINUTE_S = 60.5
TENTH = free_space("10%")


def room(free: float, total: float = 100, filesystem: str = "/var") -> Room:
    """In GiB."""
    return Room(filesystem, ("the database", "podman's storage"), int(free * GIB), int(total * GIB))


class Messenger:
    def __init__(self) -> None:
        self.told: list[Alert] = []

    def submit(self, alert: Alert) -> None:
        self.told.append(alert)


class Storage:
    """podman, which answers from the second question on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked = 0

    async def graph_root(self) -> Path:
        self.asked += 1
        if self.asked == 1:
            raise UnavailableError("podman does not answer")
        return self.root


class Node:
    """What was told of a node's disks: to the ledger, and to the messenger."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.messenger = Messenger()

    async def see(self, *found: Room, least: FreeSpace = TENTH) -> list[str]:
        """What is sent of it. The ledger is read anew each time, as by a daemon that was just started."""
        self.messenger.told.clear()
        await tell(found, least, "rift", MonitorLedger(self.registry, "rift"), self.messenger, NOW)
        assert all(each.kind is AlertKind.DISK for each in self.messenger.told)
        return [each.reason for each in self.messenger.told]

    async def events(self) -> list[str]:
        return [each.message for each in await self.registry.events() if each.kind == "disk"]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with Registry.open(tmp_path / "mcp.db") as registry:
        yield Node(registry)


# -- the threshold


@pytest.mark.parametrize(
    ("text", "total", "least"),
    [("10%", 1000, 100), ("2.5%", 1000, 25), ("0%", 1000, 0), ("5GiB", 1000, 5 * GIB), ("512MB", 1000, 512 * 10**6)],
)
def test_a_threshold_is_a_share_or_a_size(text: str, total: int, least: float) -> None:
    assert free_space(text).of(total) == least


@pytest.mark.parametrize("text", ["10", "10 %", "-1%", "91%", "1e1%", "nan%", "%", "", "5 apples"])
def test_what_is_neither_is_refused_with_what_it_may_be(text: str) -> None:
    with pytest.raises(ValueError, match="10%"):
        free_space(text)


@pytest.mark.parametrize(
    ("free", "was_full", "is_full"),
    [(10.0, False, False), (9.9, False, True), (10.5, True, True), (10.9, True, True), (11.1, True, False)],
)
def test_it_is_full_below_the_threshold_until_there_is_a_tenth_more_than_that(
    free: float, was_full: bool, is_full: bool
) -> None:
    assert judge(room(free), TENTH, was_full=was_full) is is_full


def test_with_no_threshold_nothing_is_ever_full() -> None:
    assert not judge(room(0), free_space("0%"), was_full=False)


# -- what is told


async def test_a_full_disk_is_told_once_with_what_mends_it_and_again_only_after_it_had_room(node: Node) -> None:
    (reason,) = await node.see(room(5))
    assert reason == (
        "/var has 5.0 GiB free of 100.0 GiB (5.0%), less than 10%; there: the database, podman's storage. "
        "`mcpctl image prune --node rift` removes images that nothing uses; `podman system df` and `podman volume ls`, "
        "on the node, show what else takes space"
    )
    assert await node.see(room(4)) == []
    assert await node.see(room(10.5)) == []  # above the threshold, and not yet by enough
    assert await node.see(room(9)) == []
    assert await node.see(room(50)) == []
    again = "/var has 50.0 GiB free of 100.0 GiB (50.0%): more than 10% again"
    assert await node.events() == [reason, again]
    assert len(await node.see(room(5))) == 1


async def test_each_filesystem_is_told_of_by_itself(node: Node) -> None:
    assert len(await node.see(room(5), room(50, filesystem="/srv"))) == 1
    (reason,) = await node.see(room(5), room(1, filesystem="/srv"))
    assert reason.startswith("/srv has 1.0 GiB")


async def test_one_that_cannot_be_looked_at_for_a_while_is_not_told_of_again(node: Node) -> None:
    await node.see(room(5))
    await node.see()
    assert await node.see(room(5)) == []


# -- looking


def test_paths_on_one_filesystem_are_one_room_and_what_is_not_there_counts_for_what_is_above_it(tmp_path: Path) -> None:
    places = {"the database": tmp_path / "mcp.db", "services' files": tmp_path / "not/there/yet"}
    (found,) = rooms(places)
    assert found.holds == tuple(places)
    assert os.path.ismount(found.filesystem)
    stat = os.statvfs(tmp_path)
    assert found.total == (stat.f_blocks - stat.f_bfree + stat.f_bavail) * stat.f_frsize
    assert 0 <= found.free <= found.total


def test_another_filesystem_is_another_room(tmp_path: Path) -> None:
    found = rooms({"the database": tmp_path, "shared memory": Path("/proc/self")})
    assert [each.filesystem for each in found][1:] == ["/proc"]


async def test_a_filesystem_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disks = Space({"the database": tmp_path}, Storage(tmp_path))
    before, go_on = await disks.look(), threading.Event()

    def hang(_: Mapping[str, Path]) -> tuple[Room, ...]:
        go_on.wait(DEADLINE_S)
        return ()

    monkeypatch.setattr(disk_space, "_LOOK_S", 0.01)
    monkeypatch.setattr(disk_space, "rooms", hang)
    try:
        with trio.fail_after(DEADLINE_S / 2):
            assert [await disks.look() for _ in range(50)] == [before] * 50
    finally:
        go_on.set()


async def test_every_minute_the_disks_are_looked_at_and_podman_is_asked_until_it_says_where_its_storage_is(
    node: Node, tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    storage, messenger = Storage(tmp_path), node.messenger
    ledger = MonitorLedger(node.registry, "rift")
    everything = FreeSpace("all of it", share=1.0)
    disks = Space({"the database": tmp_path}, storage)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk_space.watch, disks, lambda: everything, "rift", ledger, messenger)
        deadline = time.monotonic() + DEADLINE_S
        while [each.holds for each in await disks.look()] != [("the database", "podman's storage")]:
            assert time.monotonic() < deadline
            mock_clock.jump(A_MINUTE_S)  # what waits for a thread is not sleeping yet, and needs another one
        for _ in range(20):
            mock_clock.jump(A_MINUTE_S)
            await disks.look()
        nursery.cancel_scope.cancel()
    assert storage.asked == 2
    assert len(messenger.told) == 1
