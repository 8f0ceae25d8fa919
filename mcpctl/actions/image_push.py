"""What `mcpctl image push` does: brings the images of a service from this machine to nodes, without a registry."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import msgspec

from mcpctl.actions import images
from mcpctl.config import Node, Settings
from mcpctl.definitions import definition
from mcpctl.errors import CliError, InterruptedByUserError, UnreachableError, UsageError
from mcpctl.images import engine, names, platforms, source, storage
from mcpctl.images.content import Package, Reading
from mcpctl.images.engine import Engine
from mcpctl.images.source import Source
from mcpctl.images.storage import NotHereError
from mcpctl.nodes.fanout import Said, changeable, settled
from mcpctl.nodes.image_push import Delivered, Progress, Push, Start, State
from mcpctl.ui import render
from mcpctl.ui.cells import full_name
from mcpctl.ui.meter import Meters
from mcpctl.ui.output import How, structured
from mcpctl.ui.rows.images import ImagePushRow
from protos import naming
from protos.spec import Component

_SIGNALLED = 128
# What takes longer is told.
_MOMENT_S = 1.0
# What ends a program from outside, and leaves it the time to clear up.
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class From(msgspec.Struct, frozen=True):
    """Where images are looked for: an archive, or the engine of this name; None: the first one that is installed."""

    archive: Path | None = None
    engine: str | None = None


class Wanted(msgspec.Struct, frozen=True):
    """An image as a definition names it. ``component``: the first one that does. ``platform``: as it demands, or ""."""

    reference: str
    service: str
    component: str
    platform: str = ""
    is_built: bool = False

    @property
    def name(self) -> str:
        return full_name(self.service, self.component)


def push(settings: Settings, target: str, chosen_nodes: tuple[str, ...], where: From, how: How) -> int:
    """To the definition's node, or those that are chosen by name. Raises CliError."""
    found, component = definition.find(settings, target)
    nodes = changeable(settings, chosen_nodes) if chosen_nodes else [settings.usable_node(found.service.node)]
    chosen = [each for each in found.service.components if component in ("", each.name)]
    wanted = _distinct(found.service.name, chosen)
    if where.archive is not None and len(wanted) > 1:
        raise UsageError(
            f"{where.archive} is one image, but {found.service.name} has {len(wanted)}: "
            f"give one of {', '.join(each.name for each in wanted)}"
        )
    said = carry(settings, wanted, nodes, where, how)
    answers = settled(said)
    if how.structured:
        structured(answers.answers, how, answers.answers)
    elif not how.quiet:
        for row in answers.answers:
            render.say(_told(row))
        _tell_who_runs_another(settings, answers.answers)
    return answers.status


def _tell_who_runs_another(settings: Settings, rows: Sequence[ImagePushRow]) -> None:
    """A deploy leaves a container alone whose definition is the same, whatever its image's name means by now."""
    pushed: dict[str, set[str]] = {}
    for row in rows:
        pushed.setdefault(row.node, set()).add(row.id)
    for node, each in images.running_another(settings, pushed):
        render.note(
            f"mcpctl: {node}: {each} runs another image, which had this name before; "
            f"`mcpctl deploy {each} --force` recreates it"
        )


def bring(
    settings: Settings,
    reference: str,
    target: str,
    nodes: Sequence[Node],
    how: How,
    *,
    engine: str | None = None,
    platform: str = "",
) -> int:
    """``reference``, as the engine here has it, to ``nodes``, for ``target``: SERVICE/COMPONENT. Returns the status.

    ``engine``: its name; None: the first one that is installed. ``platform``: as the component demands it, or "".
    What it says goes to stderr: the answer is another command's. Raises CliError when no node has got it.
    """
    service, component = naming.split_target(target)
    wanted = Wanted(reference, service, component, platform, is_built=True)
    answers = settled(carry(settings, [wanted], nodes, From(engine=engine), how))
    if not how.quiet:
        for row in answers.answers:
            render.note(f"mcpctl: {_told(row)}")
    return answers.status


