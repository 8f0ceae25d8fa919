"""Compose files and services laid over one another, by the rules of the Compose Specification (13-merge.md)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any

from mcpctl.definitions.importing.compose_file import RESET, ComposeError, Override

_SERVICE = r"services\.[^.]+"
# Lists of NAME=VALUE, which a mapping can be as well.
_PAIRS = re.compile(
    rf"{_SERVICE}\.(environment|labels|annotations|sysctls|build\.(args|labels|additional_contexts)|deploy\.labels)"
    r"|(networks|volumes|secrets|configs)\.[^.]+\.labels"
)
# Lists of names, which a mapping can be as well.
_NAMES = re.compile(rf"{_SERVICE}\.(depends_on|networks|models)")
# A string, or a list of several.
_SEVERAL = re.compile(rf"{_SERVICE}\.(dns|dns_search|tmpfs|env_file|label_file|profiles)")
_REPLACED = re.compile(rf"{_SERVICE}\.(command|entrypoint|healthcheck\.test)")
_ULIMIT = re.compile(rf"{_SERVICE}\.ulimits\.[^.]+")
_BUILD = re.compile(rf"{_SERVICE}\.build")
_LOGGING = re.compile(rf"{_SERVICE}\.logging")
# By what two entries are one.
_UNIQUE = re.compile(rf"{_SERVICE}\.(volumes|secrets|configs|ports)")


def merged(base: Any, over: Any, path: str = "") -> Any:
    """``over`` on ``base``. Raises ComposeError where the two are of different kinds."""
    if over is RESET or isinstance(over, Override):
        return over
    if base is None or base is RESET:
        return over
    if over is None:
        return None if _is_pair(path) else base
    if isinstance(base, Override):
        return Override(merged(base.value, over, path))
    both = isinstance(base, dict) and isinstance(over, dict)
    if _REPLACED.fullmatch(path) or (_ULIMIT.fullmatch(path) and not both):
        return over
    base, over = _normal(base, path), _normal(over, path)
    if isinstance(base, dict) and isinstance(over, dict):
        return _mappings(base, over, path)
    if isinstance(base, list) and isinstance(over, list):
        match = _UNIQUE.fullmatch(path)
        return _unique([*base, *over], match[1]) if match else [*base, *(each for each in over if each not in base)]
    if isinstance(base, (dict, list)) or isinstance(over, (dict, list)):
        raise ComposeError(f"{path}: is {_kind(over)} here and {_kind(base)} in an earlier file; write both alike")
    return over


def settled(value: Any) -> Any:
    """Without the marks of what was to be taken back or replaced."""
    if isinstance(value, Override):
        return settled(value.value)
    if isinstance(value, dict):
        return {key: settled(each) for key, each in value.items() if each is not RESET}
    if isinstance(value, list):
        return [settled(each) for each in value if each is not RESET]
    return None if value is RESET else value


def _mappings(base: dict[str, Any], over: dict[str, Any], path: str) -> dict[str, Any]:
    drivers = base.get("driver"), over.get("driver")
    if _LOGGING.fullmatch(path) and None not in drivers and drivers[0] != drivers[1]:
        return over  # the options are those of another driver
    made = dict(base)
    for key, value in over.items():
        here = f"{path}.{key}" if path else key
        made[key] = merged(base[key], value, here) if key in base and not key.startswith("x-") else value
    return made


def _is_pair(path: str) -> bool:
    return _PAIRS.fullmatch(path.rpartition(".")[0]) is not None


def _normal(value: Any, path: str) -> Any:
    """In the longer of the two ways in which it can be written."""
    if isinstance(value, str):
        if _SEVERAL.fullmatch(path):
            return [value]
        return {"context": value} if _BUILD.fullmatch(path) else value
    if not isinstance(value, list):
        return value
    if _PAIRS.fullmatch(path) and all(isinstance(each, str) for each in value):
        pairs = (each.partition("=") for each in value)
        return {name: text if is_set else None for name, is_set, text in pairs}
    if _NAMES.fullmatch(path) and all(isinstance(each, str) for each in value):
        return dict.fromkeys(value)
    return value


def _unique(entries: list[Any], kind: str) -> list[Any]:
    """A later entry takes the place of an earlier one for the same."""
    key = _KEYS[kind]
    found: dict[Any, Any] = {}
    for each in entries:
        found[key(each)] = each
    return list(found.values())


def _volume(entry: Any) -> Any:
    if isinstance(entry, dict):
        target = entry.get("target")
    else:
        parts = str(entry).split(":")
        target = parts[1] if len(parts) > 1 else parts[0]
    return posixpath.normpath(target) if isinstance(target, str) and target else repr(entry)


def _mounted(entry: Any) -> Any:
    return (entry.get("target") or entry.get("source")) if isinstance(entry, dict) else entry


def _port(entry: Any) -> Any:
    return repr(sorted(entry.items(), key=str)) if isinstance(entry, dict) else str(entry)


_KEYS: dict[str, Callable[[Any], Any]] = {
    "volumes": _volume,
    "secrets": lambda entry: repr(_mounted(entry)),
    "configs": lambda entry: repr(_mounted(entry)),
    "ports": _port,
}


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else "a single value"
