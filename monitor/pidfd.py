"""Waits for the end of a process: pidfd_open(2), readable when the process has ended."""

from __future__ import annotations

import os

import trio


async def wait_exit(pid: int) -> None:
    """Returns once process ``pid`` has ended, at once if it has. It need not be our child; nothing is reaped."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)
