"""The service itself: a component from the fields of each service of the file, as a definition file would have it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from mcpctl.definitions.importing import deploy, environment
from mcpctl.definitions.importing.diagnostics import FALSE, TRUE, Diagnostics
from mcpctl.definitions.importing.environment import Source
from mcpctl.definitions.importing.health import health
from mcpctl.definitions.importing.names import Names, full_image, our_name, project_name
from mcpctl.definitions.importing.ports import ports
from mcpctl.definitions.importing.resources import Resources
from protos.agreement import MAX_COMPONENTS

# What else there is at the top is lost.
_TOP = frozenset({"name", "version", "services", "volumes", "networks", "secrets"})
# Fields of a service that are read together, after the others.
_TOGETHER = frozenset(
    {"image", "build", "env_file", "deploy", "mem_limit", "cpus", "pids_limit", "networks", "network_mode"},
)
# What the conditions of `depends_on` may say without a loss.
_USUAL = {"condition": ("service_started", "service_healthy"), "required": TRUE, "restart": FALSE}


def service_values(document: dict[str, Any], source: Source, name: str, report: Diagnostics) -> dict[str, Any]:
    """Name and components, as plain values. ``name`` "": the file's own, else its folder's."""
    project = project_name(document, source)
    service = name or our_name(project, "name", report)
    return {"name": service, "components": _components(document, source, project, service, report)}


def _components(
    document: dict[str, Any], source: Source, project: str, service: str, report: Diagnostics
) -> list[dict[str, Any]]:
    for key in document:
        if key not in _TOP and not key.startswith("x-"):
            report.lost(key, "is not imported" + ("; name the file itself" if key == "include" else ""))
    services = report.mapping(document.get("services"), "services")
    if not services:
        report.wrong("services", "the file has none")
    if len(services) > MAX_COMPONENTS:
        report.wrong("services", f"has {len(services)} entries; at most {MAX_COMPONENTS} are allowed")
        return []
    names = Names(project, service, {each: our_name(each, f"services.{each}", report) for each in services})
    fields = _Fields(source, names, Resources(document, source.folder, names, report), report)
    return [fields.component(key, report.mapping(each, f"services.{key}")) for key, each in services.items()]


class _Fields:
    """A component from the fields of its service."""

    def __init__(self, source: Source, names: Names, resources: Resources, report: Diagnostics) -> None:
        self._source = source
        self._names = names
        self._resources = resources
        self._report = report
        # What each field makes of its value and path; None: nothing.
        self._makers: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
            "command": ("cmd", self._command),
            "environment": ("env", lambda value, path: environment.own(value, path, source, report)),
            "ports": ("ports", lambda value, path: ports(value, path, report)),
            "volumes": ("volumes", resources.volumes),
            "user": ("user", report.text),
            "restart": ("restart", report.text),
            "depends_on": ("depends_on", self._depends_on),
            "healthcheck": ("health", lambda value, path: health(value, path, report)),
            "stop_grace_period": ("stop_timeout", report.duration),
            "secrets": ("secrets", resources.secrets),
        }

    def component(self, key: str, service: dict[str, Any]) -> dict[str, Any]:
        path, report = f"services.{key}", self._report
        made: dict[str, Any] = {"name": self._names.components[key]}
        for field, value in service.items():
            if field in self._makers:
                if value is not None:
                    ours, make = self._makers[field]
                    made[ours] = make(value, f"{path}.{field}")
            elif field == "container_name":
                self._check_container_name(key, value)
            elif field not in _TOGETHER and not field.startswith("x-"):
                report.lost(f"{path}.{field}", "is not imported; a definition has no equivalent")
        made["image"] = self._image(service, path)
        if env := environment.of_files(service.get("env_file"), f"{path}.env_file", self._source, report):
            made["env"] = env | made.get("env", {})
        made["network"] = self._resources.network(key, service)
        swarm = report.mapping(service.get("deploy"), f"{path}.deploy")
        made["restart"] = deploy.restart(swarm, f"{path}.deploy", report) or made.get("restart")
        made["resources"] = deploy.limits(service, path, report) or None
        return {field: value for field, value in made.items() if value is not None}

    def _image(self, service: dict[str, Any], path: str) -> str | None:
        if image := service.get("image"):
            name = self._report.text(image, f"{path}.image")
            if not service.get("build"):
                return full_image(name)
            # Where it was pushed is not known; Docker's registry it is hardly.
            self._report.lost(f"{path}.build", "mcpctl builds no images: build and push it yourself")
            return name
        if service.get("build"):
            self._report.wrong(f"{path}.build", "mcpctl builds no images: build and push it, and name it in image:")
        else:
            self._report.wrong(f"{path}.image", "is missing")
        return None

    def _check_container_name(self, key: str, value: Any) -> None:
        ours = self._names.container(key)
        if value not in (None, ours):
            self._report.lost(f"services.{key}.container_name", f"{value}: the container is called {ours}")

    def _command(self, value: Any, path: str) -> list[str]:
        if isinstance(value, list):
            return [self._report.text(each, f"{path}[{index}]") for index, each in enumerate(value)]
        text = self._report.text(value, path)
        try:
            return shlex.split(text)
        except ValueError as error:
            self._report.wrong(path, f"{text!r} is not a command: {error}")
            return []

    def _depends_on(self, value: Any, path: str) -> list[str]:
        report, names = self._report, []
        conditions = (
            value
            if isinstance(value, dict)
            else dict.fromkeys(report.text(each, path) for each in report.items(value, path))
        )
        for name, options in conditions.items():
            if name not in self._names.components:
                report.wrong(path, f"names {name!r}, which is not a service in this file")
                continue
            names.append(self._names.components[name])
            for key, each in report.mapping(options, f"{path}.{name}").items():
                if each not in _USUAL.get(key, ()):
                    report.lost(
                        f"{path}.{name}.{key}", f"{each}: a component waits until the other is running or healthy"
                    )
        return names
