"""The RPCs that carry files to and from containers' folders."""

from __future__ import annotations

import stat
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import betterproto
import trio

from mcpd.errors import InvalidRequestError, UnavailableError
from mcpd.files import ids
from mcpd.files.beneath import FOLDER_MODE, parts_of
from mcpd.files.listing import Found, modified_at
from mcpd.files.transfer import Transfers, permissions
from mcpd.files.upload import Incoming
from mcpd.model import Caller
from mcpd.rpc.messages import Requests
from mcpd.rpc.methods import Method
from protos.mcp import v1 as wire

_FILE_MODE = 0o644
# More than a screen; a page of so many is 100 KiB.
MAX_LISTED = 1000
# A client that is there sends on within this, unless its line is down; what it began is taken back.
STALL_S = 60.0


class FileMethods:
    """``root``: what the services' folders are in; ``max_size`` of a file that is taken, in bytes."""

    def __init__(self, root: Path, max_size: int, stall_s: float = STALL_S) -> None:
        self._transfers = Transfers(root, max_size)
        self._stall_s = stall_s

    @property
    def methods(self) -> dict[str, Method]:
        return {
            "PushFile": self.push_file,
            "PullFile": self.pull_file,
            "ListFiles": self.list_files,
            "DigestFile": self.digest_file,
        }

    async def push_file(self, requests: Requests, caller: Caller) -> wire.PushFileResponse:
        parts = _Parts(requests, self._stall_s)
        header = await parts.header()
        requests.concerns(header)
        wanted = _incoming(header)
        answer = wire.PushFileResponse(path=header.path, size=header.size)
        if header.is_folder:
            await parts.demand_end()
            await self._transfers.make_folder(wanted)
        else:
            await self._transfers.receive(wanted, parts)
            answer.sha256 = parts.sha256
        return answer

    async def pull_file(
        self, request: wire.PullFileRequest, caller: Caller
    ) -> AsyncGenerator[list[wire.PullFileResponse], None]:
        async with self._transfers.reading(request.service, parts_of(request.path)) as download:
            header = wire.FileHeader(
                service=request.service,
                path=request.path,
                size=download.stat.st_size,
                mode=stat.S_IMODE(download.stat.st_mode),
                owner=ids.of_this_user().to_container(download.stat),
            )
            yield [wire.PullFileResponse(header=header)]
            while chunks := await self._transfers.batch(download):
                yield [wire.PullFileResponse(chunk=chunk) for chunk in chunks]
            yield [wire.PullFileResponse(sha256=download.sha256)]

    async def list_files(self, request: wire.ListFilesRequest, caller: Caller) -> wire.ListFilesResponse:
        parts = parts_of(request.path, empty=True, folder=True)
        limit = min(request.limit or MAX_LISTED, MAX_LISTED)
        found, more = await self._transfers.listing(request.service, parts, request.after, limit)
        known = ids.of_this_user()
        return wire.ListFilesResponse(files=[_info(each, known) for each in found], more=more)

    async def digest_file(self, request: wire.DigestFileRequest, caller: Caller) -> wire.DigestFileResponse:
        digest = await self._transfers.digest(request.service, parts_of(request.path))
        return wire.DigestFileResponse(
            size=digest.stat.st_size,
            mode=stat.S_IMODE(digest.stat.st_mode),
            modified_at=modified_at(digest.stat),
            sha256=digest.sha256,
        )


class _Parts:
    """The messages of a push, in the order that the contract gives them. A `Source`.

    Raises InvalidRequestError for any other order, UnavailableError when nothing comes for ``stall_s`` seconds.
    """

    def __init__(self, requests: Requests, stall_s: float) -> None:
        self._requests = requests
        self._stall_s = stall_s
        self._pending: list[Any] = []
        self._sha256: bytes | None = None

    @property
    def sha256(self) -> bytes:
        return self._sha256 or b""

    async def header(self) -> wire.FileHeader:
        messages = await self._next()
        if not messages or betterproto.which_one_of(messages[0], "part")[0] != "header":
            raise InvalidRequestError("a push begins with a header: service, path and size")
        self._pending = messages[1:]
        header: wire.FileHeader = messages[0].header
        return header

    async def demand_end(self) -> None:
        """Raises InvalidRequestError when anything follows the header of a folder."""
        if self._pending or await self._next():
            raise InvalidRequestError("nothing may follow the header of a folder")

    async def batch(self) -> list[bytes]:
        while self._sha256 is None:
            messages = self._pending or await self._next()
            self._pending = []
            if not messages:
                raise InvalidRequestError("the push ended without its SHA-256; push it again")
            if chunks := self._chunks(messages):
                return chunks
        if self._pending or await self._next():
            raise InvalidRequestError("data follows the SHA-256, which ends a push")
        return []

    def _chunks(self, messages: list[Any]) -> list[bytes]:
        chunks = []
        for number, message in enumerate(messages, start=1):
            kind, value = betterproto.which_one_of(message, "part")
            if kind == "sha256":
                self._sha256, self._pending = value, messages[number:]
                break
            if kind != "chunk":
                raise InvalidRequestError("the header of a push is followed by chunks and then by its SHA-256")
            chunks.append(value)
        return [each for each in chunks if each]

    async def _next(self) -> list[Any]:
        with trio.move_on_after(self._stall_s) as waiting:
            return await self._requests.batch()
        assert waiting.cancelled_caught
        raise UnavailableError(f"the client has sent nothing for {self._stall_s:.0f} s; nothing was changed")


def _incoming(header: wire.FileHeader) -> Incoming:
    """Raises InvalidRequestError."""
    default = FOLDER_MODE if header.is_folder else _FILE_MODE
    return Incoming(
        service=header.service,
        parts=parts_of(header.path, empty=header.is_folder, folder=header.is_folder),
        size=header.size,
        mode=permissions(header.mode, default),
        owner=ids.owner_of(header.owner),
    )


def _info(found: Found, known: ids.Ids) -> wire.FileInfo:
    return wire.FileInfo(
        name=found.name,
        kind=found.kind,
        size=found.stat.st_size,
        mode=stat.S_IMODE(found.stat.st_mode),
        modified_at=found.modified_at,
        owner=known.to_container(found.stat),
        target=found.target,
    )
