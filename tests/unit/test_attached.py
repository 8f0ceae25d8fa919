"""An HTTP connection that becomes a program's input and output, and the processes that are ended with it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
import trio

from mcpd.errors import UnavailableError
from mcpd.runtime import programs
from mcpd.runtime.api import Api, NoSuchError, PodmanError
from mcpd.runtime.attached import STDOUT
from tests.support.waiting import until

UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
SOON_S = 0.2


@asynccontextmanager
async def podman(tmp_path: Path, answer: bytes, *, then: bytes = b"") -> AsyncIterator[tuple[Api, list[bytes]]]:
    """An API whose podman answers the first request so, and is silent after; with what it was sent."""
    path = tmp_path / "podman.sock"
    heard: list[bytes] = []
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(str(path))
    listening.listen()

    async def serve() -> None:
        connection, _ = await listening.accept()
        async with trio.SocketStream(connection) as stream:
            heard.append(bytes(await stream.receive_some()))
            await stream.send_all(answer)
            if then:
                await stream.send_all(then)
            while data := await stream.receive_some():
                heard.append(bytes(data))

    async with trio.open_nursery() as nursery, httpx.AsyncClient() as client:
        nursery.start_soon(serve)
        yield Api(client, path), heard
        nursery.cancel_scope.cancel()
    listening.close()


async def test_what_comes_with_the_answer_is_output_already(tmp_path: Path) -> None:
    async with podman(tmp_path, UPGRADED + b"at once", then=b" and later") as (api, heard):
        attached = await api.attach("/exec/1/start", has_terminal=True, timeout=5, body={"Tty": True})
        found = b""
        while found != b"at once and later":
            ((stream, data),) = await attached.receive()
            assert stream == STDOUT
            found += data
        await attached.aclose()
    head, _, body = heard[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v4.0.0/libpod/exec/1/start HTTP/1.1\r\n")
    assert b"upgrade: tcp" in head.lower()
    assert body == b'{"Tty": true}'


@pytest.mark.parametrize(("status", "kind"), [(404, NoSuchError), (409, PodmanError), (500, PodmanError)])
async def test_podmans_refusal_is_told_in_its_words(tmp_path: Path, status: int, kind: type[PodmanError]) -> None:
    body = b'{"cause":"c","message":"no such exec session","response":1}'
    answer = f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    async with podman(tmp_path, answer) as (api, _):
        with pytest.raises(kind, match="no such exec session"):
            await api.attach("/exec/1/start", has_terminal=False, timeout=5)


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n\r\n", b"\x00" * 100, b""])
async def test_what_is_no_http_is_an_error(tmp_path: Path, answer: bytes) -> None:
    async with podman(tmp_path, answer) as (api, _):
        with pytest.raises(UnavailableError):
            await api.attach("/exec/1/start", has_terminal=False, timeout=SOON_S)


async def test_a_podman_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(UnavailableError, match="does not answer"):
            await Api(client, tmp_path / "none").attach("/exec/1/start", has_terminal=False, timeout=5)


# -- what is ended with a session

CHILDREN = "sleep 1000 & sleep 1000 & echo started; wait"


@contextmanager
def session(script: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a session, as OCI runtimes start it."""
    leader = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert leader.stdout
        leader.stdout.readline()
        yield leader
    finally:
        for process in list(programs._in_session(leader.pid)):
            os.kill(process, signal.SIGKILL)
        leader.wait()
        assert leader.stdout
        leader.stdout.close()


def test_children_are_of_their_leaders_session() -> None:
    with session(CHILDREN) as leader:
        found = set(programs._in_session(leader.pid))
        assert leader.pid in found
        assert len(found) == 3


def test_a_signal_ends_them_all() -> None:
    with session(CHILDREN) as leader:
        programs._signal_session(leader.pid, signal.SIGHUP)
        assert leader.wait() == -signal.SIGHUP
        until(lambda: not any(programs._in_session(leader.pid)))


def test_nobody_else_is_ended() -> None:
    with session(CHILDREN) as leader, session(CHILDREN) as other:
        programs._signal_session(leader.pid, signal.SIGKILL)
        leader.wait()
        assert len(set(programs._in_session(other.pid))) == 3
