"""How an image is built: kept in the definition, and said as the command that builds it."""

from __future__ import annotations

import shlex
from typing import Any

from mcpctl.definitions.importing import paths
from mcpctl.definitions.importing.diagnostics import Diagnostics
from mcpctl.definitions.importing.literal_secrets import is_secret
from mcpctl.definitions.importing.source import Source

_KEPT = ("context", "dockerfile", "target", "args", "secrets", "ssh")
# What changes the image, and is no part of a definition: podman-build(1)'s options.
_OPTIONS = {
    "labels": "--label",
    "additional_contexts": "--build-context",
    "extra_hosts": "--add-host",
    "platforms": "--platform",
    "network": "--network",
    "shm_size": "--shm-size",
}
_INLINE = "dockerfile_inline"


def build(
    value: Any, image: str, path: str, service: str, source: Source, declared: dict[str, Any], report: Diagnostics
) -> dict[str, Any]:
    """Our ``build``, and tells how ``image`` of our ``service`` is made. ``declared``: the secrets of the file."""
    said = {"context": value} if isinstance(value, str) else report.mapping(value, path)
    context = _context(report.text(said.get("context") or ".", f"{path}.context"), source)
    made: dict[str, Any] = {"context": context}
    words = []
    for key, option in (("dockerfile", "--file"), ("target", "--target")):
        if said.get(key):
            made[key] = report.text(said[key], f"{path}.{key}")
            text = made[key] if key == "target" or "://" in context else str(source.path(f"{context}/{made[key]}"))
            words += [option, text]
    if args := _args(said.get("args"), f"{path}.args", source, report):
        made["args"] = args
        # Without a value, podman takes that of the variable with this name.
        shown = (name if is_secret(name) else f"{name}={text}" for name, text in args.items())
        words += [word for each in shown for word in ("--build-arg", each)]
    for key, option, read in (("secrets", "--secret", _secrets), ("ssh", "--ssh", _ssh)):
        if found := read(said.get(key), f"{path}.{key}", source, declared, report):
            made[key] = found
            words += [word for each in found for word in (option, each)]
    words += _of_command_alone(said, path, source, report)
    if said.get(_INLINE):
        report.lost(f"{path}.{_INLINE}", "write it into a Dockerfile, and name that as dockerfile")
    report.ignore_others(said, (*_KEPT, *_OPTIONS, _INLINE), path)
    command = shlex.join(["podman", "build", "--tag", image, *words, context])
    report.changed(path, f"{image} is built before the deploy: `mcpctl deploy {service} --build` does, or `{command}`")
    return made


def _of_command_alone(said: dict[str, Any], path: str, source: Source, report: Diagnostics) -> list[str]:
    words = []
    for key, option in _OPTIONS.items():
        for each in _option(said.get(key), f"{path}.{key}", report):
            name, mark, where = each.partition("=")
            is_here = key == "additional_contexts" and where.startswith(".")
            words += [option, f"{name}{mark}{source.path(where)}" if is_here else each]
            report.changed(f"{path}.{key}", f"is no part of the definition, but of the command: {option}")
    return words


def _context(context: str, source: Source) -> str:
    return context if paths.is_remote(context) else str(source.path(context))


def _args(value: Any, path: str, source: Source, report: Diagnostics) -> dict[str, str]:
    """One without a value has that of the variable with its name."""
    pairs = ((name, source.environment.get(name) if text is None else text) for name, text in report.pairs(value, path))
    return {name: text for name, text in pairs if text is not None}


def _secrets(value: Any, path: str, source: Source, declared: dict[str, Any], report: Diagnostics) -> list[str]:
    found = []
    for index, each in enumerate(report.items(value, path)):
        here = f"{path}[{index}]"
        grant = each if isinstance(each, dict) else {"source": each}
        key = report.text(grant.get("source"), f"{here}.source")
        said = declared.get(key)
        said = said if isinstance(said, dict) else {}
        name = grant.get("target") or key
        if isinstance(file := said.get("file"), str):
            found.append(f"id={name},src={source.path(file)}")
        elif isinstance(variable := said.get("environment"), str):
            found.append(f"id={name},type=env,env={variable}")
        elif key:
            report.lost(here, f"{key}: a secret of a build is a file or a variable; say which in secrets: {key}:")
    return found


def _ssh(value: Any, path: str, source: Source, declared: dict[str, Any], report: Diagnostics) -> list[str]:  # noqa: ARG001
    if isinstance(value, str):
        return [value] if value else []
    return [name if text is None else f"{name}={text}" for name, text in report.pairs(value, path)]


def _option(value: Any, path: str, report: Diagnostics) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, dict):
        return [f"{name}={text or ''}" for name, text in report.pairs(value, path)]
    return report.words(value, path)
