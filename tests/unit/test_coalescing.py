"""What one turn of the loop writes is written at once, and never to a connection that is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mcpd.rpc.coalescing import CoalescingTransport


class Wire(asyncio.Transport):
    """What is behind it: keeps what is done, and raises as asyncio's does when it is written to after its end."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.1", 4711)})
        self.done: list[Any] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_closing(), "written to after its end"
        self.done.append(bytes(data))

    def close(self) -> None:
        self.done.append("closed")

    def abort(self) -> None:
        self.done.append("aborted")

    def is_closing(self) -> bool:
        return "closed" in self.done or "aborted" in self.done

    def pause_reading(self) -> None:
        self.done.append("paused")

    def resume_reading(self) -> None:
        self.done.append("resumed")


def play(story: Callable[[CoalescingTransport, Wire], Awaitable[None]]) -> list[Any]:
    """What was done on the wire by a story, and in the turn after it; an error in a callback fails."""
    wire = Wire()

    async def main() -> None:
        failed: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
        await story(CoalescingTransport(wire), wire)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert failed == []

    asyncio.run(main())
    return wire.done


def test_writes_of_one_turn_are_one_and_those_of_the_next_another() -> None:
    async def story(transport: CoalescingTransport, wire: Wire) -> None:
        transport.write(b"headers ")
        transport.write(bytearray(b"message "))
        transport.write(memoryview(b"trailers"))
        assert wire.done == []
        await asyncio.sleep(0)
        transport.write(b"more")

    assert play(story) == [b"headers message trailers", b"more"]


def test_nothing_is_written_where_nothing_was() -> None:
    async def story(transport: CoalescingTransport, _wire: Wire) -> None:
        transport.write(b"")

    assert play(story) == []


def test_much_is_not_held() -> None:
    async def story(transport: CoalescingTransport, wire: Wire) -> None:
        transport.write(b"x" * 10_000)
        assert wire.done == []
        transport.write(b"y" * 10_000)
        assert wire.done == [b"x" * 10_000 + b"y" * 10_000]

    assert len(play(story)) == 1


@pytest.mark.parametrize("twice", [False, True])
def test_what_was_written_goes_before_the_end(twice: bool) -> None:
    async def story(transport: CoalescingTransport, _wire: Wire) -> None:
        transport.write(b"goodbye")
        transport.close()
        if twice:
            transport.close()

    assert play(story)[:2] == [b"goodbye", "closed"]


def test_what_is_aborted_is_written_nothing() -> None:
    async def story(transport: CoalescingTransport, _wire: Wire) -> None:
        transport.write(b"never read")
        transport.abort()
        transport.write(b"nor this")

    assert play(story) == ["aborted"]


def test_a_connection_that_ends_in_between_gets_nothing_and_harms_nobody() -> None:
    async def story(transport: CoalescingTransport, wire: Wire) -> None:
        transport.write(b"too late")
        wire.close()
        assert transport.is_closing()

    assert play(story) == ["closed"]


def test_the_rest_is_the_transports_own() -> None:
    async def story(transport: CoalescingTransport, _wire: Wire) -> None:
        transport.pause_reading()
        transport.resume_reading()
        assert transport.get_extra_info("peername") == ("10.0.0.1", 4711)
        assert transport.get_extra_info("socket", "none") == "none"
        assert not transport.is_closing()

    assert play(story) == ["paused", "resumed"]
