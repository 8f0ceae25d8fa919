"""What a program may be called: its name goes into the audit log, and its arguments do not."""

from __future__ import annotations

from mcpd.errors import InvalidRequestError


def check_program(program: str = "") -> None:
    """Raises InvalidRequestError for a variable in a program's place: its value may be a password, and is kept nowhere.

    podman would say it in its log, too, since there is no such program.
    """
    name, equals, _ = program.partition("=")
    if equals and "/" not in name:
        raise InvalidRequestError(f"{name}=... is no program; set a variable with `-e {name}=VALUE` before the --")
