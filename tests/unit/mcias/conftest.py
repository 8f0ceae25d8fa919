"""MCIAS with its users, a clock, and mcpd's client of it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from mcpd.identity.mcias import Mcias
from tests.support import mcias_process
from tests.support.clock import Clock


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mcias_process.Mcias]:
    with mcias_process.Mcias(tmp_path_factory.mktemp("mcias")) as started:
        started.account("operator", "admin", "editor")
        started.account("board", "viewer")
        started.account("both", "viewer", "admin")
        started.account("writer", "editor", "Admin")
        started.account("nobody")
        yield started


@pytest.fixture
def server(process: mcias_process.Mcias) -> mcias_process.Mcias:
    process.mood()
    process.start()
    return process


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
async def asked(server: mcias_process.Mcias, clock: Clock) -> AsyncIterator[Mcias]:
    async with Mcias.connect(server.url, server.ca, clock) as connected:
        yield connected
