"""A registry that cannot be written.

The disk is SQLite's own: a database that may have no more pages is full, one that may only be asked is read-only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime

import trio

from mcpd.model import Caller, Role
from mcpd.registry.store import Registry

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OPS = Caller("ops", Role.ADMIN)
DEADLINE_S = 30


async def until(condition: Callable[[], object]) -> None:
    """Waits until ``condition`` is true; the test's nursery goes on meanwhile."""
    with trio.fail_after(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await trio.sleep(0.01)


async def until_so(question: Callable[[], Awaitable[object]]) -> None:
    with trio.fail_after(DEADLINE_S):
        while not await question():  # noqa: ASYNC110
            await trio.sleep(0.01)


@contextlib.contextmanager
def read_only(registry: Registry) -> Iterator[None]:
    registry._writer.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        registry._writer.execute("PRAGMA query_only = OFF")


@contextlib.contextmanager
def full(registry: Registry) -> Iterator[None]:
    """No page more: what fits into those that are there still does."""
    (pages,) = registry._writer.execute("PRAGMA page_count").fetchone()
    registry._writer.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        registry._writer.execute("PRAGMA max_page_count = 1073741823")


async def note(registry: Registry, words: str = "x") -> None:
    await registry.add_event("web", "api", "deployed", words, "kyle", NOW)
