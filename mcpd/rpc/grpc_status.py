"""Maps every failure to a gRPC status and a message, in one table."""

from __future__ import annotations

import structlog
from grpclib import GRPCError, Status
from grpclib.metadata import encode_grpc_message

from mcpd import errors
from mcpd.rpc.call import Call

log = structlog.get_logger()

# A status message travels in a header, percent-encoded, and grpc clients refuse headers of more than 8 KiB together.
_MAX_STATUS_BYTES = 6000

_STATUS: dict[type[errors.McpdError], Status] = {
    errors.InvalidRequestError: Status.INVALID_ARGUMENT,
    errors.NotFoundError: Status.NOT_FOUND,
    errors.ConflictError: Status.ALREADY_EXISTS,
    errors.RefusedError: Status.FAILED_PRECONDITION,
    errors.BusyError: Status.ABORTED,
    errors.UnauthenticatedError: Status.UNAUTHENTICATED,
    errors.ForbiddenError: Status.PERMISSION_DENIED,
    errors.ExhaustedError: Status.RESOURCE_EXHAUSTED,
    errors.UnavailableError: Status.UNAVAILABLE,
    # A token file or database that cannot be read is the node's trouble, and may be mended while the caller waits.
    errors.ConfigError: Status.UNAVAILABLE,
    errors.RegistryError: Status.UNAVAILABLE,
    # So is a disk that is full; but what asks again and again does not free it.
    errors.UnwritableError: Status.FAILED_PRECONDITION,
    errors.BugError: Status.INTERNAL,
}


def status_of(error: Exception, call: Call, *, has_gone: bool) -> tuple[Status, str]:
    """The status, and what the client is told. ``has_gone``: its connection is closed, or about to be."""
    if isinstance(error, GRPCError):  # of a handler that grpclib ships
        return error.status, error.message or ""
    found = errors.expected(error)
    for kind in type(found).__mro__:
        if kind in _STATUS:
            return _STATUS[kind], _clipped(str(found))
    if found is not None:  # podman's own words
        return Status.FAILED_PRECONDITION, _clipped(str(found))
    if has_gone and isinstance(error, AttributeError | OSError):
        # asyncio's TLS transport raises these for a write to a connection that its client has just closed.
        return Status.CANCELLED, "the client has disconnected"
    log.error("call crashed", method=call.method, exc_info=error)
    return Status.INTERNAL, "mcpd failed because of a bug; its log has the details"


def _clipped(message: str) -> str:
    """``message``, its middle left out when it would not fit into a header."""
    keep = len(message)
    clipped = message
    while len(encode_grpc_message(clipped)) > _MAX_STATUS_BYTES:
        keep = keep * 3 // 4
        clipped = f"{message[: keep // 2]}\n...\n{message[-(keep // 2) :]}"
    return clipped
