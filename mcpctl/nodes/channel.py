"""grpclib's channel, but for how it gives up a connection whose other end is silent."""

from __future__ import annotations

from grpclib.client import Channel
from grpclib.protocol import H2Protocol

from protos import lean_frames

# TLS ends with a farewell of both sides (RFC 8446, section 6.1). asyncio waits 30 s for that of a node which no longer
# answers pings, and whose connection is already given up.
_FAREWELL_S = 1.0


class PromptChannel(Channel):
    """Learns of a lost connection as soon as it is given up."""

    async def _create_connection(self) -> H2Protocol:
        lean_frames.use()
        _, protocol = await self._loop.create_connection(
            self._protocol_factory, self._host, self._port, ssl=self._ssl, ssl_shutdown_timeout=_FAREWELL_S
        )
        return protocol
