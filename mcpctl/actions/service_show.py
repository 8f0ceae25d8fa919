"""What `mcpctl service list` and `show` do: the definitions, and what is effective of them. No node is asked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from mcpctl.config import Settings
from mcpctl.definitions import definition
from mcpctl.definitions.definition import Definition
from mcpctl.definitions.exporting import formats, toml
from mcpctl.errors import DONE, USAGE
from mcpctl.ui import render
from mcpctl.ui.output import How, View, listing, put
from mcpctl.ui.rows.definitions import DefinitionRow, EffectiveRow
from protos.fingerprint import default_of

# What stands for a field that is not set.
_IMAGES, _PODMANS = "the image's", "podman's"
_UNSET = {
    **dict.fromkeys(("entrypoint", "workdir", "user"), _IMAGES),
    **dict.fromkeys(("hostname", "userns", "ipc", "driver", "gateway"), _PODMANS),
    "platform": "the node's",
    "network": "the service's own, unless networks says others",
    "stop_signal": "the image's, or SIGTERM",
    "pid": "private",
    "settle": "0.5s, 20ms when new",
    "heal": "the node's",
    "health": "the image's own, if it has one",
    "start_interval": "as interval",
    "cpuset": "any",
}
# What stands for an empty list.
_EMPTY = {"cmd": _IMAGES, "dns": _PODMANS, "dns_search": _PODMANS, "dns_options": _PODMANS}
# What stands for 0.
_NUMBERS = {
    **dict.fromkeys(("memory", "cpus", "pids"), "no limit"),
    "memory_reservation": "none",
    "memory_swap": "twice memory",
    "cpu_shares": "1024",
    "shm_size": "podman's, 65536kB",
    "max_size": "10MiB",
}
_PROBES = ("cmd", "http", "tcp")


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
        if name == "components":
            continue
        if isinstance(value, msgspec.Struct):
            _say_fields(value, f"{prefix}{name}.")
        elif isinstance(value, Mapping) and any(isinstance(each, msgspec.Struct) for each in value.values()):
            for key, each in value.items():
                _say_fields(each, f"{prefix}{name}.{key}.")
        # Of the probes, only the one that there is.
        elif not (prefix == "health." and name in _PROBES and not value):
            is_default = value == default_of(type(struct), name)
            pieces: list[str | tuple[str, str]] = [f"{prefix}{name} = {_shown(name, value, kind)}"]
            render.say(*pieces, *([("  # default", "grey")] if is_default else []))


def _shown(name: str, value: object, kind: Any) -> str:
    if value is None:
        return f"({_UNSET.get(name, 'none')})"
    if value == () and name in _EMPTY:
        return f"({_EMPTY[name]})"
    if not value and name in _NUMBERS:
        return f"0 ({_NUMBERS[name]})"
    return toml.shown(value, kind)


def _plain(value: object, kind: Any = None) -> Any:
    """Every field, with durations and file modes as a definition writes them, and sizes in bytes."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name), of) for name, of in toml.kinds(type(value)).items()}
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if toml.is_mode(kind) and isinstance(value, int):
        return formats.mode(value)
    return toml.duration(value) if isinstance(value, timedelta) else value
