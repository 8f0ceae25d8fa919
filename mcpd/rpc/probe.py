"""Probes a gRPC server as a client would, for the watchdog."""

from __future__ import annotations

import errno
import ssl

import trio

# A frame begins with a header of 9 bytes, and the server's first frame is SETTINGS (RFC 9113, sections 3.4 and 4.1).
_FRAME_HEADER_BYTES = 9


async def answers(host: str, port: int) -> None:
    """Returns when a new connection has come through TLS and HTTP/2 has begun, or the server itself has ended it.

    A server that refuses for its limits is alive, too: a flood must not make the watchdog kill it. So is one whose
    address has gone from the machine. No call is made, so there is none to log and to audit. Raises OSError when
    nothing listens; waits as long as the server is silent.
    """
    family = trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET
    with trio.socket.socket(family) as plain:
        try:
            # From the same address: it cannot be asked of another machine when it is not ours any more.
            await plain.bind((host, 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return
            raise
        await plain.connect((host, port))
        secured = trio.SSLStream(trio.SocketStream(plain), _anyone(), https_compatible=True)
        try:
            await secured.do_handshake()
            await secured.receive_some(_FRAME_HEADER_BYTES)
        except trio.BrokenResourceError:
            pass


def _anyone() -> ssl.SSLContext:
    """Believes whoever answers: it is ourselves, and the certificate may have expired."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context
