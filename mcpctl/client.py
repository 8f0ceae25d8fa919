"""One connection to one node: TLS against the configured CA, a bearer token, and errors that a person can use."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from mcpctl.config import Node, Settings
from mcpctl.errors import BusyError, CliError, UnknownServiceError, UnreachableError, UsageError
from protos.mcp.v1 import AgentServiceStub

# A node that looks at itself answers in milliseconds; what needs longer is down, or so slow that it must be said.
READ_DEADLINE_S = 10.0
# Pulls and stop timeouts are honest work; an operation ends by itself on the node, however long we watch.
CHANGE_DEADLINE_S = 3600.0
# A node that lost its power closes no connection: whoever follows it for days finds out by asking. Ten seconds are
# what a node has to answer in anyhow.
_KEEPALIVE = Configuration(
    _keepalive_time=10.0,
    _keepalive_timeout=READ_DEADLINE_S,
    _http2_max_pings_without_data=0,
    _http2_min_sent_ping_interval_without_data=5.0,
)

_DEFINITION_ERRORS = (Status.INVALID_ARGUMENT, Status.ALREADY_EXISTS)


@asynccontextmanager
async def agent(settings: Settings, node: Node, *, deadline: float) -> AsyncIterator[AgentServiceStub]:
    """The agent of ``node``; every call has ``deadline`` seconds. Raises UnreachableError, UsageError, CliError."""
    host, port = node.host_port
    token = settings.token(node)
    channel = Channel(host, port, ssl=_tls(settings, node), config=_KEEPALIVE)
    # Who may take an hour for an answer has ten seconds to be there: the kernel would try for two minutes.
    patience = min(deadline, READ_DEADLINE_S)
    is_connected = False
    try:
        async with asyncio.timeout(patience):
            await channel.__connect__()
        patience, is_connected = deadline, True
        yield AgentServiceStub(channel, timeout=deadline, metadata={"authorization": f"Bearer {token}"})
    except GRPCError as error:
        raise _refused(node, error) from None
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(
            f"node {node.name}: the server at {node.address} is not one that {settings.ca_cert(node)} vouches for: "
            f"{error.verify_message}"
        ) from None
    except TimeoutError:
        raise UnreachableError(f"node {node.name}: {node.address} did not answer within {patience:g} s") from None
    except (StreamTerminatedError, ProtocolError, ssl.SSLError) as error:
        raise UnreachableError(f"node {node.name}: the connection to {node.address} broke: {error}") from None
    except OSError as error:
        # A connection that breaks is told otherwise: this is whoever read our output, and has enough of it.
        if is_connected and isinstance(error, BrokenPipeError):
            raise
        reason = error.strerror or str(error)
        raise UnreachableError(
            f"node {node.name}: {node.address} cannot be reached: {reason}; is mcpd running there?"
        ) from None
    finally:
        channel.close()


def run(coroutine: object) -> int:
    """Runs a command's coroutine and returns its exit status."""
    return asyncio.run(coroutine)  # type: ignore[arg-type]


def _refused(node: Node, error: GRPCError) -> CliError:
    message = f"node {node.name}: {error.message or error.status.name}"
    if error.status is Status.NOT_FOUND:
        return UnknownServiceError(message)
    if error.status in _DEFINITION_ERRORS:
        return UsageError(message)
    if error.status in (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED):
        return UnreachableError(message)
    if error.status is Status.RESOURCE_EXHAUSTED:
        return BusyError(message)
    return CliError(message)


def _tls(settings: Settings, node: Node) -> ssl.SSLContext:
    path = settings.ca_cert(node)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(path)
    except FileNotFoundError:
        raise UsageError(
            f"node {node.name}: {path} does not exist; it must hold the CA certificate that the node's is signed by"
        ) from None
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"node {node.name}: {path} is not a CA certificate: {error}") from None
    return context
