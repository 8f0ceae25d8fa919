"""What can go wrong, with the exit status that it means. `mcpctl.__main__` is the one place that exits with it."""

from __future__ import annotations

DONE = 0
FAILED = 1
USAGE = 2
DRIFT = 3
PARTIAL = 4
# Where the exit status is that of another program: mcpctl failed itself (podman-exec(1), `EXIT STATUS`).
OWN_FAILURE = 125
# As a shell reports a program that SIGINT ended.
INTERRUPTED = 130


class CliError(Exception):
    """It could not be done, was refused, or was rolled back."""

    status = FAILED


class UsageError(CliError):
    """The command line, the configuration or a definition is wrong; nothing was sent."""

    status = USAGE


class UnreachableError(CliError):
    """A node did not answer, or not in time. ``waited_s``: seconds until that was known, where they were counted."""

    waited_s: float = 0.0


class SilentError(UnreachableError):
    """A node did not answer in time, which the message says."""


class MciasError(CliError):
    """MCIAS did not let us in; no node was asked."""


class MciasUnreachableError(UnreachableError):
    """MCIAS did not answer, or not in time; no node was asked."""


class RegistryError(CliError):
    """An image registry did not say what it was asked; why, and what helps, is in words."""


class RegistryAccessError(RegistryError):
    """For want of a login, or of a CA that its certificate can be checked with: a push would not do better."""


class InterruptedByUserError(CliError):
    """Ctrl-C, while a node was doing something."""

    status = INTERRUPTED


class BusyError(CliError):
    """Refused for now; the same call may be answered later."""


class UnknownServiceError(UsageError):
    """The node knows no such service."""


class RejectedError(UsageError):
    """A node says that what it was asked is wrong."""
