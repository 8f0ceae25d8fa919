"""A compose file (Compose Specification) as a service of ours, with a report of what is otherwise, and what is lost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from mcpctl.definitions.importing import literal_secrets, names, profiles, project
from mcpctl.definitions.importing.components import Components
from mcpctl.definitions.importing.compose_file import ComposeError
from mcpctl.definitions.importing.diagnostics import Diagnostics
from mcpctl.definitions.importing.options import NAMES
from mcpctl.definitions.importing.project import Project
from mcpctl.definitions.importing.relations import relations
from mcpctl.definitions.importing.source import Kind, Look, Source
from mcpctl.definitions.loss import Loss, Warned
from protos.agreement import MAX_COMPONENTS
from protos.spec import Service, examine_service
from protos.validation import Problem

__all__ = ["ComposeError", "Imported", "Kind", "Look", "Source", "import_compose"]

_TOP = ("name", "version", "services", "volumes", "networks", "secrets", "configs", "include")
# Where a problem of ours is in the file.
_THEIRS = {ours: theirs for theirs, ours in NAMES.items()}
_THEIRS |= {"cmd": "command", "env": "environment", "health": "healthcheck", "stop_timeout": "stop_grace_period"}
_THEIRS |= {"pull": "pull_policy", "log": "logging", "network": "network_mode"}
_UNSET = "is not set, and nothing stands in its place, as with compose; export it, or put it into .env beside the file"
_PLACE = re.compile(r"components\[([0-9]+)\](?:\.([a-z_]+))?")


class Imported(msgspec.Struct, frozen=True):
    service: Service
    losses: tuple[Loss, ...]
    warnings: tuple[Warned, ...] = ()


def import_compose(
    files: Sequence[Path], source: Source, *, name: str, node: str, active: Sequence[str] = ()
) -> Imported:
    """``files`` are merged in their order. ``name`` "": theirs, else the folder's. ``active``: the profiles.

    Raises ComposeError with every problem; OSError and UnicodeDecodeError for a file that cannot be read.
    """
    report = Diagnostics()
    found = project.load(files, source, active, report)
    values, keys = _values(found, name, node, report)
    _raise(report, report.problems)
    service, problems = examine_service(values | {"node": node})
    if service is None:
        _raise(report, [_told(each, keys) for each in problems])
        raise ComposeError("services: cannot be a definition")  # each problem is one of these
    components = dict(zip(keys, values["components"], strict=True))
    secrets = literal_secrets.warnings(components, service.name, node)
    for variable, path in report.unset.items():
        report.warn(f"{path} ({variable})", _UNSET)
    return Imported(service, report.losses, (*report.warnings, *secrets))


def _values(found: Project, name: str, node: str, report: Diagnostics) -> tuple[dict[str, Any], list[str]]:
    """The service as plain values, and the file's keys of its components."""
    document = found.document
    for key in document:
        if key.startswith("x-") or key == "version":
            report.ignored(key)
        elif key == "models":
            report.lost(key, "run each model as a service of its own")
        elif key not in _TOP:
            report.ignored(key)
    wanted = profiles.wanted(report.mapping(document.get("services"), "services"), found.profiles, report)
    services = _services(wanted, report)
    service = name or names.service_name(found.name, report)
    known = names.Names(found.name, service, names.components(services, report), node)
    if not services or len(services) > MAX_COMPONENTS:
        return {"name": service, "components": []}, []
    between = relations(services, known, report)
    built = Components({**document, "services": services}, found.source, known, between, report).build()
    values: dict[str, Any] = {"name": service, "components": list(built.components.values())}
    values |= {"volumes": built.volumes} if built.volumes else {}
    return values | ({"networks": built.networks} if built.networks else {}), list(built.components)


def _services(wanted: dict[str, Any], report: Diagnostics) -> dict[str, dict[str, Any]]:
    services = {key: report.mapping(each, f"services.{key}") for key, each in wanted.items()}
    for key in [key for key, each in services.items() if each.get("provider")]:
        report.lost(f"services.{key}.provider", "the service is left out: its provider is a program of compose's")
        del services[key]
    if not services:
        report.wrong("services", "there are none to import: say at least one, or a --profile that has one")
    if len(services) > MAX_COMPONENTS:
        report.wrong("services", f"has {len(services)} entries; at most {MAX_COMPONENTS} are allowed")
    return services


def _raise(report: Diagnostics, problems: Sequence[str]) -> None:
    """Raises ComposeError, if there are problems."""
    if problems:
        unset = ", ".join(report.unset)
        hint = [f"variables: {unset}: not set; export them, or put them into .env beside the file"] if unset else []
        raise ComposeError(*dict.fromkeys(problems), *hint)


def _told(problem: Problem, keys: list[str]) -> str:
    """A problem of the definition, by the places in the file that it comes from."""

    def place(match: re.Match[str]) -> str:
        field = _THEIRS.get(match[2], match[2])
        return f"services.{keys[int(match[1])]}" + (f".{field}" if field else "")

    path = _PLACE.sub(place, problem.path).replace("components", "services") or "services"
    return f"{path}: {_PLACE.sub(place, problem.message)}"
