"""A service as the text of a definition file, which reads back as the same service.

Knows no key: what is written, and how, follows from the types in `protos.spec` and `protos.parts`.
"""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from protos import podman_notation
from protos.fingerprint import default_of
from protos.spec import Service
from protos.validation import Rule, is_mixed

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# TOML 1.0, basic strings: what must be escaped, and what is better seen.
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
# What stays as it is where a string has several lines.
_IN_LINES = frozenset("\n\t")
# A quote that would end such a string, or be taken for a part of its end.
_ENDING_QUOTE = re.compile(r'"(?="")|"\Z')
# What a line of a definition is kept below; a longer list gets a line for each item.
_WIDTH = 100
# More pairs than this read better one below the other.
_INLINE_PAIRS = 2
_SIZES = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_UNITS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000))
_NO_KIND = object


def text(service: Service) -> str:
    """Defaults are left out; the keys have the order of `protos.spec`."""
    return "\n".join(_table(service, "")) + "\n"


def shown(value: object, kind: Any = _NO_KIND) -> str:
    """A value as it would be written: durations and sizes in the largest units that are exact.

    ``kind``: the type of its field, which tells sizes and file modes from other integers.
    """
    if isinstance(value, Enum):
        return string(str(value.value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return string(duration(value))
    if isinstance(value, int):
        return _integer(value, kind)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, msgspec.Struct):
        return _braces((name, shown(each, of)) for name, each, of in said(value))
    if isinstance(value, Mapping):
        return _braces((name, shown(each)) for name, each in value.items())
    if isinstance(value, tuple):
        return f"[{', '.join(_items(value, kind))}]"
    return string(str(value))


def string(value: str) -> str:
    """A TOML basic string, on one line."""
    return '"' + "".join(_ESCAPES.get(char) or _escaped(char) for char in value) + '"'


def lines(value: str) -> str:
    """A TOML string over several lines: as it stands where that is exact, else with escapes."""
    is_plain = all(char.isprintable() or char in _IN_LINES for char in value)
    if is_plain and "'''" not in value and not value.endswith("'"):
        return f"'''\n{value}'''"
    escaped = "".join(
        char if char in _IN_LINES or char == '"' else _ESCAPES.get(char) or _escaped(char) for char in value
    )
    return '"""\n' + _ENDING_QUOTE.sub(r"\\" '"', escaped) + '"""'


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


def is_mode(kind: Any) -> bool:
    """Whether a field of this type holds the permissions of a file."""
    rule = _rule(kind)
    return rule is not None and rule.parse is podman_notation.file_mode


def said(struct: msgspec.Struct) -> Iterator[tuple[str, Any, Any]]:
    """The fields that differ from their defaults: name, value and type."""
    of = type(struct)
    for name, kind in kinds(of).items():
        value = getattr(struct, name)
        if value != default_of(of, name):
            yield name, value, kind


@functools.cache
def kinds(of: type[msgspec.Struct]) -> Mapping[str, Any]:
    """The types of the fields."""
    return {field.name: field.type for field in msgspec.structs.fields(of)}


# -- tables


def _table(struct: msgspec.Struct, path: str) -> Iterator[str]:
    """The keys of a table, and after them the tables below it. ``path``: what it is called; "" is the whole file."""
    below = []
    for name, value, kind in said(struct):
        if _is_table(name, value, kind):
            below.append((f"{path}.{name}" if path else name, value))
        else:
            yield from _assignment(name, value, kind)
    for name, value in below:
        yield from _below(name, value)


def _is_table(name: str, value: Any, kind: Any) -> bool:
    """Whether a value has a header, and lines of its own."""
    if isinstance(value, Mapping):
        return not _fits(name, value)
    if isinstance(value, tuple):
        return not is_mixed(_item(kind)) and isinstance(value[0] if value else None, msgspec.Struct)
    return isinstance(value, msgspec.Struct)


def _below(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, tuple):
        for each in value:
            yield from _headed(path, f"[[{path}]]", _table(each, path))
    elif isinstance(value, msgspec.Struct):
        yield from _headed(path, f"[{path}]", _table(value, path))
    elif any(isinstance(each, msgspec.Struct) for each in value.values()):
        for name, each in value.items():
            yield from _below(f"{path}.{_key(name)}", each)
    else:
        pairs = (line for name, each in value.items() for line in _assignment(name, each, str))
        yield from _headed(path, f"[{path}]", pairs)


def _headed(path: str, header: str, content: Iterator[str]) -> Iterator[str]:
    """What belongs to a component follows its keys closely."""
    if not path.startswith("components."):
        yield ""
    yield header
    yield from content


def _assignment(name: str, value: object, kind: Any) -> Iterator[str]:
    key = _key(name)
    if isinstance(value, str) and "\n" in value.rstrip("\n"):
        yield f"{key} = {lines(value)}"
        return
    line = f"{key} = {shown(value, kind)}"
    if isinstance(value, tuple) and len(value) > 1 and len(line) > _WIDTH:
        yield f"{key} = ["
        yield from (f"    {each}," for each in _items(value, kind))
        yield "]"
    else:
        yield line


def _fits(name: str, table: Mapping[str, Any]) -> bool:
    if any(isinstance(each, msgspec.Struct) or "\n" in each.rstrip("\n") for each in table.values()):
        return False
    return len(table) <= _INLINE_PAIRS and len(shown(table)) + len(f"{name} = ") <= _WIDTH


# -- values


def _items(value: tuple[Any, ...], kind: Any) -> Iterator[str]:
    item = _item(kind)
    return (shown(each, item) for each in value)


def _item(kind: Any) -> Any:
    """The type of a list's items, where ``kind`` is the list's."""
    for each in (kind, *get_args(kind)):  # it may be optional
        if get_origin(each) is tuple:
            return get_args(each)[0]
    return _NO_KIND


def _integer(value: int, kind: Any) -> str:
    """Sizes and file modes are those that may be written as a string."""
    rule = _rule(kind)
    if rule is None or str not in rule.takes:
        return str(value)
    return string(f"{value:04o}") if is_mode(kind) else size(value)


def _rule(kind: Any) -> Rule | None:
    if get_origin(kind) in (Union, types.UnionType):
        return next(filter(None, map(_rule, get_args(kind))), None)
    extras = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return next((each for each in extras if isinstance(each, Rule)), None)


def _braces(pairs: Iterator[tuple[str, str]]) -> str:
    inside = ", ".join(f"{_key(name)} = {each}" for name, each in pairs)
    return f"{{ {inside} }}" if inside else "{}"


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else string(name)


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
