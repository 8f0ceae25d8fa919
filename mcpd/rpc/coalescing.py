"""A transport that writes what one turn of the loop has to say at once.

The answer to a unary call is three writes of grpclib's: headers, message, trailers. Each is a TLS record, a system
call, and a wake-up of the client.
"""

from __future__ import annotations

import asyncio
from typing import Any

# Streams are written as they come: there is nothing to gain from waiting, and only memory to lose.
_HELD_BYTES = 16 * 1024


class CoalescingTransport(asyncio.Transport):
    """Holds what is written until the end of the loop's turn, `_HELD_BYTES` at most; the rest is the transport's."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._held = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._held:
            asyncio.get_running_loop().call_soon(self._flush)
        self._held += data
        if len(self._held) >= _HELD_BYTES:
            self._flush()

    def _flush(self) -> None:
        held, self._held = self._held, bytearray()
        # One that was closed meanwhile has nobody to write to; asyncio's of a TLS connection raises then.
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def close(self) -> None:
        """Closes it once everything is written."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._held.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()
