"""What `--watch` does: shows what is, anew as it changes, until Ctrl-C.

A terminal gets a view of `views` on its second screen, as from `watch` and `top`, so that no change of its size leaves
remnants; when it ends, the last view is printed on the first one. What is no terminal gets a table when something other
than an age or a load has changed; with ``--output json`` a document a refresh, on a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TextIO

import msgspec

from mcpctl.actions.live import screens
from mcpctl.actions.live.fleet_state import Fleet, Interest, NodeView, Used
from mcpctl.actions.live.screens import View
from mcpctl.actions.query import Query
from mcpctl.errors import INTERRUPTED, UnknownServiceError, UsageError
from mcpctl.nodes.fanout import chosen
from mcpctl.ui import output, render
from mcpctl.ui.rows.alerts import AlertRow
from mcpctl.ui.rows.status import ComponentRow, EventRow, ServiceRow
from mcpctl.ui.text_width import Line

# As a shell reports a program that SIGTERM ended.
TERMINATED = 128 + signal.SIGTERM

# Ages change by themselves once a second, and no eye needs a screen more often than ten times.
_TICK_S = 1.0
_BREATH_S = 0.1
# What is written to no terminal is not cut.
_WITHOUT_END = 1_000_000

# DEC's private modes, which every terminal of today has: 1049 the second screen, 7 going on in the next line.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"


class ContainerFrame(msgspec.Struct, frozen=True):
    """A container, and what it uses; None: not known."""

    container: ComponentRow
    usage: Used | None


class NodeFrame(msgspec.Struct, frozen=True, omit_defaults=True):
    """One node in a document of `--watch --output json`. ``unreachable_since``: the rest is what it told last."""

    node: str
    unreachable_since: datetime | None
    problem: str
    services: tuple[ServiceRow, ...] | None = None
    alerts: tuple[AlertRow, ...] | None = None
    events: tuple[EventRow, ...] | None = None
    containers: tuple[ContainerFrame, ...] | None = None


class Frame(msgspec.Struct, frozen=True):
    """What `--watch --output json` prints a refresh."""

    at: datetime
    nodes: tuple[NodeFrame, ...]


class Watched(NamedTuple):
    """A command: how its views are drawn, printed as JSON, and what of them is news where nobody looks."""

    view: View
    frame: Callable[[NodeView], NodeFrame]
    news: Callable[[NodeView], object]


def status(query: Query, every_s: float) -> int:
    """Ends with Ctrl-C, or when no node is left to ask. Raises CliError."""
    interest = Interest(*query.service_and_component(), services=True, alerts=True, events=screens.EVENTS)
    return _watch(query, interest, every_s, Watched(screens.status_view, _status_frame, _status_news))


def ps(query: Query, every_s: float, *, undeclared: bool = False) -> int:
    """As `status`."""
    interest = Interest(*query.service_and_component(), containers=True, undeclared=undeclared)
    return _watch(query, interest, every_s, Watched(screens.ps_view, _ps_frame, _ps_news))


def _watch(query: Query, interest: Interest, every_s: float, watched: Watched) -> int:
    if query.how.quiet:
        raise UsageError("--quiet cannot be given with --watch")
    settings = query.settings()
    nodes = chosen(settings, query.nodes)

    async def command() -> None:
        fleet = Fleet(settings, nodes, interest, every_s)
        if query.json:
            await _beside(fleet, _print_documents(fleet, every_s, query, watched))
        elif render.is_terminal(sys.stdout):
            with _handling(signal.SIGTERM, _task().cancel):
                await _beside(fleet, _draw(fleet, watched.view))
        else:
            await _beside(fleet, _print_changes(fleet, every_s, watched))

    try:
        asyncio.run(command())
    except KeyboardInterrupt:
        return INTERRUPTED
    except asyncio.CancelledError:
        return TERMINATED
    raise AssertionError("a fleet is observed until something ends it")


def _task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def _beside(fleet: Fleet, showing: Coroutine[Any, Any, None]) -> None:
    """Shows what becomes of the fleet. Raises CliError as `Fleet.run` does."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(showing)
            group.create_task(fleet.run())
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


def _check(views: Sequence[NodeView]) -> None:
    """Raises UnknownServiceError when no node knows the service that is asked for."""
    if all(each.unknown for each in views):
        raise UnknownServiceError(f"node {views[0].node}: {views[0].unknown}")


