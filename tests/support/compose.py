"""Compose files that are read from a folder that is none."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mcpctl.definitions.importing import Imported, Kind, Look, Source, import_compose
from mcpctl.definitions.importing.compose_file import ComposeError
from mcpctl.definitions.loss import Grade
from protos.spec import Component

FOLDER = Path("/home/kyle/Web App")
HOME = "/home/kyle"
FILES = {"app.env": "A=1\n# no\nexport B='two words' # note\nC=plain # note\n\n", "later.env": "A=2\nE=\n"}
FILE = "compose.yaml"
# Far more than the slowest machine needs for a file of some lines; what is not bounded takes hours.
QUICK_S = 20.0


class Disk:
    """Files by their paths from `FOLDER`; a path that ends in a slash is an empty folder."""

    def __init__(self, files: Mapping[str, str], mode: int = 0o644) -> None:
        self._files = {_absolute(path): text for path, text in files.items()}
        self._empty = {_absolute(path) for path in files if path.endswith("/")}
        self._mode = mode

    def read(self, path: Path) -> str:
        if path in self._files and path not in self._empty:
            return self._files[path]
        raise FileNotFoundError(2, "No such file or directory", str(path))

    def look(self, path: Path) -> Look:
        if path in self._empty:
            return Look(Kind.EMPTY)
        if path in self._files:
            return Look(Kind.FILE, self._mode)
        return Look(Kind.FOLDER if any(path in each.parents for each in self._files) else Kind.MISSING)


def _absolute(path: str) -> Path:
    return Path(HOME, path.removeprefix("~/")) if path.startswith("~/") else FOLDER / path


def read(path: Path) -> str:
    return Disk(FILES).read(path)


def imported(
    text: str,
    *,
    name: str = "web",
    environment: Mapping[str, str] | None = None,
    files: Mapping[str, str] = FILES,
    also: Sequence[str] = (),
    profiles: Sequence[str] = (),
    mode: int = 0o644,
) -> Imported:
    """``also``: names of ``files`` that are merged with it."""
    disk = Disk({**files, FILE: text}, mode)
    source = Source(FOLDER, {"HOME": HOME, **(environment or {})}, disk.read, disk.look)
    return import_compose([FOLDER / each for each in (FILE, *also)], source, name=name, node="rift", active=profiles)


def one(body: str, **options: Any) -> tuple[Component, dict[str, list[str]]]:
    """The component of a file with one service, called ``api``, and what is told of it."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    found = imported(f"services:\n  api:\n    image: x:v1\n{lines}", **options)
    return found.service.components[0], told(found)


def told(found: Imported) -> dict[str, list[str]]:
    """The paths by grade, or as a warning, without those that are empty; those of the service ``api`` from there."""
    paths: dict[str, list[str]] = {}
    for each in found.losses:
        paths.setdefault(each.kind.value, []).append(_short(each.path))
    for warned in found.warnings:
        paths.setdefault("warning", []).append(_short(warned.path))
    return paths


def _short(path: str) -> str:
    return path.removeprefix("services.api").removeprefix(".")


def messages(found: Imported, kind: Grade) -> list[str]:
    return [str(each) for each in found.losses if each.kind is kind]


def refused(text: str, **options: Any) -> str:
    with pytest.raises(ComposeError) as raised:
        imported(text, **options)
    return str(raised.value)