def _distinct(service: str, components: Sequence[Component]) -> list[Wanted]:
    found: dict[tuple[str, str], Wanted] = {}
    for each in components:
        platform = each.platform or ""
        wanted = Wanted(each.image, service, each.name, platform, each.build is not None)
        found.setdefault((each.image, platform), wanted)
    return list(found.values())


def _told(row: ImagePushRow) -> str:
    sent = "nothing was sent" if not row.sent_bytes else f"{render.size(row.sent_bytes)} sent"
    there = f", {render.size(row.present_bytes)} were there" if row.present_bytes else ""
    return f"{row.node}: {row.reference} is there: {sent}{there}, in {render.took(1000 * row.seconds)}"


# -- one image after the other, each to all nodes


def carry(
    settings: Settings, wanted: Sequence[Wanted], nodes: Sequence[Node], where: From, how: How
) -> Said[ImagePushRow]:
    """What became of each image on each node; a node that is down is not asked again. Raises CliError."""
    program = None if where.archive else engine.find(where.engine)
    try:
        return asyncio.run(_carry(settings, wanted, nodes, where.archive, program, how))
    except KeyboardInterrupt:
        raise InterruptedByUserError(
            "interrupted: no node has the image by its name yet, but for those that said so; "
            "the layers that a node has whole need not be sent again"
        ) from None


async def _carry(
    settings: Settings,
    wanted: Sequence[Wanted],
    nodes: Sequence[Node],
    archive: Path | None,
    program: Engine | None,
    how: How,
) -> Said[ImagePushRow]:
    said: Said[ImagePushRow] = []
    gone: dict[str, UnreachableError] = {}
    with _ended_by_signals():
        if program and len(wanted) > 1:
            await _check_stored(program, wanted)
        for each in wanted:
            left = [node for node in nodes if node.name not in gone]
            async with _source(each, archive, program) as found:
                answers = await _Carrying(settings, each, found, left, how).run()
            said += answers
            gone |= {node.name: error for node, error in answers if isinstance(error, UnreachableError)}
            if len(gone) == len(nodes):
                break
    return said


def _source(wanted: Wanted, archive: Path | None, program: Engine | None) -> AbstractAsyncContextManager[Source]:
    if archive is not None:
        return source.from_archive(archive, wanted.reference)
    assert program is not None
    return _stored(program, wanted)


async def _check_stored(program: Engine, several: Sequence[Wanted]) -> None:
    """Before any of them is sent. Raises CliError for all that are not here."""
    missing = []
    for each in several:
        try:
            await storage.facts(program, each.reference)
        except NotHereError as error:
            missing.append(f"{error}; {_remedy(program, each)}")
    if missing:
        raise CliError("\n".join(missing) + "\nnothing was sent")


@asynccontextmanager
async def _stored(program: Engine, wanted: Wanted) -> AsyncIterator[Source]:
    try:
        async with source.from_engine(program, wanted.reference) as found:
            yield found
    except NotHereError as error:
        raise CliError(f"{error}; {_remedy(program, wanted)}") from None


def _remedy(program: Engine, wanted: Wanted) -> str:
    if wanted.is_built:
        try:
            names.check_buildable(wanted.reference, wanted.name)
        except UsageError as refusal:
            return str(refusal)
        return f"`mcpctl build {wanted.name}` builds it"
    if names.is_local(wanted.reference):
        if "@" in wanted.reference:
            return "nor has any registry: without the digest, the definition names whatever has this tag here"
        return f"no registry has it either; `{program.name} build --tag {wanted.reference} FOLDER` builds one"
    return f"`{program.name} pull {wanted.reference}` gets it from its registry; --with names another engine"


