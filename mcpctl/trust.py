"""Whom we talk to: TLS against one CA, which is always verified."""

from __future__ import annotations

import ssl
from pathlib import Path

from mcpctl.errors import UsageError


def context(ca_cert: Path, whose: str, minimum: ssl.TLSVersion) -> ssl.SSLContext:
    """For a client of ``whose`` certificate ``ca_cert`` signed, which begins each error. Raises UsageError."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = minimum
    try:
        made.load_verify_locations(ca_cert)
    except FileNotFoundError:
        raise UsageError(
            f"{whose}: {ca_cert} does not exist; it must hold the CA certificate that the server's is signed by"
        ) from None
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"{whose}: {ca_cert} is not a CA certificate: {error}") from None
    return made