# -- on a terminal


class Screen:
    """The second screen of a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._coloured = render.colourful(stream)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines. A terminal that does not know its size says 0."""
        size = os.get_terminal_size(self._stream.fileno())
        return size.columns or 80, size.lines or 24

    def enter(self) -> None:
        self._write(_ENTER)

    def draw(self, lines: Sequence[Line]) -> None:
        # Each line over the old one, and cleared behind; nothing blinks (ECMA-48: CUP, EL, ED).
        text = "\n".join(f"{self._painted(line)}\x1b[K" for line in lines)
        self._write(f"\x1b[H{text}\x1b[J")

    def leave(self, lines: Sequence[Line] = ()) -> None:
        """Back to the first screen, with ``lines`` on it."""
        self._write(_LEAVE + "".join(f"{self._painted(line)}\n" for line in lines))

    def _painted(self, line: Line) -> str:
        text = render.painted(line, coloured=self._coloured)
        encoding = self._stream.encoding or "ascii"
        return text.encode(encoding, "replace").decode(encoding)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


async def _draw(fleet: Fleet, view: View) -> None:
    screen = Screen(sys.stdout)
    lines: list[Line] = []
    news = fleet.news
    is_begun = False

    def suspend() -> None:
        screen.leave(lines)
        # Whoever typed Ctrl-Z has the shell now. This goes on when the program does.
        os.kill(os.getpid(), signal.SIGSTOP)
        screen.enter()
        news.set()

    screen.enter()
    try:
        with _handling(signal.SIGWINCH, news.set), _handling(signal.SIGTSTP, suspend):
            while True:
                news.clear()
                # What is undeployed later may be deployed again.
                if not is_begun and not any(each.is_awaited for each in fleet.views):
                    _check(fleet.views)
                    is_begun = True
                lines = view(fleet.views, datetime.now(UTC), *screen.size)
                screen.draw(lines)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_S):
                        await news.wait()
                    await asyncio.sleep(_BREATH_S)
    finally:
        # A terminal that is gone is noticed by whoever wrote to it first.
        with contextlib.suppress(OSError):
            screen.leave(lines)


@contextlib.contextmanager
def _handling(number: signal.Signals, handler: Callable[[], object]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        loop.remove_signal_handler(number)


# -- elsewhere


async def _print_documents(fleet: Fleet, every_s: float, query: Query, watched: Watched) -> None:
    await fleet.until_heard()
    _check(fleet.views)
    while True:
        output.later(Frame(datetime.now(UTC), tuple(map(watched.frame, fleet.views))), query.how)
        sys.stdout.flush()
        await asyncio.sleep(every_s)


async def _print_changes(fleet: Fleet, every_s: float, watched: Watched) -> None:
    await fleet.until_heard()
    _check(fleet.views)
    before: object = None
    while True:
        if (now := list(map(watched.news, fleet.views))) != before:
            if before is not None:
                print()
            for line in watched.view(fleet.views, datetime.now(UTC), _WITHOUT_END, _WITHOUT_END):
                render.say(*line)
            sys.stdout.flush()
            before = now
        await asyncio.sleep(every_s)


def _status_frame(view: NodeView) -> NodeFrame:
    return NodeFrame(
        view.node,
        view.lost_at,
        _problem(view),
        services=view.services,
        alerts=view.alerts,
        events=view.events,
    )


def _ps_frame(view: NodeView) -> NodeFrame:
    containers = tuple(ContainerFrame(each, view.used.get(each.container_id)) for each in view.containers)
    return NodeFrame(view.node, view.lost_at, _problem(view), containers=containers)


def _problem(view: NodeView) -> str:
    return view.problem or view.unknown or view.warning


def _status_news(view: NodeView) -> object:
    components = [(*_state(each), each.desired, each.drift) for each in view.components]
    alerts = [(each.id, each.acked_by) for each in view.alerts]
    return view.lost_at, _problem(view), components, alerts, [each.id for each in view.events]


def _ps_news(view: NodeView) -> object:
    return view.lost_at, _problem(view), [(*_state(each), each.ports) for each in view.containers]


def _state(row: ComponentRow) -> tuple[object, ...]:
    return row.service, row.component, row.container_id, row.version, row.observed, row.exit_code, row.started_at
