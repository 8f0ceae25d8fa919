"""The environment of a component: what the file says itself, and what the env files say that it names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mcpctl.importing.told import Told


class Source(msgspec.Struct, frozen=True):
    """Where the file is (an absolute folder), and what it can ask for."""

    folder: Path
    environment: Mapping[str, str]
    # Raises OSError or UnicodeDecodeError.
    read: Callable[[Path], str]


def own(value: Any, path: str, told: Told) -> dict[str, str]:
    """Of ``environment``."""
    env = {}
    for name, text in told.pairs(value, path):
        if text is None:
            told.lost(f"{path}.{name}", "has no value, and the node has no environment to take it from")
        else:
            env[name] = text
    return env


def of_files(value: Any, path: str, source: Source, told: Told) -> dict[str, str]:
    """Of ``env_file``, where a later file is stronger than an earlier one; all are weaker than ``environment``."""
    env: dict[str, str] = {}
    several = [value] if isinstance(value, (str, dict)) else told.items(value, path)
    for each in several:
        name = told.text(each.get("path") if isinstance(each, dict) else each, path)
        if not name:
            continue
        try:
            env |= _lines(source.read(source.folder / name), f"{path} ({name})", told)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            told.lost(path, f"{name} cannot be read: {reason}")
    return env


def _lines(text: str, path: str, told: Told) -> dict[str, str]:
    env = {}
    for line in text.splitlines():
        line = line.strip().removeprefix("export ")
        name, is_set, value = line.partition("=")
        if not line or line.startswith("#"):
            continue
        if not is_set:
            told.lost(path, f"{name!r} has no value")
            continue
        env[name.strip()] = _unquoted(value.strip())
    return env


def _unquoted(text: str) -> str:
    """A value of an env file: quoted as a whole, or up to a comment."""
    if len(text) >= 2 and text[0] in "\"'" and (end := text.find(text[0], 1)) > 0:
        return text[1:end]
    return re.split(r"\s#", text, maxsplit=1)[0].rstrip()
