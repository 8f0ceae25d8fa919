"""The environment of a component: what the file says itself, and what the env files say that it names.

And compose's own, which fills what a file leaves open: the shell's, and under it the ``.env`` beside the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcpctl.definitions import dotenv
from mcpctl.definitions.beside import reason
from mcpctl.definitions.importing.diagnostics import Diagnostics
from mcpctl.definitions.importing.source import Source

# Compose's name for the file beside it.
DOTENV = ".env"


def of_project(source: Source, report: Diagnostics) -> dict[str, str]:
    """What variables are taken from: the shell, which is the stronger one, and ``.env`` beside the file.

    ``PWD`` is the file's folder: who writes it there means that.
    """
    return {**_beside(source, report), **source.environment, "PWD": str(source.folder)}


def _beside(source: Source, report: Diagnostics) -> dict[str, str]:
    try:
        text = source.read(source.folder / DOTENV)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        report.wrong(DOTENV, f"cannot be read: {reason(error)}")
        return {}
    return variables(text, DOTENV, source.environment, {}, report)


def own(value: Any, path: str, source: Source, report: Diagnostics) -> dict[str, str]:
    """Of ``environment``. A name without a value has that of the variable with its name."""
    env = {}
    for name, text in report.pairs(value, path):
        found = source.environment.get(name) if text is None else text
        if found is None:
            report.warn(
                f"{path}.{name}",
                "has no value, and neither the environment nor .env sets one: it is not set, as with compose",
            )
        else:
            env[name] = found
    return env


class EnvFiles:
    """Of ``env_file`` and ``label_file``, where a later file is stronger than an earlier one.

    A file that is not here is named in the definition: compose would not start without it, and neither does a deploy.
    """

    def __init__(self, source: Source, service: str, report: Diagnostics) -> None:
        self._source = source
        self._service = service
        self._report = report

    def read(self, value: Any, path: str) -> tuple[dict[str, str], list[str]]:
        """The variables, and the definition's own ``env_file`` for what is missing here."""
        report, env, missing = self._report, dict[str, str](), list[str]()
        for each in [value] if isinstance(value, (str, dict)) else report.items(value, path):
            options = each if isinstance(each, dict) else {}
            name = report.text(options.get("path") if options else each, path)
            if not name:
                continue
            try:
                text = self._source.read(self._source.path(name))
            except FileNotFoundError:
                if options.get("required") is None or report.boolean(options["required"], f"{path}.required"):
                    ours = self._own_name(name)
                    missing += [ours] if ours not in missing else []
                    report.changed(
                        path, f"{name} is not here; put it beside the definition as {ours}, or nothing is deployed"
                    )
                continue
            except (OSError, ValueError) as error:
                report.wrong(path, f"{name} cannot be read: {reason(error)}")
                continue
            is_raw = options.get("format") == "raw"
            where = f"{path} ({name})"
            env |= dotenv.raw(text) if is_raw else variables(text, where, self._source.environment, env, report)
        return env, missing

    def _own_name(self, name: str) -> str:
        """What it is called beside the definition, where each service has files of its own."""
        base = Path(name).name
        stem = base.removesuffix(".env").strip(".") if base != DOTENV else ""
        return f"{self._service}-{stem}.env" if stem and stem != self._service else f"{self._service}.env"


def variables(
    text: str, path: str, environment: Mapping[str, str], earlier: Mapping[str, str], report: Diagnostics
) -> dict[str, str]:
    """Those of one file, told of as ``path``."""

    def missing(line: int, name: str) -> None:
        report.warn(path, f"line {line}: variable {name} is not set; nothing stands in its place, as with compose")

    try:
        return dotenv.parsed(text, environment, missing, earlier=earlier)
    except dotenv.EnvFileError as error:
        report.wrong(path, str(error))
        return {}
