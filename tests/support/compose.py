"""Compose files that are read from a folder that is none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mcpctl.definitions.importing import Imported, Source, import_compose
from mcpctl.definitions.importing.compose_file import ComposeError
from protos.spec import Component

FOLDER = Path("/home/kyle/Web App")
FILES = {"app.env": "A=1\n# no\nexport B='two words' # note\nC=plain # note\nD\n\n", "later.env": "A=2\nE=\n"}
# Far more than the slowest machine needs for a file of some lines; what is not bounded takes hours.
QUICK_S = 20.0


def read(path: Path, files: Mapping[str, str] = FILES) -> str:
    try:
        return files[str(path.relative_to(FOLDER))]
    except (KeyError, ValueError):
        raise FileNotFoundError(2, "No such file or directory", str(path)) from None


def imported(
    text: str,
    *,
    name: str = "web",
    environment: Mapping[str, str] | None = None,
    files: Mapping[str, str] = FILES,
) -> Imported:
    source = Source(FOLDER, environment or {}, lambda path: read(path, files))
    return import_compose(text, source, name=name, node="rift")


def one(body: str, **options: Any) -> tuple[Component, list[str]]:
    """The component of a file with one service, called ``api``; and the paths of what was lost."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    found = imported(f"services:\n  api:\n    image: x:v1\n{lines}", **options)
    return found.service.components[0], [each.path.removeprefix("services.api.") for each in found.losses]


def refused(text: str, **options: Any) -> str:
    with pytest.raises(ComposeError) as raised:
        imported(text, **options)
    return str(raised.value)
