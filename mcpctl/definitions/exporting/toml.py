"""A service as the text of a definition file, which reads back as the same service."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from typing import Any

import msgspec

from protos.spec import Component, Service

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# TOML 1.0, basic strings: what must be escaped, and what is better seen.
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
# What a line of a definition is kept below; a longer list gets a line for each item.
_WIDTH = 100
# Tables that follow a component's own keys, in this order.
_TABLES = ("env", "health", "resources")
# More pairs than this read better one below the other.
_INLINE_PAIRS = 2
_SIZES = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_UNITS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000))


def text(service: Service) -> str:
    """Defaults are left out; the keys have the order of `protos.spec`."""
    lines = [f"{key} = {shown}" for key, shown in _pairs(service) if key != "components"]
    for component in service.components:
        lines += ["", "[[components]]", *_component(component)]
    return "\n".join(lines) + "\n"


def shown(key: str, value: object) -> str:
    """A field's value as it would be written: durations and sizes in the largest units that are exact."""
    if isinstance(value, Enum):
        return string(str(value.value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return string(duration(value))
    if key == "memory" and isinstance(value, int):
        return size(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return _inline(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(string, value))}]"
    return string(str(value))


def string(value: str) -> str:
    """A TOML basic string, on one line."""
    return '"' + "".join(_ESCAPES.get(char) or _escaped(char) for char in value) + '"'


def duration(value: timedelta) -> str:
    rest = value // timedelta(microseconds=1)
    parts = []
    for unit, length in _UNITS:
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    if rest:
        whole, fraction = divmod(rest, 1000)
        parts.append(f"{whole}.{fraction:03}".rstrip("0").rstrip(".") + "ms")
    return "".join(parts) or "0s"


def size(value: int) -> str:
    """``"256MiB"``, or the plain number of bytes."""
    for unit, factor in _SIZES:
        if value and value % factor == 0:
            return string(f"{value // factor}{unit}")
    return str(value)


def _component(component: Component) -> Iterator[str]:
    tables = []
    for key, value in _fields(component):
        if key in _TABLES and not (key == "env" and _fits(value)):
            tables.append((key, value))
        else:
            yield from _assignment(key, value)
    for key, value in tables:
        yield f"[components.{key}]"
        pairs = value.items() if isinstance(value, Mapping) else _fields(value)
        for name, each in pairs:
            yield from _assignment(name, each)


def _assignment(key: str, value: object) -> Iterator[str]:
    line = f"{_key(key)} = {shown(key, value)}"
    if isinstance(value, tuple) and len(value) > 1 and len(line) > _WIDTH:
        yield f"{_key(key)} = ["
        yield from (f"    {string(each)}," for each in value)
        yield "]"
    else:
        yield line


def _pairs(service: Service) -> Iterator[tuple[str, str]]:
    for key, value in _fields(service):
        yield key, "" if key == "components" else shown(key, value)


def _fields(struct: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    """Those that differ from their default."""
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        default = field.default
        if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if value != default:
            yield field.name, value


def _fits(env: Mapping[str, str]) -> bool:
    return len(env) <= _INLINE_PAIRS and len(_inline(env)) + len("env = ") <= _WIDTH


def _inline(table: Mapping[str, str]) -> str:
    inside = ", ".join(f"{_key(name)} = {string(value)}" for name, value in table.items())
    return f"{{ {inside} }}" if inside else "{}"


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else string(name)


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
