"""What lies on a node below /srv/SERVICE: paths there, and listings. What a node says is data, and is checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from mcpctl.config import Node
from mcpctl.errors import CliError, UnreachableError, UsageError
from mcpctl.nodes import client
from protos.mcp import v1
from protos.mcp.v1 import AgentServiceStub

# What a page of a listing may have: some hundred kilobytes.
_PAGE = 1000
# Linux's PATH_MAX: where a listing leads deeper, it leads nowhere.
_LONGEST_PATH = 4096
_UNSAFE = ("", ".", "..")
# What a path that goes through a file is answered with.
_NO_SUCH_PATH = (Status.NOT_FOUND, Status.INVALID_ARGUMENT, Status.FAILED_PRECONDITION)


class Place(msgspec.Struct, frozen=True):
    """A service's folder on a node, and who answers for it."""

    node: Node
    service: str
    stub: AgentServiceStub

    def shown(self, path: str) -> str:
        """How a path there is written for people."""
        return shown(self.node, self.service, path)


class Found(msgspec.Struct, frozen=True):
    """One file or folder of a walk. ``below``: the names that lead to it from where the walk began."""

    below: tuple[str, ...]
    path: str
    info: v1.FileInfo


def shown(node: Node, service: str, path: str) -> str:
    return f"{service}:{path or '.'} on {node.name}"


def checked(path: str) -> str:
    """A path from the command line, which may end in ``/``; "" is the service's own folder. Raises UsageError."""
    if path.startswith("/"):
        raise UsageError(
            f"{path!r} starts with /; paths on a node are relative to the service's folder, such as conf/app.ini"
        )
    if "\0" in path or ".." in path.split("/"):
        raise UsageError(f"{path!r} is not a valid path: it must stay inside the service's folder")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{path!r}: file names on a node must be UTF-8, but this one is not") from None
    folder = "/" if path.endswith("/") else ""
    plain = "/".join(part for part in path.split("/") if part not in ("", "."))
    return plain + folder if plain else ""


def joined(folder: str, name: str) -> str:
    folder = folder.removesuffix("/")
    return f"{folder}/{name}" if folder else name


def last_name(path: str, service: str) -> str:
    """What ``path`` is called where it came from."""
    return path.rstrip("/").rpartition("/")[2] or service


@asynccontextmanager
async def listening(node: Node) -> AsyncIterator[Callable[[], None]]:
    """Waits as long as something moves; whoever moves something calls what this yields. Raises UnreachableError."""
    patience = client.SILENCE_S
    now = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(patience) as limit:

            def moved() -> None:
                if not limit.expired():
                    limit.reschedule(now() + patience)

            yield moved
    except TimeoutError:
        raise UnreachableError(f"node {node.name}: no data for {patience:g} s; the transfer was given up") from None


async def destination(place: Place, path: str, name: str) -> str:
    """Where what is called ``name`` goes: into ``path``, when that is a folder or ends as one, else to it."""
    into = not path or path.endswith("/") or await is_folder(place, path)
    return joined(path, name) if into else path


async def is_folder(place: Place, path: str) -> bool:
    """Whether ``path`` is a folder on the node; what is missing is none."""
    if not path:
        return True
    try:
        page = await _page(place, path.removesuffix("/"), limit=2)
    except GRPCError as error:
        if error.status is not Status.NOT_FOUND:
            raise
        return False
    name = last_name(path, place.service)
    if [(each.name, each.kind == "folder") for each in page.files] != [(name, False)]:
        return True
    # A file's path lists that file alone; and so does the path of a folder with one file, which has its name.
    try:
        await _page(place, joined(path, name), limit=1)
    except GRPCError as error:
        if error.status not in _NO_SUCH_PATH:
            raise
        return False
    return True


async def entries(place: Place, path: str, limit: int | None = None) -> AsyncIterator[v1.FileInfo]:
    """What is in a folder, by name, page after page; a file is listed alone. At most ``limit``. Raises CliError."""
    after, left = "", limit
    while left is None or left > 0:
        page = await _page(place, path.removesuffix("/"), limit=min(left or _PAGE, _PAGE), after=after)
        for info in page.files[:left]:
            yield info
        if not page.more:
            return
        if not page.files or page.files[-1].name <= after:
            raise CliError(f"node {place.node.name}: the listing of {place.shown(path)} does not advance")
        after = page.files[-1].name
        left = None if left is None else left - len(page.files)


async def walk(place: Place, path: str) -> AsyncIterator[Found]:
    """Everything below the folder ``path``, each folder before what is in it. Raises CliError.

    A name that could lead out of where the files are to be written is an error (`safe_name`).
    """
    waiting: list[Found] = [Found((), path.removesuffix("/"), v1.FileInfo(kind="folder"))]
    while waiting:
        folder = waiting.pop()
        async for info in entries(place, folder.path):
            name = safe_name(place.node, info.name)
            found = Found((*folder.below, name), joined(folder.path, name), info)
            if len(found.path) > _LONGEST_PATH:
                raise CliError(f"node {place.node.name}: {folder.path[:80]}... is too deep")
            yield found
            if info.kind == "folder":
                waiting.append(found)


def safe_name(node: Node, name: str) -> str:
    """The name of a file that ``node`` listed. Raises CliError for what is more, or less, than a name."""
    if name in _UNSAFE or "/" in name or "\0" in name:
        raise CliError(f"node {node.name} lists a file with the invalid name {name!r}; nothing was written")
    return name


async def _page(place: Place, path: str, *, limit: int, after: str = "") -> v1.ListFilesResponse:
    request = v1.ListFilesRequest(service=place.service, path=path, limit=limit, after=after)
    async with listening(place.node):
        return await place.stub.list_files(request)
