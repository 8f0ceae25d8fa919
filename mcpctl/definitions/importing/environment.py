"""The environment of a component: what the file says itself, and what the env files say that it names.

And compose's own, which fills what a file leaves open: the shell's, and under it the ``.env`` beside the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mcpctl.definitions.importing import dotenv
from mcpctl.definitions.importing.compose_file import ComposeError
from mcpctl.definitions.importing.diagnostics import FALSE, Diagnostics

# Compose's name for the file beside it.
_DOTENV = ".env"


class Source(msgspec.Struct, frozen=True):
    """Where the file is (an absolute folder), and what it can ask for."""

    folder: Path
    environment: Mapping[str, str]
    # Raises OSError or UnicodeDecodeError.
    read: Callable[[Path], str]


def of_project(source: Source, report: Diagnostics) -> dict[str, str]:
    """What variables are taken from: the shell, which is the stronger one, and ``.env`` beside the file."""
    try:
        text = source.read(source.folder / _DOTENV)
    except FileNotFoundError:
        return dict(source.environment)
    except (OSError, UnicodeDecodeError) as error:
        report.wrong(_DOTENV, f"cannot be read: {_reason(error)}")
        return dict(source.environment)
    return {**_variables(text, _DOTENV, source.environment, report), **source.environment}


def own(value: Any, path: str, source: Source, report: Diagnostics) -> dict[str, str]:
    """Of ``environment``. A name without a value has that of the variable with its name."""
    env = {}
    for name, text in report.pairs(value, path):
        found = source.environment.get(name) if text is None else text
        if found is None:
            report.lost(f"{path}.{name}", "has no value, and neither the environment nor .env sets one")
        else:
            env[name] = found
    return env


def of_files(value: Any, path: str, source: Source, report: Diagnostics) -> dict[str, str]:
    """Of ``env_file``, where a later file is stronger than an earlier one; all are weaker than ``environment``."""
    env: dict[str, str] = {}
    several = [value] if isinstance(value, (str, dict)) else report.items(value, path)
    for each in several:
        options = each if isinstance(each, dict) else {}
        name = report.text(options.get("path") if options else each, path)
        if not name:
            continue
        where = f"{path} ({name})"
        try:
            text = source.read(source.folder / name)
        except (OSError, UnicodeDecodeError) as error:
            if options.get("required") not in FALSE or not isinstance(error, FileNotFoundError):
                report.lost(path, f"{name} cannot be read: {_reason(error)}")
            continue
        is_raw = options.get("format") == "raw"
        env |= dotenv.raw(text) if is_raw else _variables(text, where, source.environment, report)
    return env


def _variables(text: str, path: str, environment: Mapping[str, str], report: Diagnostics) -> dict[str, str]:
    def missing(line: int, name: str) -> None:
        report.lost(path, f"line {line}: variable {name} is not set; it was replaced with nothing")

    try:
        return dotenv.parsed(text, environment, missing)
    except ComposeError as error:
        report.wrong(path, str(error))
        return {}


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or "it cannot be opened") if isinstance(error, OSError) else "it is not UTF-8"
