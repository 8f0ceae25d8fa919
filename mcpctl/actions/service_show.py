"""What `mcpctl service list` and `show` do: the definitions, and what is effective of them. No node is asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from mcpctl.config import Settings
from mcpctl.definitions import definition
from mcpctl.definitions.definition import Definition
from mcpctl.definitions.exporting import toml
from mcpctl.errors import DONE, USAGE
from mcpctl.ui import render
from mcpctl.ui.output import How, View, listing, put
from mcpctl.ui.rows.definitions import DefinitionRow, EffectiveRow
from protos.fingerprint import default_of

# What stands for a field that is not set.
_UNSET = {"network": "the service's own", "health": "the image's", "heal": "the node's", "platform": "the node's"}
_UNSET |= dict.fromkeys(("entrypoint", "workdir", "user", "stop_signal"), "the image's")
_UNSET |= dict.fromkeys(("hostname", "userns", "ipc"), "podman's") | {"settle": "0.5s, 20ms when new"}
_EMPTY = {"cmd": "the image's"}


def list_definitions(settings: Settings, how: How) -> int:
    """USAGE when one is wrong. Raises UsageError."""
    found, wrong = definition.every(settings)
    right = {each.path: each for each in found}
    # In the same order: by name.
    errors = iter(wrong)
    rows = [
        _row(right[path])
        if path in right
        else DefinitionRow(path.stem, "", None, (), str(path), str(next(errors, "was just written; try again")))
        for path in definition.paths(settings)
    ]
    view = View(("NAME", "NODE", "ACTIVE", "COMPONENTS", "FILE"), _cells, lambda row: row.name)
    listing(rows, how, view, f"{settings.services_dir} has no definitions")
    if not how.structured:
        for error in wrong:
            render.note(f"mcpctl: {error}")
    return USAGE if wrong else DONE


def _row(found: Definition) -> DefinitionRow:
    service = found.service
    return DefinitionRow(service.name, service.node, service.active, service.component_names, str(found.path))


def _cells(row: DefinitionRow) -> tuple[str, ...]:
    if row.error:
        return row.name, "-", "-", "wrong", row.file
    return row.name, row.node, "yes" if row.active else "no", ", ".join(row.components), row.file


def show(settings: Settings, service: str, how: How) -> int:
    """Raises UsageError."""
    found = definition.load(settings, service)
    if how.structured:
        put(how, EffectiveRow(str(found.path), _plain(found.service)))
        return DONE
    render.say(f"# {found.path}")
    _say_fields(found.service, "")
    for component in found.service.components:
        print()
        container = found.service.container(component.name)
        render.say((f"[[components]]  # container {container}, version {component.version}", "bold"))
        _say_fields(component, "")
    return DONE


def _say_fields(struct: msgspec.Struct, prefix: str) -> None:
    for name, kind in toml.kinds(type(struct)).items():
        value = getattr(struct, name)
        if name == "components" and not prefix:
            continue
        if isinstance(value, msgspec.Struct):
            # Of the probes, only the one that there is.
            _say_fields(value, f"{prefix}{name}.")
        elif not (prefix == "health." and name in ("cmd", "http", "tcp") and not value):
            is_default = value == default_of(type(struct), name)
            pieces: list[str | tuple[str, str]] = [f"{prefix}{name} = {_shown(prefix, name, value, kind)}"]
            render.say(*pieces, *([("  # default", "grey")] if is_default else []))


def _shown(prefix: str, name: str, value: object, kind: Any) -> str:
    if value is None:
        return f"({_UNSET.get(name, 'none')})"
    if value == () and name in _EMPTY:
        return f"({_EMPTY[name]})"
    if prefix == "resources." and not value:
        return "0 (no limit)"
    return toml.shown(value, kind)


def _plain(value: object) -> Any:
    """Every field, with durations as a definition writes them and sizes in bytes."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return toml.duration(value) if isinstance(value, timedelta) else value
