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
            f"{whose}: {ca_cert} does not exist; it must contain the certificate of the CA that signed the server's"
        ) from None
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"{whose}: {ca_cert} is not a CA certificate: {error}") from None
    return made


# Of OpenSSL's verify codes (x509_vfy.h) those that an operator can do something about, and what.
_EXPIRED, _NOT_YET_VALID, _WRONG_HOST, _WRONG_ADDRESS = 10, 9, 62, 64


def why_not_trusted(error: ssl.SSLCertVerificationError, ca_cert: Path) -> str:
    """What is wrong with a certificate, and what mends it: its end, its name, or whoever signed it."""
    if error.verify_code == _EXPIRED:
        return "its certificate has expired; renew it there"
    if error.verify_code == _NOT_YET_VALID:
        return "its certificate is not valid yet; compare the clocks of both machines"
    if error.verify_code in (_WRONG_HOST, _WRONG_ADDRESS):
        return f"its certificate is for another name: {error.verify_message}"
    return f"{ca_cert} did not sign its certificate: {error.verify_message}; is that the right CA?"
