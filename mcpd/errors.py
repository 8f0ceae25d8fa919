"""Failures that a person can act on. `mcpd.rpc.grpc_status` maps each kind to a gRPC status, once."""

from __future__ import annotations

from monitor.ports import OutsideError


class McpdError(OutsideError):
    """A failure with a sentence for the operator: what happened, to which thing, and what to do next."""


class InvalidRequestError(McpdError):
    """The request itself is wrong, whatever the node's state."""


class NotFoundError(McpdError):
    """What the request names is not there."""


class ConflictError(McpdError):
    """A name is taken by something else."""


class RefusedError(McpdError):
    """The request is right, but the node's state forbids it."""


class BusyError(McpdError):
    """Another operation holds the service."""


class UnauthenticatedError(McpdError):
    """No token, or none that is known here."""


class ForbiddenError(McpdError):
    """The caller's role does not allow this."""


class ExhaustedError(McpdError):
    """A limit was passed."""


class UnavailableError(McpdError):
    """Something that is needed does not answer; trying again later may help."""


class ConfigError(McpdError):
    """The daemon's own files are not usable."""


class RegistryError(McpdError):
    """The database cannot be used."""


class UnwritableError(RegistryError):
    """The database cannot be written at present: a full or failing disk, a lock, a read-only mount."""


class DamagedRegistryError(UnwritableError):
    """The database's content is wrong: it is written no more."""


class BugError(McpdError):
    """mcpd itself is wrong; the details are in its log and nowhere else."""


def expected(error: BaseException) -> McpdError | None:
    """The failure in ``error``, which a nursery may have wrapped; None when it is, or holds, anything else.

    Of several failures at once the first one is told.
    """
    if isinstance(error, McpdError):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    failures, others = error.split(McpdError)
    return None if failures is None or others is not None else expected(failures.exceptions[0])
