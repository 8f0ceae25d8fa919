"""What `mcpctl service import` does: makes a definition of a compose file, and says what is otherwise in it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from mcpctl.actions import service_export
from mcpctl.config import Settings
from mcpctl.definitions import beside, definition
from mcpctl.definitions.exporting import toml
from mcpctl.definitions.importing import ComposeError, Imported, Kind, Look, Source, import_compose
from mcpctl.definitions.importing.diagnostics import NO_MEANING
from mcpctl.definitions.loss import Grade, Loss, Warned
from mcpctl.errors import DONE, UsageError
from mcpctl.ui import render
from mcpctl.ui.output import How, put
from protos import grammar

# What compose merges by itself with a file of the usual name, when none is named.
_USUAL = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_OVERRIDES = tuple(each.replace(".y", ".override.y") for each in _USUAL)
_PERMISSIONS = 0o777


class ImportRow(msgspec.Struct, frozen=True):
    """``losses``: what a definition says otherwise, or not at all. ``warnings``: what would surprise."""

    file: str
    written: bool
    losses: tuple[Loss, ...]
    warnings: tuple[Warned, ...]


def import_service(
    settings: Settings,
    files: Sequence[Path],
    name: str,
    node: str,
    profiles: Sequence[str],
    how: How,
    *,
    dry_run: bool,
) -> int:
    """``name`` and ``node`` "": the files', and the only active one. Raises UsageError."""
    if name:
        try:
            grammar.name(name)
        except ValueError as error:
            raise UsageError(f"--name: {error}") from None
    node = settings.node(node).name if node else _only_node(settings)
    imported = _imported([each.expanduser().absolute() for each in files], files, name, node, profiles)
    path = settings.services_dir / f"{imported.service.name}.toml"
    if dry_run:
        definition.check(settings, path, imported.service)
    else:
        service_export.write_definition(settings, imported.service)
    warnings = (*_beside(files), *imported.warnings)
    if how.structured:
        put(how, ImportRow(str(path), not dry_run, imported.losses, warnings))
        return DONE
    if dry_run:
        service_export.show(toml.text(imported.service))
    else:
        render.note(f"{path}: written")
    for line in told(imported.losses, warnings, is_quiet=how.quiet):
        render.note(line)
    return DONE


def _imported(paths: Sequence[Path], files: Sequence[Path], name: str, node: str, profiles: Sequence[str]) -> Imported:
    source = Source(paths[0].parent, os.environ, beside.read_text, look)
    try:
        return import_compose(paths, source, name=name, node=node, active=profiles)
    except ComposeError as error:
        shown = " ".join(map(str, files))
        raise UsageError("\n".join(f"{shown}: {line}" for line in str(error).split("\n"))) from None
    except (OSError, UnicodeDecodeError) as error:
        wrong = error.filename if isinstance(error, OSError) and error.filename else files[0]
        raise UsageError(f"{wrong} cannot be read: {beside.reason(error)}") from None


def told(losses: Sequence[Loss], warnings: Iterable[Warned], *, is_quiet: bool = False) -> list[str]:
    """Lines for people, what matters most first. ``is_quiet``: only what somebody has to look at."""
    of = {grade: [each for each in losses if each.kind is grade] for grade in Grade}
    lines = [*_grouped("lost", of[Grade.LOST]), *_grouped("warning", warnings)]
    if is_quiet:
        return lines
    lines += _grouped("changed", of[Grade.CHANGED])
    lines += _grouped("ignored", [each for each in of[Grade.IGNORED] if each.message != NO_MEANING])
    if plain := Counter(_key(each.path) for each in of[Grade.IGNORED] if each.message == NO_MEANING):
        names = (f"{name} ({count} times)" if count > 1 else name for name, count in plain.items())
        lines.append(f"ignored, because it {NO_MEANING}: {', '.join(names)}")
    return lines


def _grouped(word: str, told: Iterable[Loss | Warned]) -> list[str]:
    """A line for each message, with all the places that it is about."""
    paths: dict[str, list[str]] = {}
    for each in told:
        paths.setdefault(each.message, []).append(each.path)
    return [f"{word}: {', '.join(several)}: {message}" for message, several in paths.items()]


def _key(path: str) -> str:
    """Without the service that it is of."""
    return path.split(".", 2)[2] if path.startswith("services.") and path.count(".") > 1 else path


def _beside(files: Sequence[Path]) -> list[Warned]:
    """A file that compose would merge with this one."""
    if len(files) > 1 or files[0].name not in _USUAL:
        return []
    found = [each for name in _OVERRIDES if (each := files[0].with_name(name)).is_file()]
    words = "is there, too, and compose would merge it: `mcpctl service import {} {}` does"
    return [Warned(found[0].name, words.format(files[0], found[0]))] if found else []


def look(path: Path) -> Look:
    """What lies there."""
    try:
        mode = path.stat().st_mode & _PERMISSIONS
        if path.is_dir():
            return Look(Kind.FOLDER if any(path.iterdir()) else Kind.EMPTY, mode)
        return Look(Kind.FILE if path.is_file() else Kind.OTHER, mode)
    except (OSError, ValueError):
        return Look(Kind.MISSING)


def _only_node(settings: Settings) -> str:
    names = [each.name for each in settings.active_nodes]
    if len(names) != 1:
        raise UsageError(f"{settings.path} has {len(names)} active nodes ({', '.join(names)}); give --node NAME")
    return names[0]
