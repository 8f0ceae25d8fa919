"""The keys of a definition that commands write, ``active`` and ``image``, in their place, comments kept (audit E3)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcpctl.definitions.definition import Definition
from mcpctl.errors import CliError


def set_active(definition: Definition, component: str, active: bool) -> bool:
    """Writes ``active`` for the service, or for one component of it; keeps comments and order (audit E3).

    Returns whether the file had to change. Raises CliError, and then the file is as it was.
    """
    path = definition.path
    text = path.read_bytes().decode()
    wanted = tomllib.loads(text)
    table = _table(wanted, component)
    if table.get("active", True) == active:
        return False
    table["active"] = active
    where = f"component {component}" if component else "the service"
    _write(path, _edited(text, component, active), wanted, f"set active = {str(active).lower()} for {where}")
    return True


def set_images(definition: Definition, images: Mapping[str, str]) -> None:
    """Writes the ``image`` of components, which they have already. Raises CliError, and then the file is as it was."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    text = definition.path.read_bytes().decode()
    wanted = tomllib.loads(text)
    edited: str | None = None
    try:
        document = tomlkit.parse(text)
        for component, image in images.items():
            _table(wanted, component)["image"] = _table(document, component)["image"] = image
        edited = tomlkit.dumps(document)
    except TOMLKitError:
        pass
    said = " and ".join(f'image = "{image}" for component {name}' for name, image in images.items())
    _write(definition.path, edited, wanted, f"set {said}")


def _write(path: Path, edited: str | None, wanted: Mapping[str, Any], by_hand: str) -> None:
    # What the edit means is checked, not trusted: the file is somebody's source of truth.
    if edited is None or tomllib.loads(edited) != wanted:
        raise CliError(f"{path} could not be edited safely; {by_hand} by hand")
    _replace(path, edited)


def _edited(text: str, component: str, active: bool) -> str | None:
    """The text with the one key changed; None when that cannot be done."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        table = _table(document, component)
        if "active" in table:
            table["active"] = active
            return tomlkit.dumps(document)
    except TOMLKitError:
        return None
    # tomlkit would put a new key behind the comment that introduces the next table: a line of its own goes in by hand,
    # below the name that it belongs to.
    return _with_new_line(text, document, component, active)


def _with_new_line(text: str, document: Any, component: str, active: bool) -> str | None:
    lines = text.splitlines(keepends=True)
    headers = [index for index, line in enumerate(lines) if line.lstrip().startswith("[")]
    names = [each.get("name") for each in document.get("components", [])]
    starts = [-1] if not component else [index for index in headers if _is_component_header(lines[index])]
    position = 0 if not component else names.index(component)
    if position >= len(starts):
        return None  # written as inline tables
    start = starts[position]
    end = next((index for index in headers if index > start), len(lines))
    anchors = [index for index in range(start + 1, end) if _key(lines[index]) in ("name", "node")]
    if not anchors:
        return None
    anchor = anchors[-1]
    indent = lines[anchor][: len(lines[anchor]) - len(lines[anchor].lstrip())]
    if not lines[anchor].endswith("\n"):
        lines[anchor] += "\n"
    newline = "\r\n" if lines[anchor].endswith("\r\n") else "\n"
    lines.insert(anchor + 1, f"{indent}active = {str(active).lower()}{newline}")
    return "".join(lines)


def _is_component_header(line: str) -> bool:
    return line.partition("#")[0].replace(" ", "").strip() == "[[components]]"


def _key(line: str) -> str:
    return line.partition("=")[0].strip()


def _table(document: Any, component: str) -> Any:
    if not component:
        return document
    return next(each for each in document["components"] if each["name"] == component)


def _replace(path: Path, text: str) -> None:
    # Only who edits writes; `status` reads, too.
    from protos import atomic

    path = path.resolve()  # a definition may be a link into a repository
    try:
        atomic.write(path, text.encode(), mode=path.stat().st_mode & 0o777)
    except OSError as error:
        raise CliError(f"{path} could not be written: {error.strerror}") from None
