"""A file to the node and back, against a plain asyncio grpclib server that does nothing but write and read it.

Run as a program this is that server: PORT CERTIFICATE KEY FOLDER.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import betterproto
from grpclib.server import Server

from protos.mcp import v1
from tests.bench.client import Client
from tests.bench.harness import Row, compare, timed
from tests.podman.node import Node
from tests.support.waiting import accepts, free_port, until

# By hand: 1024.
SIZE_MIB = int(os.environ.get("MCP_BENCH_FILE_MIB", "256"))
_CHUNK = 256 * 1024
_PAIRS = 5
_SERVICE = "bench"
_NAME = "big"


def both_ways(node: Node, root: Path) -> list[Row]:
    """``root`` is the node's files.root: the plain server writes to the same file system."""
    chunk = os.urandom(_CHUNK)
    count = SIZE_MIB * 2**20 // _CHUNK
    summed = hashlib.sha256()
    for _ in range(count):
        summed.update(chunk)
    header = v1.FileHeader(service=_SERVICE, path=_NAME, size=count * _CHUNK)

    async def parts() -> AsyncIterator[v1.PushFileRequest]:
        yield v1.PushFileRequest(header=header)
        for _ in range(count):
            yield v1.PushFileRequest(chunk=chunk)
        yield v1.PushFileRequest(sha256=summed.digest())

    async def push(client: Client) -> None:
        await client.stub.push_file(parts())

    async def pull(client: Client) -> None:
        received = 0
        async for answer in client.stub.pull_file(v1.PullFileRequest(service=_SERVICE, path=_NAME)):
            received += len(answer.chunk) if betterproto.which_one_of(answer, "part")[0] == "chunk" else 0
        assert received == header.size

    rows = []
    with (
        tempfile.TemporaryDirectory(dir=root, prefix="plain-") as folder,
        contextlib.closing(Client(node)) as client,
        _plain_server(node, Path(folder)) as port,
        contextlib.closing(Client(node, port)) as plain,
    ):
        for what, action in (("push", push), ("pull", pull)):
            rows.append(
                compare(
                    f"{what} of {SIZE_MIB} MiB",
                    "plain asyncio grpclib" + (", with fsync" if what == "push" else ""),
                    1.4,
                    lambda action=action: timed(lambda: client.run(action(client))),  # type: ignore[misc]
                    lambda action=action: timed(lambda: plain.run(action(plain))),  # type: ignore[misc]
                    pairs=_PAIRS,
                )
            )
        (root / _SERVICE / _NAME).unlink()
        (root / _SERVICE).rmdir()
    return rows


@contextlib.contextmanager
def _plain_server(node: Node, folder: Path) -> Iterator[int]:
    port = free_port()
    certificate, key = node.folder / "certs/cert.pem", node.folder / "certs/key.pem"
    argv = [sys.executable, "-m", "tests.bench.files", str(port), str(certificate), str(key), str(folder)]
    process = subprocess.Popen(argv)
    try:
        until(lambda: accepts(port))
        yield port
    finally:
        process.kill()
        process.wait()


class _Plain(v1.AgentServiceBase):
    """Writes what comes to the file that it was given, and reads that; no checksum, no limit, nothing checked."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def push_file(self, push_file_request_iterator: AsyncIterator[v1.PushFileRequest]) -> v1.PushFileResponse:
        with self._path.open("wb", buffering=0) as file:
            async for request in push_file_request_iterator:
                kind, value = betterproto.which_one_of(request, "part")
                if kind == "chunk":
                    file.write(value)
            os.fsync(file.fileno())
        return v1.PushFileResponse()

    async def pull_file(self, pull_file_request: v1.PullFileRequest) -> AsyncIterator[v1.PullFileResponse]:
        with self._path.open("rb", buffering=0) as file:
            yield v1.PullFileResponse(header=v1.FileHeader(size=self._path.stat().st_size))
            while chunk := file.read(_CHUNK):
                yield v1.PullFileResponse(chunk=chunk)


async def _serve(port: int, certificate: str, key: str, folder: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(certificate, key)
    server = Server([_Plain(Path(folder, _NAME))])
    await server.start("127.0.0.1", port, ssl=context)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), *sys.argv[2:]))
