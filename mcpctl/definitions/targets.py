"""What a command line names: SERVICE, SERVICE/COMPONENT, or the file of a definition."""

from __future__ import annotations

from pathlib import Path

from mcpctl.errors import UsageError
from protos import naming

_SUFFIX = ".toml"


def is_file(text: str) -> bool:
    """Whether ``text`` names a definition by its file: no service has such a name."""
    return text.endswith(_SUFFIX)


def split(text: str) -> tuple[str, str]:
    """The service and the component, "" for all of them; of a file, the service that it is called after.

    Raises UsageError.
    """
    try:
        return naming.split_target(Path(text).stem if is_file(text) else text)
    except ValueError as error:
        raise UsageError(str(error)) from None
