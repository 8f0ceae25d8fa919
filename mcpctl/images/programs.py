"""Runs the programs that have images. What they print is limited, and so is their time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from mcpctl.errors import CliError
from protos.program_output import exited

# What the description of an image takes, with a history of hundreds of steps.
_MOST_OUTPUT = 16 << 20
_MOST_ERRORS = 64 << 10
_READ_AT_ONCE = 64 << 10


class FailedError(CliError):
    """The program ended with an error. ``said``: what it printed on stderr, the end of it."""

    def __init__(self, words: str, said: str) -> None:
        super().__init__(words)
        self.said = said


async def run(argv: Sequence[str], deadline: float, *, temporary: Path | None = None) -> bytes:
    """What it prints on stdout. ``deadline``: seconds, after which it is killed, as when this is cancelled.
    ``temporary``: where it puts what it may leave behind then.

    Raises FailedError; CliError when it cannot be run, prints too much or takes too long.
    """
    name = " ".join(argv[:2])
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(temporary)} if temporary else None,
        )
    except OSError as error:
        raise CliError(f"{argv[0]} cannot be run: {error.strerror}") from None
    assert process.stdout
    assert process.stderr
    try:
        async with asyncio.timeout(deadline):
            output, errors, status = await asyncio.gather(
                _first(process.stdout, f"{name} printed more than {_MOST_OUTPUT} bytes"),
                _last(process.stderr),
                process.wait(),
            )
    except TimeoutError:
        raise CliError(f"{name} did not end within {deadline:g} s, and was killed") from None
    finally:
        await end(process)
    if status:
        said = errors.decode(errors="replace").strip()
        # Warnings come first.
        raise FailedError(exited(name, status, said.rpartition("\n")[2]), said)
    return output


async def end(process: asyncio.subprocess.Process) -> None:
    """Kills it if it still runs. What it has started may hold its pipes for long, and is not waited for."""
    # asyncio waits for the pipes as well as for the process, and has no other way to close those that are read.
    process._transport.close()  # type: ignore[attr-defined]
    await process.wait()


async def _first(stream: asyncio.StreamReader, too_much: str) -> bytes:
    found = bytearray()
    while part := await stream.read(_READ_AT_ONCE):
        found += part
        if len(found) > _MOST_OUTPUT:
            raise CliError(too_much)
    return bytes(found)


async def _last(stream: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while part := await stream.read(_READ_AT_ONCE):
        found += part
        del found[:-_MOST_ERRORS]
    return bytes(found)
