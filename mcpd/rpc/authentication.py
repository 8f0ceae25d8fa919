"""Who calls: the bearer token of a call, and whose it is (audit S5)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Protocol

from grpclib.server import Stream

from mcpd import errors
from mcpd.model import Caller
from mcpd.rpc.failures_by_peer import FailuresByPeer
from mcpd.rpc.trio_bridge import in_trio


class Authenticator(Protocol):
    def known(self, token: str, now: datetime) -> Caller | None:
        """Who holds ``token``, from memory; None when that takes asking."""

    async def caller(self, token: str, now: datetime) -> Caller:
        """Asks, in Trio. Raises UnauthenticatedError, or UnavailableError when it cannot be found out."""

    async def again(self, token: str, now: datetime) -> Caller:
        """As `caller`, for a call that goes on: asks early, so that the answer in memory need not run out."""


class Authentication:
    """Asks an `Authenticator`, and lets nobody ask it too often."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._attempts = FailuresByPeer()

    async def caller(self, address: str, token: str) -> Caller:
        """Who holds ``token``, sent from ``address``, which has no port.

        Raises UnauthenticatedError, UnavailableError; ExhaustedError for an address that failed too often.
        """
        if caller := self._authenticator.known(token, datetime.now(UTC)):
            return caller
        if wait := self._attempts.wait(address):
            raise errors.ExhaustedError(
                f"{address} has failed to authenticate too often; it may try again in {math.ceil(wait)} s"
            )
        try:
            return await in_trio(self._authenticator.caller, token, datetime.now(UTC))
        except errors.UnauthenticatedError:
            self._attempts.failed(address)
            raise


def bearer_token(stream: Stream[Any, Any]) -> str:
    """Raises UnauthenticatedError when the call brings none."""
    header = stream.metadata.get("authorization") if stream.metadata else None
    if header is None:
        raise errors.UnauthenticatedError("no token: send `authorization: Bearer TOKEN`, or set MCP_TOKEN for mcpctl")
    scheme, _, token = str(header).partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise errors.UnauthenticatedError("the authorization metadata is not `Bearer TOKEN`")
    return token.strip()
