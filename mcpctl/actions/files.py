"""What push, pull, ls and diff-file do: find out what goes where, let it be moved, and say what came of it."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path

import msgspec
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.config import Node, Settings
from mcpctl.errors import DONE, FAILED, InterruptedByUserError, UsageError
from mcpctl.nodes import client
from mcpctl.nodes.transfer import chunks, local, remote
from mcpctl.nodes.transfer.chunks import Moved, Outgoing
from mcpctl.nodes.transfer.local import PERMISSIONS, Landing, Printing, Source, Sources
from mcpctl.nodes.transfer.remote import Place
from mcpctl.ui import render
from mcpctl.ui.meter import Meter
from mcpctl.ui.output import How, View, listing, put
from mcpctl.ui.rows.files import ComparisonRow, ContentRow, FileRow, MovedRow, TransferRow, file_row, octal
from protos.mcp import v1

_HEADERS = ("NAME", "KIND", "SIZE", "MODE", "OWNER", "MODIFIED")
# How many of what is skipped or in the way are named.
_NAMED = 3


class Push(msgspec.Struct, frozen=True):
    """``name``: what the sources are called there when ``to`` is a folder. ``mode`` None: as here."""

    sources: Sources
    name: str
    to: str
    mode: int | None
    owner: str


class Pull(msgspec.Struct, frozen=True):
    """``to`` None: to standard output."""

    path: str
    to: Path | None
    recursive: bool
    force: bool


class _Tally:
    """What has been moved so far, of how many files; and what is just being sent."""

    def __init__(self) -> None:
        self.total = 0
        self.moved: list[MovedRow] = []
        self.outgoing: Outgoing | None = None

    def add(self, path_here: Path, path_there: str, moved: Moved) -> None:
        self.moved.append(
            MovedRow(local.readable(path_here), path_there, moved.size, octal(moved.mode), moved.sha256.hex())
        )

    def interrupted(self, where: str) -> InterruptedByUserError:
        if self.outgoing and self.outgoing.is_sent:
            return InterruptedByUserError(
                f"interrupted at the last moment; {self.outgoing.path} is either complete {where} or not there at all"
            )
        if self.moved:
            return InterruptedByUserError(
                f"interrupted; {len(self.moved)} of {self.total} files are complete {where}, the others were not copied"
            )
        return InterruptedByUserError(f"interrupted; nothing was copied {where}")


# -- push


def push(settings: Settings, node: Node, service: str, wanted: Push, *, how: How) -> int:
    """Raises CliError."""
    tally = _Tally()
    skipped = tuple(map(local.readable, wanted.sources.skipped))
    _warn_skipped(skipped)

    async def command() -> tuple[str, float]:
        async with _place(settings, node, service) as place:
            top = await remote.destination(place, wanted.to, wanted.name)
            return top, await _send_all(place, wanted, top, tally)

    try:
        top, seconds = asyncio.run(command())
    except KeyboardInterrupt:
        raise tally.interrupted(f"on node {node.name}") from None
    folders = wanted.sources.folders
    row = _transfer_row(node, service, tally, len(folders), seconds, skipped)
    origin = folders[0].path if folders else wanted.sources.files[0].path
    _conclude(row, f"{origin} -> {remote.shown(node, service, top)}", how=how)
    return DONE


async def _send_all(place: Place, wanted: Push, top: str, tally: _Tally) -> float:
    """How many seconds it took."""
    files = wanted.sources.files
    tally.total = len(files)
    with Meter(len(files), sum(each.size for each in files)) as meter:
        for folder in wanted.sources.folders:
            header = _header(place, wanted, top, folder)
            header.is_folder = True
            with _named(header.path):
                await chunks.make_folder(place, header)
        for file in files:
            meter.next(file.path.name)
            tally.outgoing = Outgoing(file, _header(place, wanted, top, file), meter)
            with _named(tally.outgoing.path) if len(files) > 1 else nullcontext():
                moved = await chunks.send(place, tally.outgoing, meter)
            tally.outgoing = None
            tally.add(file.path, _below(top, file.below), moved)
        return meter.seconds


def _header(place: Place, wanted: Push, top: str, source: Source) -> v1.FileHeader:
    # The permissions that were asked for are a file's: nobody could enter a folder with them.
    mode = source.mode if source in wanted.sources.folders or wanted.mode is None else wanted.mode
    return v1.FileHeader(place.service, _below(top, source.below), mode=mode, owner=wanted.owner)


def _below(top: str, below: str) -> str:
    return remote.joined(top, below) if below else top


# -- pull


def pull(settings: Settings, node: Node, service: str, wanted: Pull, *, how: How) -> int:
    """Raises CliError."""
    tally = _Tally()

    async def command() -> TransferRow:
        async with _place(settings, node, service) as place:
            if wanted.to is None:
                return await _print(place, wanted.path, tally)
            if wanted.recursive and await remote.is_folder(place, wanted.path):
                return await _receive_folder(place, wanted.path, wanted.to, wanted.force, tally)
            return await _receive_file(place, wanted.path, wanted.to, wanted.force, tally)

    try:
        row = asyncio.run(command())
    except KeyboardInterrupt:
        raise tally.interrupted("on this machine") from None
    if wanted.to is not None:
        _conclude(row, f"{remote.shown(node, service, wanted.path)} -> {wanted.to}", how=how)
    return DONE


async def _print(place: Place, path: str, tally: _Tally) -> TransferRow:
    # Two that write to one terminal spoil each other's lines.
    with Meter(1, 0, is_quiet=sys.stdout.isatty()) as meter:
        meter.next(path)
        tally.add(Path("-"), path, await chunks.receive(place, path, Printing(), meter))
        return _transfer_row(place.node, place.service, tally, 0, meter.seconds)


async def _receive_file(place: Place, path: str, to: Path, force: bool, tally: _Tally) -> TransferRow:
    local.check_free(to, force=force)
    tally.total = 1
    with Meter(1, 0) as meter:
        await _receive(place, path, to, force, meter, tally)
        return _transfer_row(place.node, place.service, tally, 0, meter.seconds)


async def _receive_folder(place: Place, path: str, to: Path, force: bool, tally: _Tally) -> TransferRow:
    # Everything is known, and found harmless, before anything is written.
    found = [each async for each in remote.walk(place, path)]
    files = [(each, to.joinpath(*each.below)) for each in found if each.info.kind == "file"]
    folders = [(each, to.joinpath(*each.below)) for each in found if each.info.kind == "folder"]
    skipped = tuple(each.path for each in found if each.info.kind not in ("file", "folder"))
    _warn_skipped(skipped)
    if not force:
        _check_absent([target for _, target in files])
    local.make_top(to)
    made = [(each, target) for each, target in folders if local.make_folder(target)]
    tally.total = len(files)
    with Meter(len(files), sum(each.info.size for each, _ in files)) as meter:
        for each, target in files:
            with _named(each.path):
                await _receive(place, each.path, target, force, meter, tally)
        local.set_modes((target, each.info.mode) for each, target in reversed(made))
        return _transfer_row(place.node, place.service, tally, len(folders) + 1, meter.seconds, skipped)


def _check_absent(targets: Sequence[Path]) -> None:
    """Raises UsageError."""
    present = [str(target) for target in targets if os.path.lexists(target)]
    if present:
        verb = "exists" if len(present) == 1 else "exist"
        raise UsageError(f"{_some(present)} already {verb}; nothing was copied; --force overwrites")


async def _receive(place: Place, path: str, to: Path, force: bool, meter: Meter, tally: _Tally) -> None:
    meter.next(to.name)
    with Landing(to, force=force) as landing:
        moved = await chunks.receive(place, path, landing, meter)
        landing.place()
        tally.add(to, path, moved)


# -- ls


def ls(settings: Settings, node: Node, service: str, path: str, limit: int | None, *, how: How) -> int:
    """``limit`` None: all there are. Raises CliError."""

    async def command() -> list[FileRow]:
        async with _place(settings, node, service, deadline=client.read_deadline()) as place:
            # One more, to know whether there are more.
            wanted = None if limit is None else limit + 1
            return [file_row(each) async for each in remote.entries(place, path, wanted)]

    rows = asyncio.run(command())
    if limit is not None and len(rows) > limit:
        render.note(f"mcpctl: {remote.shown(node, service, path)} has more entries than the {limit} shown")
    view = View(_HEADERS, _cells, lambda row: row.name)
    listing(rows[:limit], how, view, f"{remote.shown(node, service, path)} is empty")
    return DONE


def _cells(row: FileRow) -> tuple[str, ...]:
    name = f"{row.name} -> {row.target}" if row.target else row.name
    size = render.size(row.size) if row.kind == "file" else "-"
    # Without the letter of the kind.
    mode = stat.filemode(int(row.mode, 8))[1:]
    return name, row.kind, size, mode, row.owner or "-", render.moment(row.modified_at)


# -- diff-file


def compare(settings: Settings, node: Node, service: str, path: Path, name: str, to: str, *, how: How) -> int:
    """FAILED when the two differ. Raises CliError, also when there are no two."""
    here = local.digest(path) if os.path.lexists(path) else None

    async def command() -> tuple[str, v1.DigestFileResponse | None]:
        async with _place(settings, node, service) as place:
            where = await remote.destination(place, to, name)
            return where, await _digest(place, where)

    where, there = asyncio.run(command())
    shown = remote.shown(node, service, where)
    if here is None:
        hint = f"; `mcpctl pull {service} {where}` copies it from there" if there else f", and neither does {shown}"
        raise UsageError(f"{path} does not exist{hint}")
    if there is None:
        raise UsageError(f"{shown} does not exist; `mcpctl push {path} {service} {where}` copies it there")
    source, sha256 = here
    ours = ContentRow(source.size, octal(source.mode), sha256.hex())
    theirs = ContentRow(there.size, octal(there.mode & PERMISSIONS), there.sha256.hex())
    differs = tuple(each for each in ("size", "sha256", "mode") if getattr(ours, each) != getattr(theirs, each))
    row = ComparisonRow(node.name, service, where, local.readable(path), not differs, differs, ours, theirs)
    if how.structured:
        put(how, row)
    elif not how.quiet:
        _print_comparison(row, shown)
    return DONE if row.same else FAILED


async def _digest(place: Place, path: str) -> v1.DigestFileResponse | None:
    """None when there is no such file."""
    try:
        async with remote.listening(place.node):
            return await place.stub.digest_file(v1.DigestFileRequest(service=place.service, path=path))
    except GRPCError as error:
        if error.status is not Status.NOT_FOUND:
            raise
        return None


def _print_comparison(row: ComparisonRow, shown: str) -> None:
    render.say(("same", "green") if row.same else ("different", "red"), f": {row.local} and {shown}")
    if not row.same:
        cells = [(each, str(getattr(row.here, each)), str(getattr(row.there, each))) for each in row.differs]
        render.table(("FIELD", "LOCAL", "NODE"), cells)


# -- together


@asynccontextmanager
async def _place(
    settings: Settings, node: Node, service: str, *, deadline: float | None = None
) -> AsyncIterator[Place]:
    async with client.agent(settings, node, deadline=deadline) as stub:
        yield Place(node, service, stub)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Says of which of several files a node speaks."""
    try:
        yield
    except GRPCError as error:
        if path in (error.message or ""):
            raise
        raise GRPCError(error.status, f"{path}: {error.message or error.status.name}") from None


def _transfer_row(
    node: Node, service: str, tally: _Tally, folders: int, seconds: float, skipped: tuple[str, ...] = ()
) -> TransferRow:
    moved = tuple(tally.moved)
    total = sum(each.size for each in moved)
    return TransferRow(node.name, service, moved, folders, total, round(seconds, 3), skipped)


def _conclude(row: TransferRow, what: str, *, how: How) -> None:
    if how.structured:
        put(how, row)
    if how.structured or how.quiet:
        return
    count = f"{_count(len(row.files), 'file')}, {_count(row.folders, 'folder')}, " if row.folders else ""
    render.say(f"{what}: {count}{render.size(row.bytes)} in {render.took(row.seconds * 1000)}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _warn_skipped(paths: Sequence[str]) -> None:
    if paths:
        render.note(f"mcpctl: skipped {len(paths)}, neither files nor folders: {_some(paths)}")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
