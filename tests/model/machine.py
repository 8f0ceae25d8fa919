"""Plays a history of the model: step by step, each followed by the invariants."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import structlog
import trio
from trio.testing import MockClock

from mcpd.setup.init import initialize
from tests.simulation.history import Spinning, schedule_by

from .daemon import NODE, WallClock
from .definitions import SERVICES
from .invariants import bystanders, check
from .routes import answering_by
from .steps import Step
from .world import World

# Everything of a rule is over sooner than a model's rest is.
_CONFIG = f"""
[node]
name = "{NODE}"

[server]
grpc_addr = "127.0.0.1:1"
tls_cert = "certs/cert.pem"
tls_key = "certs/key.pem"

[monitor]
alert_command = ["/bin/true"]
drift_grace = "5s"
flap_threshold = 3
flap_window = "40s"
cooldown = "20s"
resync_interval = "20s"
disk_free_warning = "0%"

[podman]
socket = "podman.sock"

[proxy]
kind = "command"
command = ["/bin/true"]
ports = "20000-20039"

[[proxy.listeners]]
address = "127.0.0.1:443"
"""
# A step of a history takes some two thousand steps of tasks.
_MAX_STEPS = 200_000
# Lines of the daemon's log that a failure shows.
_LAST_WORDS = 12
_MEMORY = Path("/dev/shm")


@cache
def _prepared() -> dict[str, bytes]:
    """The folder that `mcpd init` makes, once."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "mcp")
        initialize(folder, NODE, "127.0.0.1:1")
        (folder / "mcpd.toml").write_text(_CONFIG)
        return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


@contextmanager
def _folder() -> Iterator[Path]:
    place = tempfile.mkdtemp(prefix="mcp-model-", dir=_MEMORY if _MEMORY.is_dir() else None)
    try:
        for name, content in _prepared().items():
            file = Path(place, name)
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)
            file.chmod(0o600)
        yield Path(place)
    finally:
        shutil.rmtree(place)


def play(*steps: Step, seed: int = 0) -> None:
    """Plays ``steps`` on a fresh node; the same every time. Raises AssertionError when something does not hold."""
    wall = WallClock()
    schedule_by(seed)
    with _folder() as folder, wall.worn(), structlog.testing.capture_logs() as logs:
        try:
            spinning = Spinning(_MAX_STEPS)
            clock = MockClock(autojump_threshold=0)
            trio.run(_play, steps, folder, wall, spinning, clock=clock, instruments=[wall, spinning])
        except BaseException:
            print("The daemon's last words:", *logs[-_LAST_WORDS:], sep="\n  ")
            raise


async def _play(steps: Sequence[Step], folder: Path, wall: WallClock, spinning: Spinning) -> None:
    failure: AssertionError | None = AssertionError(f"it spins: {_MAX_STEPS} steps of tasks for one of the history")
    async with trio.open_nursery() as nursery:
        world = World(nursery, folder, wall)
        await world.daemon.start(nursery)
        try:
            with spinning.scope:
                for step in steps:
                    spinning.steps = 0
                    untouched = bystanders(world, step)
                    world.proxy.gentle = frozenset()
                    world.proxy.must_answer = answering_by(world, {*SERVICES} - step.concerns(world))
                    await step.take(world)
                    await check(world, untouched)
                failure = None
        except AssertionError as error:
            failure = error
        with trio.CancelScope(shield=True):
            await world.daemon.kill()
        nursery.cancel_scope.cancel()
    if failure:
        # Of a failure that is wrapped in a group pytest shows less.
        raise failure
