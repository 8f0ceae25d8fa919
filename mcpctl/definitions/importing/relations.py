"""What services say of one another: who waits for whom, who runs to its end, and who is called how by whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mcpctl.definitions.importing.diagnostics import Diagnostics
from mcpctl.definitions.importing.names import Names

_COMPLETED = "service_completed_successfully"
_CONDITIONS = ("service_started", "service_healthy", _COMPLETED)
_KEYS = ("condition", "required", "restart")
_OF_CONTAINER = "container:"


class Relations(msgspec.Struct):
    """By the file's keys. ``waits_for`` has our names; ``aliases``: what others call a service by their links."""

    waits_for: dict[str, list[str]] = {}
    oneshots: set[str] = set()
    aliases: dict[str, list[str]] = {}


def relations(services: Mapping[str, dict[str, Any]], names: Names, report: Diagnostics) -> Relations:
    found = Relations()
    for key, service in services.items():
        path = f"services.{key}"
        needed = _depends_on(service.get("depends_on"), f"{path}.depends_on", names, found, report)
        needed += _links(service.get("links"), f"{path}.links", names, found, report)
        needed += _lenders(service.get("volumes_from"), f"{path}.volumes_from", services, report)
        found.waits_for[key] = [names.components[each] for each in dict.fromkeys(needed) if each != key]
    return found


def lender(text: str, services: Mapping[str, dict[str, Any]]) -> str | None:
    """The service whose volumes ``SERVICE[:ro]`` or ``container:NAME[:ro]`` takes; None: none of this file."""
    if text.startswith(_OF_CONTAINER):
        name = text.removeprefix(_OF_CONTAINER).partition(":")[0]
        return next((key for key, each in services.items() if each.get("container_name") == name), None)
    name = text.partition(":")[0]
    return name if name in services else None


def _lenders(value: Any, path: str, services: Mapping[str, dict[str, Any]], report: Diagnostics) -> list[str]:
    found = []
    for index, text in enumerate(report.words(value, path)):
        if (other := lender(text, services)) is None:
            report.lost(f"{path}[{index}]", f"{text} is not of this file: mount the same folders and volumes here")
        else:
            found.append(other)
    return found


def _depends_on(value: Any, path: str, names: Names, found: Relations, report: Diagnostics) -> list[str]:
    said = value if isinstance(value, dict) else dict.fromkeys(report.words(value, path))
    needed = []
    for name, each in said.items():
        here = f"{path}.{name}"
        options = report.mapping(each, here)
        report.ignore_others(options, _KEYS, here)
        required = options.get("required")
        is_required = required is None or report.boolean(required, f"{here}.required")
        if name not in names.components:
            if is_required:
                known = ", ".join(names.components)
                report.wrong(here, f"is not a service of this file; allowed are {known}")
            else:
                report.ignored(here, "is not there, and not required")
            continue
        if not is_required:
            report.lost(
                f"{here}.required", "a component waits for all that it depends on: remove it, or let it be needed"
            )
        if options.get("restart") is not None and report.boolean(options["restart"], f"{here}.restart"):
            report.lost(f"{here}.restart", f"restart it yourself when {name} was replaced: `mcpctl restart SERVICE`")
        condition = report.text(options.get("condition") or _CONDITIONS[0], f"{here}.condition")
        if condition not in _CONDITIONS:
            report.wrong(f"{here}.condition", f"{condition!r} is not a condition; allowed are {', '.join(_CONDITIONS)}")
        if condition == _COMPLETED:
            found.oneshots.add(name)
        needed.append(name)
    return needed


def _links(value: Any, path: str, names: Names, found: Relations, report: Diagnostics) -> list[str]:
    needed = []
    for index, text in enumerate(report.words(value, path)):
        name, _, alias = text.partition(":")
        if name not in names.components:
            report.wrong(
                f"{path}[{index}]", f"{name!r} is not a service of this file; allowed are {', '.join(names.components)}"
            )
            continue
        needed.append(name)
        if alias and alias != name:
            found.aliases.setdefault(name, []).append(alias)
            report.changed(
                f"{path}[{index}]", f"{alias} is an alias of {names.components[name]}, for all on its networks"
            )
    return needed