class _Carrying:
    """One image to several nodes. What any of them lacks is saved once, when all have said what they have."""

    def __init__(self, settings: Settings, wanted: Wanted, found: Source, nodes: Sequence[Node], how: How) -> None:
        self._settings = settings
        self._wanted = wanted
        self._source = found
        self._nodes = nodes
        self._how = how
        self._meters = Meters(is_quiet=how.quiet)
        self._unsettled = {each.name for each in nodes}
        self._lacking: set[str] = set()
        self._all_settled = asyncio.Event()
        self._is_told = False

    async def run(self) -> Said[ImagePushRow]:
        """Raises what is wrong on this side."""
        with self._meters:
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._one(node)) for node in self._nodes]
            except BaseExceptionGroup as several:
                raise several.exceptions[0] from None
        return [(node, task.result()) for node, task in zip(self._nodes, tasks, strict=True)]

    async def _one(self, node: Node) -> ImagePushRow | CliError:
        wanted = self._wanted
        start = Start(self._source.reference, wanted.service, wanted.component, self._source.diff_ids)
        progress = Progress(lambda done, total: self._meters.now(node.name, done, total))
        began = time.monotonic()

        async def ready(state: State) -> Package:
            return await self._ready(node, state)

        try:
            done = await Push(self._settings, node, start, ready, self._open, progress).run()
        except CliError as error:
            return error
        finally:
            self._settle(node)
        return _row(node, start.reference, done, time.monotonic() - began)

    async def _ready(self, node: Node, state: State) -> Package:
        """What ``node`` is to get, when it can be read here. Raises CliError."""
        machine, alone = state.machine, False
        if self._wanted.platform:
            machine = platforms.parse(self._wanted.platform)
            # From a list podman would choose for the node, and not as the definition demands.
            alone = not platforms.runs(machine, state.machine)
        await self._source.check(machine)
        lacking = self._source.diff_ids - state.present
        self._lacking |= lacking
        self._settle(node)
        await self._all_settled.wait()
        with self._told_when_long():
            await self._source.fetch(frozenset(self._lacking))
        package = await self._source.package(machine, alone=alone)
        self._announce(node, package, state.present)
        return package

    async def _open(self, digest: str) -> Reading:
        with self._told_when_long():
            return await self._source.open(digest)

    @contextmanager
    def _told_when_long(self) -> Iterator[None]:
        """For what waits for the engine, maybe for minutes: nothing can be counted meanwhile."""
        telling = asyncio.get_running_loop().call_later(_MOMENT_S, self._tell_of_saving)
        try:
            yield
        finally:
            telling.cancel()

    def _tell_of_saving(self) -> None:
        """Once, however many nodes wait for it, and not into a bar."""
        if self._is_told or self._how.quiet or self._meters.is_drawn:
            return
        self._is_told = True
        render.note(f"mcpctl: {self._source.reference}: saving the layers that are to be sent")

    def _settle(self, node: Node) -> None:
        """It is known what ``node`` lacks, or that it gets nothing."""
        self._unsettled.discard(node.name)
        if not self._unsettled:
            self._all_settled.set()

    def _announce(self, node: Node, package: Package, present: frozenset[str]) -> None:
        if self._how.quiet or self._meters.is_watched:
            return
        size = sum(each.size for each in package.layers if each.diff_id not in present)
        render.note(
            f"mcpctl: {node.name}: {self._source.reference}: {render.size(size)} of {render.size(package.size)} to send"
        )


def _row(node: Node, reference: str, done: Delivered, seconds: float) -> ImagePushRow:
    return ImagePushRow(node.name, reference, done.id, done.sent, done.present, done.total, round(seconds, 3))


# -- signals


class _SignalledError(CliError):
    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"ended by {number.name}; the layers that a node has whole need not be sent again")
        self.status = _SIGNALLED + number


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """What ends a program ends this task, so that nothing is left behind. Ctrl-C does so by itself (asyncio.run).

    What is ignored stays so.
    """
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    heard: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        # A terminal that is closed sends several at once.
        if not heard:
            task.cancel()
        heard.append(number)

    ours = [each for each in _ENDING if signal.getsignal(each) == signal.SIG_DFL]
    for each in ours:
        loop.add_signal_handler(each, end, each)
    try:
        yield
    except asyncio.CancelledError:
        if heard and task.uncancel() == 0:
            raise _SignalledError(heard[0]) from None
        raise
    finally:
        for each in ours:
            loop.remove_signal_handler(each)
