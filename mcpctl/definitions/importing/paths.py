"""Relative paths of a file that another one names, which is in another folder: as seen from the folder of that one."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any

from mcpctl.definitions.importing.compose_file import Override

# What is fetched from elsewhere: a URL, or git's own way to write one.
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|git@|github\.com/|oci:")
_SECCOMP = re.compile(r"(seccomp[:=])(\..*)")


def is_remote(text: str) -> bool:
    return _REMOTE.match(text) is not None


def is_relative(text: str) -> bool:
    return bool(text) and not text.startswith(("/", "~")) and not is_remote(text)


def rebased(document: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The document with every relative path below ``prefix``, which leads from the one folder to the other."""
    if prefix in ("", "."):
        return document
    move = _below(prefix)
    made = dict(document)
    made["services"] = _each(document.get("services"), lambda service: rebased_service(service, prefix))
    for kind in ("configs", "secrets"):
        made[kind] = _each(document.get(kind), lambda each: _with(each, "file", move))
    made["volumes"] = _each(
        document.get("volumes"),
        lambda each: _with(each, "driver_opts", lambda opts: _with(opts, "device", _dotted(move))),
    )
    return {key: each for key, each in made.items() if each is not None or key in document}


def rebased_service(service: Any, prefix: str) -> Any:
    if not isinstance(service, dict) or prefix in ("", "."):
        return service
    move = _below(prefix)
    dotted = _dotted(move)
    made = dict(service)
    for key in ("env_file", "label_file"):
        made = _with(made, key, lambda value: _listed(value, lambda each: _at(each, "path", move)))
    made = _with(made, "build", lambda value: _at(value, "context", move))
    if isinstance(made.get("build"), dict):
        contexts: Callable[[Any], Any] = lambda found: _each(found, dotted)  # noqa: E731
        made["build"] = _with(made["build"], "additional_contexts", contexts)
    made = _with(made, "volumes", lambda value: _listed(value, lambda each: _volume(each, move, dotted)))
    made = _with(made, "security_opt", lambda value: _listed(value, lambda each: _seccomp(each, move)))
    return _with(made, "extends", lambda value: _with(value, "file", move) if isinstance(value, dict) else value)


def _below(prefix: str) -> Callable[[Any], Any]:
    def move(path: Any) -> Any:
        if not isinstance(path, str) or not is_relative(path):
            return path
        found = posixpath.normpath(posixpath.join(prefix, path))
        return found if found.startswith("..") else f"./{found}"

    return move


def _dotted(move: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Where only what begins with a dot is a path."""
    return lambda path: move(path) if isinstance(path, str) and path.startswith(".") else path


def _volume(entry: Any, move: Callable[[Any], Any], dotted: Callable[[Any], Any]) -> Any:
    if isinstance(entry, dict):
        return _with(entry, "source", move) if entry.get("type") == "bind" else entry
    if not isinstance(entry, str):
        return entry
    source, colon, rest = entry.partition(":")
    return f"{dotted(source)}{colon}{rest}" if colon else entry


def _seccomp(entry: Any, move: Callable[[Any], Any]) -> Any:
    match = _SECCOMP.fullmatch(entry) if isinstance(entry, str) else None
    return f"{match[1]}{move(match[2])}" if match else entry


def _at(value: Any, key: str, move: Callable[[Any], Any]) -> Any:
    """A path, or a mapping with one."""
    return _with(value, key, move) if isinstance(value, dict) else move(value)


def _with(value: Any, key: str, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, Override):
        return Override(_with(value.value, key, change))
    if not isinstance(value, dict) or value.get(key) is None:
        return value
    found = value[key]
    return {**value, key: Override(change(found.value)) if isinstance(found, Override) else change(found)}


def _listed(value: Any, change: Callable[[Any], Any]) -> Any:
    return [change(each) for each in value] if isinstance(value, list) else change(value)


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    return {key: change(each) for key, each in value.items()} if isinstance(value, dict) else value
