"""Whether what was started comes up: how long it must stay, what its probe says, and what is said when it ends."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest
import trio
from trio.testing import MockClock

from mcpd.changes.node import Node
from mcpd.changes.verify import SETTLE_NEW_S, SETTLE_REPLACED_S, comes_up, satisfies, settle_s
from mcpd.errors import RefusedError
from mcpd.registry.journal import Journal
from mcpd.registry.store import Registry
from mcpd.runtime.api_types import Inspected
from mcpd.runtime.podman import Podman
from monitor.model import Sighting
from monitor.ports import Ran
from protos.parts import Health
from protos.spec import Component
from tests.support.builders import NO_CONFIGS, component
from tests.support.routes import no_proxy

PROBE = Health(cmd=("ask",), interval=timedelta(seconds=10), retries=3, start_period=timedelta(seconds=60))


class One:
    """podman with one container, whose main process is ours."""

    def __init__(self, pid: int, *, well_at: float = 0.0) -> None:
        self.pid = pid
        self.well_at = well_at
        self.status, self.exit_code = "running", 0
        self.lived_s = 0.0
        self.asked: list[float] = []
        self.started_at = datetime.now(UTC)

    async def inspect(self, name: str) -> Inspected:
        await trio.lowlevel.checkpoint()
        end = self.started_at + timedelta(seconds=self.lived_s)
        state = {"Status": self.status, "Pid": self.pid, "ExitCode": self.exit_code}
        state |= {"StartedAt": self.started_at.isoformat(), "FinishedAt": end.isoformat()}
        found = {"Id": "c1", "Name": name, "ImageName": "app:v1", "State": state, "Config": {"Labels": None}}
        return msgspec.json.decode(msgspec.json.encode(found), type=Inspected)

    async def reached_at(self, container: str, port: int) -> int:
        await trio.lowlevel.checkpoint()
        return port

    async def run_inside(self, container: str, argv: tuple[str, ...]) -> Ran:
        await trio.lowlevel.checkpoint()
        self.asked.append(trio.current_time())
        return Ran(0, "") if trio.current_time() >= self.well_at else Ran(3, "no database")

    async def log_tail(self, name: str, lines: int) -> str:
        return "no licence"


def node(podman: One, registry: Registry) -> Node:
    started, _ = trio.open_memory_channel[Sighting](10)
    return Node(
        "rift",
        cast(Podman, podman),
        registry,
        Journal(registry),
        started,
        NO_CONFIGS,
        no_proxy(registry, podman),
    )


@pytest.mark.parametrize(
    ("declared", "is_new", "seconds"),
    [
        ({}, True, SETTLE_NEW_S),
        ({}, False, SETTLE_REPLACED_S),
        ({"settle": timedelta(seconds=5)}, True, 5),
        ({"settle": timedelta(seconds=5), "health": PROBE}, False, 5),
        ({"settle": timedelta(0)}, False, 0),
        ({"health": PROBE}, False, 0),
    ],
)
def test_how_long_it_must_stay_up(declared: dict[str, Any], is_new: bool, seconds: float) -> None:
    assert settle_s(component(**declared), declared.get("health"), is_new=is_new) == seconds


@pytest.mark.parametrize(
    ("declared", "well_at", "seconds"),
    [
        ({"settle": timedelta(minutes=5)}, 0, 300),
        ({"settle": timedelta(seconds=30), "health": PROBE}, 0, 30),
        ({"settle": timedelta(seconds=30), "health": PROBE}, 45, 45),
        ({"health": PROBE}, 0, 0),
    ],
)
async def test_it_counts_as_started_when_it_is_healthy_and_has_settled(
    registry: Registry, autojump_clock: MockClock, declared: dict[str, Any], well_at: float, seconds: float
) -> None:
    podman, began = One(os.getpid(), well_at=well_at), autojump_clock.current_time()
    await comes_up(node(podman, registry), "web", component(**declared))
    assert autojump_clock.current_time() - began == pytest.approx(seconds, abs=0.01)


@contextmanager
def ending() -> Iterator[int]:
    """A process that has just ended."""
    process = subprocess.Popen(["true"])
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        yield process.pid
    finally:
        process.wait()


@pytest.mark.parametrize(
    ("lived_s", "words"),
    [(0.1, "exited 7 right after its start"), (2.04, "exited 7 2.0 s after its start")],
)
async def test_what_ends_before_it_has_settled_is_told_with_when_and_its_last_words(
    registry: Registry, lived_s: float, words: str
) -> None:
    with ending() as pid:
        podman = One(pid)
        podman.lived_s, podman.exit_code = lived_s, 7

        async def ends() -> None:
            podman.status = "exited"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends)
            with trio.fail_after(10), pytest.raises(RefusedError, match=f"^{words}; it printed last:\n    no licence"):
                await comes_up(node(podman, registry), "web", component(settle=timedelta(minutes=5)))


def in_place(started_s_ago: float, **changes: Any) -> tuple[One, Health]:
    podman = One(os.getpid(), **changes)
    podman.started_at = datetime.now(UTC) - timedelta(seconds=started_s_ago)
    return podman, PROBE


async def test_a_changed_probe_that_is_content_is_asked_once(registry: Registry, autojump_clock: MockClock) -> None:
    podman, health = in_place(1000)
    await satisfies(node(podman, registry), "web", health)
    assert podman.asked == [autojump_clock.current_time()]


async def test_a_changed_probe_has_its_retries_and_what_is_left_of_the_start_period(
    registry: Registry, autojump_clock: MockClock
) -> None:
    for started_s_ago, seconds in ((1000, 30), (0, 90), (20, 70)):
        podman, health = in_place(started_s_ago, well_at=1e9)
        began = autojump_clock.current_time()
        with pytest.raises(RefusedError, match="its changed probe reports it as unhealthy: ask exited 3: no database"):
            await satisfies(node(podman, registry), "web", health)
        assert autojump_clock.current_time() - began == pytest.approx(seconds, abs=2)


async def test_a_changed_probe_cannot_be_asked_of_what_does_not_run(registry: Registry) -> None:
    podman, health = in_place(1000)
    podman.status = "paused"
    with pytest.raises(RefusedError, match="it is paused, so its changed probe cannot run"):
        await satisfies(node(podman, registry), "web", health)


async def test_a_probe_is_asked_to_the_end_once_at_least(registry: Registry, autojump_clock: MockClock) -> None:
    """However short its interval is: else nothing could be said of it but that it was not asked."""
    hasty = Component("web", "app:v1", health=Health(cmd=("ask",), interval=timedelta(milliseconds=1), retries=1))

    class Slow(One):
        async def reached_at(self, container: str, port: int) -> int:
            await trio.lowlevel.checkpoint()
            return port

        async def run_inside(self, container: str, argv: tuple[str, ...]) -> Ran:
            await trio.sleep(2)
            return await super().run_inside(container, argv)

    await comes_up(node(Slow(os.getpid()), registry), "web", hasty)
    assert autojump_clock.current_time() >= 2
